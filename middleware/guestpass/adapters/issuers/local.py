"""The local issuer: signs guest tokens by itself and publishes the keys that verify them."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from uuid import uuid4

from guestpass.adapters.issuers.local_keys import KeySchedule, LocalKeys
from guestpass.adapters.issuers.signing_key import SigningKey
from guestpass.core.model import Claims, Identity, RawToken
from guestpass.errors import ConfigError
from guestpass.ports import Clock, KeySource

_MOST_LIFETIME: Final = 30 * 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalSettings:
    """What the local issuer signs, and how long for.

    Attributes:
        issuer: "iss".
        audience: "aud"; None leaves it out.
        lifetime: Whole seconds from "iat" to "exp".
        algorithm: RS256, ES256 or EdDSA, for keys that are generated; a given key decides by its type.
        key_period: Seconds for which one generated key signs; None: for ever.
        publish_ahead: Seconds for which a key is published before it signs.
        retain: Seconds past the "exp" of its last token for which a key stays published: covers the leeway
            and the grace of whoever verifies.
    """

    issuer: str
    audience: str | None = None
    lifetime: int = 1800
    algorithm: str = "RS256"
    key_period: float | None = None
    publish_ahead: float = 900.0
    retain: float = 120.0

    def __post_init__(self) -> None:
        for name in ("issuer", "audience"):
            value = getattr(self, name)
            if value is not None and not value.strip():
                raise ConfigError(f"issuer.{name}", "must not be empty")
        if not 1 <= self.lifetime <= _MOST_LIFETIME:
            raise ConfigError("issuer.lifetime", "must be from one second to 30 days")
        if not 0 <= self.retain < float("inf"):
            raise ConfigError("issuer.retain", "must be a finite number of seconds, zero or more")
        _ = self.schedule

    @property
    def schedule(self) -> KeySchedule:
        """When keys change."""
        return KeySchedule(
            algorithm=self.algorithm,
            period=self.key_period,
            publish_ahead=self.publish_ahead,
            outlast=self.lifetime + self.retain,
        )


class LocalIssuer:
    """`ports.TokenIssuer` without a vendor: no call leaves the process, and nothing can be down.

    A new identity gets a random subject, which its successors keep.

    Args:
        settings: What is signed.
        clock: Ours.
        keys: See `LocalKeys`. Without any, tokens die with this process and mean nothing to another worker.
    """

    def __init__(self, settings: LocalSettings, *, clock: Clock, keys: Sequence[SigningKey] = ()) -> None:
        self._settings = settings
        self._clock = clock
        self.keys = LocalKeys(clock=clock, schedule=settings.schedule, keys=keys)

    async def mint(self, identity: Identity) -> RawToken:
        """Sign a token for a new guest."""
        return await self._sign(identity, subject=str(uuid4()))

    async def rotate(self, token: RawToken, claims: Claims) -> RawToken:  # noqa: ARG002  claims are the proof
        """Sign a token for the same guest: same subject, name and e-mail address, later "exp"."""
        return await self._sign(claims.minted_for, subject=claims.subject or str(uuid4()))

    def jwks(self) -> bytes:
        """The public keys, as a JWKS document (RFC 7517 §5)."""
        return self.keys.jwks()

    def key_source(self) -> KeySource:
        """The same keys, for the verifier of this process."""
        return self.keys

    async def aclose(self) -> None:
        """Nothing is open."""

    async def _sign(self, identity: Identity, *, subject: str) -> RawToken:
        key = await self.keys.signing_key()
        now = int(self._clock.time())
        audience = {} if self._settings.audience is None else {"aud": self._settings.audience}
        claims = {
            "iss": self._settings.issuer,
            **audience,
            "sub": subject,
            "name": identity.name,
            "email": identity.email,
            "iat": now,
            "nbf": now,
            "exp": now + self._settings.lifetime,
            "jti": str(uuid4()),
        }
        return RawToken(key.sign(json.dumps(claims, separators=(",", ":")).encode()))
