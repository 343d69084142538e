"""Settings -> what signs assertions, and the keys that verify them; a part of the composition root."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from guestpass.adapters.issuers.local_keys import KeySchedule, LocalKeys
from guestpass.adapters.issuers.signing_key import SigningKey
from guestpass.assertions import LIFETIME, Assertions
from guestpass.config import AssertionSettings, Settings
from guestpass.errors import ConfigError
from guestpass.ports import Clock

_ALGORITHM: Final = "ES256"
_LEEWAY: Final = 120.0
"""Seconds past its last assertion for which a key stays published: how far a backend's clock may be off."""


@dataclass(frozen=True, slots=True)
class Asserters:
    """What signs, and with which keys."""

    assertions: Assertions
    keys: LocalKeys


def build_assertions(settings: Settings, clock: Clock) -> Asserters | None:
    """Wire what signs assertions; None where they are off.

    Raises:
        ConfigError: A key cannot be read, or an assertion could be taken for a guest's token.
    """
    ours = settings.assertion
    if ours.audience is None:
        return None
    if ours.issuer == settings.claim_rules().issuer:
        raise ConfigError("assertion.issuer", "must differ from the issuer of guest tokens")
    schedule = KeySchedule(algorithm=_ALGORITHM, period=ours.key_period, outlast=LIFETIME + _LEEWAY)
    keys = LocalKeys(clock=clock, schedule=schedule, keys=_given_keys(ours))
    assertions = Assertions(
        signer=keys,
        issuer=ours.issuer,
        audience=ours.audience,
        clock=clock,
        most=settings.verify.cache_size,
    )
    return Asserters(assertions, keys)


def refuse_assertions(settings: Settings) -> None:
    """Say that what is being built signs none, where the settings ask for it.

    Raises:
        ConfigError: They do.
    """
    if settings.assertion.audience is not None:
        raise ConfigError("assertion.audience", "must be off: only `guestpass serve` signs assertions")


def _given_keys(settings: AssertionSettings) -> list[SigningKey]:
    named = {"key_file": settings.key_file, "second_key_file": settings.second_key_file}
    return [_read(f"assertion.{name}", path) for name, path in named.items() if path is not None]


def _read(field: str, path: Path) -> SigningKey:
    try:
        key = SigningKey.read(path.read_bytes())
    except OSError as exc:
        raise ConfigError(field, f"cannot be read ({exc.strerror})") from exc
    except ConfigError as exc:
        raise ConfigError(field, exc.rule) from exc
    if key.algorithm != _ALGORITHM:
        raise ConfigError(field, "must be an EC key on P-256")
    return key
