"""The local issuer's keys over time: which one signs, and which are published; also `ports.KeySource`."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import anyio
from anyio import to_thread

from guestpass.adapters.issuers.retry import Sleep
from guestpass.adapters.issuers.signing_key import ALGORITHMS, SigningKey
from guestpass.core.jwk import Jwk, fitting
from guestpass.core.model import MonotonicTime
from guestpass.errors import ConfigError
from guestpass.ports import Clock, Retired

_FOREVER: Final = MonotonicTime(float("inf"))


@dataclass(frozen=True, slots=True, kw_only=True)
class KeySchedule:
    """When keys change, in seconds.

    Attributes:
        algorithm: Of the keys that are generated.
        period: How long one key signs; None: until `LocalKeys.introduce` is called.
        publish_ahead: How long a key is published before it signs. It must exceed the time for which others
            cache our JWKS, or they would meet its first tokens without knowing it.
        outlast: How long a key stays published after its last signature: the lifetime of a token, and the
            leeway and grace within which an expired one is still verified.
    """

    algorithm: str = "RS256"
    period: float | None = None
    publish_ahead: float = 900.0
    outlast: float = 1920.0

    def __post_init__(self) -> None:
        if self.algorithm not in ALGORITHMS:
            raise ConfigError("issuer.algorithm", "must be RS256, ES256 or EdDSA")
        for name in ("publish_ahead", "outlast"):
            if not 0 <= getattr(self, name) < _FOREVER:
                raise ConfigError(f"issuer.{name}", "must be a finite number of seconds, zero or more")
        if self.period is not None and not self.publish_ahead < self.period < _FOREVER:
            raise ConfigError("issuer.key_period", "must be finite and longer than issuer.publish_ahead")


@dataclass(frozen=True, slots=True)
class _Timed:
    key: SigningKey
    at: MonotonicTime


class LocalKeys:
    """A ring of keys that overlap: next (published, not signing yet), signing, former (published still).

    For a process that verifies what it signs it is a `ports.KeySource` as well. Keys that it generates live
    in this process alone: several workers, or a restart without invalid tokens, need keys that are given.

    Args:
        clock: Ours.
        schedule: When keys change.
        keys: The first signs, the others are published for as long as this object lives; none: one is
            generated.
        sleep: How `run` waits.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        schedule: KeySchedule,
        keys: Sequence[SigningKey] = (),
        sleep: Sleep = anyio.sleep,
    ) -> None:
        first, *standing = keys or (SigningKey.generate(schedule.algorithm),)
        self._clock = clock
        self._schedule = schedule
        self._sleep = sleep
        self._standing = tuple(standing)
        self._signing = _Timed(first, clock.monotonic())  # since when
        self._next: _Timed | None = None  # from when
        self._former: tuple[_Timed, ...] = ()  # until when
        self._generating = False
        self._retired: list[Retired] = []

    async def signing_key(self) -> SigningKey:
        """The key to sign with now."""
        await self._prepare()
        self._advance()
        return self._signing.key

    async def sign(self, payload: bytes, *, typ: str = "JWT") -> bytes:
        """The compact serialization of `payload`, signed with the key of now: `ports.Signer`."""
        return (await self.signing_key()).sign(payload, typ=typ)

    def introduce(self, key: SigningKey) -> None:
        """Publish `key` now, and sign with it once `publish_ahead` has passed."""
        self._next = _Timed(key, MonotonicTime(self._clock.monotonic() + self._schedule.publish_ahead))

    def jwks(self) -> bytes:
        """The public keys, as a JWKS document (RFC 7517 §5)."""
        return jwks_of(self)

    @property
    def published(self) -> list[dict[str, str]]:
        """The public keys, one JWK each."""
        return [key.published for key in self._published()]

    @property
    def recheck_at(self) -> MonotonicTime:
        """When the next key leaves the set; asked at every request, and `_former` is in order."""
        return self._former[0].at if self._former else _FOREVER

    async def recheck(self) -> None:
        """Let keys leave whose time has come; never raises."""
        self._advance()

    async def find(self, kid: str | None, algorithm: str) -> Sequence[Jwk]:
        """The published keys that fit a token's header; never raises."""
        return fitting((key.public for key in self._published()), kid, algorithm)

    def on_retired(self, callback: Retired) -> None:
        """Have `callback` called whenever keys have left the set."""
        self._retired.append(callback)

    async def run(self) -> None:
        """Change keys on time, for ever, so that no mint waits for one to be generated."""
        while True:
            await self._prepare()
            self._advance()
            await self._sleep(max(0.0, self._next_change() - self._clock.monotonic()))

    def _published(self) -> tuple[SigningKey, ...]:
        self._advance()
        coming = (self._next.key,) if self._next else ()
        return (self._signing.key, *coming, *(former.key for former in self._former), *self._standing)

    def _due(self) -> MonotonicTime:
        """When a next key must be published, if none is."""
        period = self._schedule.period
        if period is None:
            return _FOREVER
        return MonotonicTime(self._signing.at + period - self._schedule.publish_ahead)

    def _next_change(self) -> MonotonicTime:
        return min(self._next.at if self._next else self._due(), self.recheck_at)

    async def _prepare(self) -> None:
        if self._next is not None or self._generating or self._clock.monotonic() < self._due():
            return
        self._generating = True
        try:
            # In a thread: an RSA key takes 0.1 s, in which no request would move.
            key = await to_thread.run_sync(SigningKey.generate, self._schedule.algorithm)
        finally:
            self._generating = False
        self.introduce(key)

    def _advance(self) -> None:
        now = self._clock.monotonic()
        if self._next is not None and now >= self._next.at:
            until = MonotonicTime(now + self._schedule.outlast)
            self._former = (*self._former, _Timed(self._signing.key, until))
            self._signing = _Timed(self._next.key, now)
            self._next = None
        gone = frozenset(former.key.public.thumbprint for former in self._former if former.at <= now)
        if gone:
            self._former = tuple(former for former in self._former if former.at > now)
            for callback in self._retired:
                callback(gone)


def jwks_of(*rings: LocalKeys) -> bytes:
    """The public keys of several rings as one JWKS document (RFC 7517 §5)."""
    return json.dumps({"keys": [key for ring in rings for key in ring.published]}).encode()
