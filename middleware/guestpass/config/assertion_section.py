"""The settings of the assertion that we sign for a backend."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from guestpass.errors import ConfigError

_SHORTEST_PERIOD: Final = 1800.0


@dataclass(frozen=True, slots=True, kw_only=True)
class AssertionSettings:
    """A JWT of ours in X-Guest-Assertion, for a backend that wants proof of who the guest is.

    Attributes:
        audience: The backend's name, as it stands in "aud"; it turns assertions on. They are signed with
            ES256, live 60 seconds, and the keys are at `/.well-known/guestpass/jwks.json`.
        issuer: Who we are, as it stands in "iss".
        key_file: The signing key, an EC key on P-256 as PEM or JWK. Without one a key is made at each start,
            which only a single process can do; several workers need the file.
        second_key_file: A key that is published too. To change the key without a gap: first add the new one
            here on every host, 15 minutes later swap the two on every host, and 15 minutes later take the
            old one away.
        key_period: How long a key that is made here signs; each is published 15 minutes ahead.
    """

    audience: str | None = None
    issuer: str = "guestpass-gateway"
    key_file: Path | None = None
    second_key_file: Path | None = None
    key_period: float | None = None

    def __post_init__(self) -> None:
        for name in ("audience", "issuer"):
            value = getattr(self, name)
            if value is not None and not value.strip():
                raise ConfigError(f"assertion.{name}", "must not be empty")
        if self.second_key_file is not None and self.key_file is None:
            raise ConfigError("assertion.second_key_file", "needs assertion.key_file")
        if self.key_period is not None and self.key_file is not None:
            raise ConfigError("assertion.key_period", "must be off where assertion.key_file is set")
        if self.key_period is not None and not _SHORTEST_PERIOD <= self.key_period < float("inf"):
            raise ConfigError("assertion.key_period", "must be finite and at least 30m")
