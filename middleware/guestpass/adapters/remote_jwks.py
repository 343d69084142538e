"""The issuer's published keys over HTTP: cached, refreshed ahead, stale on error (RFC 7517 §5).

No kid is remembered as unknown. The cooldown answers every unknown kid without a call, the same one
included; a list of them would be memory that an attacker fills, and would hide a key published late.
"""

import logging
import random
import ssl
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from types import MappingProxyType

import anyio

from guestpass import events
from guestpass.adapters.jwks_endpoint import FetchFailed, JwksEndpoint
from guestpass.core.freshness import Freshness, State, Upkeep
from guestpass.core.jwk import Jwk, KeySet, fitting
from guestpass.core.model import MonotonicTime, Thumbprint
from guestpass.errors import Unavailable
from guestpass.ports import Clock, Retired


@dataclass(frozen=True, slots=True, kw_only=True)
class KeysHealth:
    """How a key source fares, for readiness and metrics; a snapshot.

    Attributes:
        state: How good the set of keys is; `DEAD` also before the first.
        age: Seconds since the set was fetched; None before the first.
        keys: How many usable keys it has.
        outcome: How the last attempt ended, one of the keys of `fetches`; None before the first.
        fetches: Attempts by outcome: `refreshed`, or the reason of a failure.
        unknown_kids: How often a token named a key that the set did not have.
    """

    state: State
    age: float | None
    keys: int
    outcome: str | None
    fetches: Mapping[str, int]
    unknown_kids: int


class RemoteJwks:
    """`ports.KeySource` over a JWKS URL. Attempts are single flight; there is nothing to close."""

    def __init__(
        self,
        url: str,
        *,
        algorithms: frozenset[str],
        clock: Clock,
        freshness: Freshness | None = None,
        timeout: float = 5.0,
        max_bytes: int = 262_144,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Open nothing yet.

        Args:
            url: Where the keys are published: https, or plain http on a loopback host.
            algorithms: Those that the operator allows.
            clock: Only its monotonic time is read.
            freshness: How long a set is relied on; None: the defaults.
            timeout: Seconds for a whole attempt: name look-up, connection, fields and body.
            max_bytes: The longest body that is read.
            tls: What to trust; None: the authorities that httpx ships with.

        Raises:
            ConfigError: `url` or a limit breaks a rule.
        """
        self._endpoint = JwksEndpoint(
            url, algorithms=algorithms, timeout=timeout, max_bytes=max_bytes, tls=tls
        )
        self._clock = clock
        self._upkeep = Upkeep(rules=freshness or Freshness())
        self._set = KeySet((), ())
        self._kids: frozenset[str | None] = frozenset()
        self._callbacks: list[Retired] = []
        self._flight: anyio.Event | None = None
        self._wake: anyio.Event | None = None
        self._outcome: str | None = None
        self._fetches: Counter[str] = Counter()
        self._unknown_kids = 0

    @property
    def recheck_at(self) -> MonotonicTime:
        """From here on `recheck` must be awaited before any earlier answer is relied on."""
        return self._upkeep.recheck_at

    @property
    def health(self) -> KeysHealth:
        """How this source fares now."""
        now = self._clock.monotonic()
        age = now - self._upkeep.fetched_at
        return KeysHealth(
            state=self._upkeep.state(now),
            age=age if isfinite(age) else None,
            keys=len(self._set.keys),
            outcome=self._outcome,
            fetches=MappingProxyType(dict(self._fetches)),
            unknown_kids=self._unknown_kids,
        )

    def on_retired(self, callback: Retired) -> None:
        """Have `callback` called, synchronously, whenever keys have left the set."""
        self._callbacks.append(callback)

    async def recheck(self) -> None:
        """Refresh if due; with usable keys, never wait for an attempt that someone else leads.

        Raises:
            Unavailable: No usable keys; `retry_after` is when the next attempt may be made.
        """
        while not self._upkeep.usable(self._clock.monotonic()):
            if self._flight is not None:
                await self._flight.wait()
            elif (pause := self._upkeep.retry_at - self._clock.monotonic()) > 0:
                raise Unavailable("no usable keys", retry_after=pause)
            else:
                await self._attempt_shielded()
            # Round again: an attempt whose leader was cancelled has no outcome, so the next waiter leads.
        if self._flight is None and self._clock.monotonic() >= self._upkeep.recheck_at:
            if self._wake is not None:
                self._wake.set()  # `run` leads, and nobody with usable keys waits
            else:
                await self._attempt_shielded()

    async def find(self, kid: str | None, algorithm: str) -> Sequence[Jwk]:
        """The keys that fit; a kid that the set lacks is asked for once per cooldown.

        Raises:
            Unavailable: No usable keys at all, so nothing can be said of any token.
        """
        began = self._clock.monotonic()
        await self.recheck()
        if kid is None or kid in self._kids:
            return fitting(self._set.keys, kid, algorithm)
        self._unknown_kids += 1
        if self._upkeep.fetched_at >= began:
            pass  # this very call has waited for the copy: there is no newer one to be had
        elif self._flight is not None:
            await self._flight.wait()
        elif self._upkeep.may_ask_for_key(now := self._clock.monotonic()):
            self._upkeep = self._upkeep.asking(now)
            await self._attempt_shielded()
        return fitting(self._set.keys, kid, algorithm)

    async def run(self) -> None:
        """Refresh ahead of time, for ever; every attempt, whoever leads it, sets the time anew."""
        try:
            while True:
                # Made before the schedule is read, so that no change of it is missed.
                self._wake = anyio.Event()
                if self._flight is not None:
                    await self._flight.wait()
                elif (pause := self._upkeep.refresh_at - self._clock.monotonic()) > 0:
                    with anyio.move_on_after(pause):
                        await self._wake.wait()
                else:
                    # Not shielded: only shutdown ends this task, and that need not wait for the issuer.
                    await self._attempt()
        finally:
            self._wake = None

    async def _attempt_shielded(self) -> None:
        # A client that hangs up must not end an attempt that other requests wait for.
        with anyio.CancelScope(shield=True):
            await self._attempt()

    async def _attempt(self) -> None:
        """Lead one attempt, and take over what it brings. The caller saw that there is no other."""
        self._flight = landed = anyio.Event()
        try:
            found, max_age = await self._endpoint.fetch()
        except FetchFailed as failure:
            self._failed(failure)
        else:
            self._succeeded(found, max_age)
        finally:
            self._flight = None
            landed.set()
            if self._wake is not None:
                self._wake.set()

    def _failed(self, failure: FetchFailed) -> None:
        # Jitter spreads load; nothing secret rests on it.
        jitter = random.uniform(0.5, 1.0)  # noqa: S311
        self._upkeep = self._upkeep.failed(self._clock.monotonic(), jitter=jitter)
        self._outcome = failure.reason
        self._fetches[failure.reason] += 1
        events.emit(events.JWKS_FAILED, level=logging.WARNING, reason=failure.reason, age=self.health.age)

    def _succeeded(self, found: KeySet, max_age: float | None) -> None:
        before, self._set = self._set, found
        self._kids = frozenset(key.kid for key in found.keys)
        self._upkeep = self._upkeep.succeeded(self._clock.monotonic(), max_age=max_age)
        self._outcome = "refreshed"
        self._fetches["refreshed"] += 1
        # A key that is still there, but under another kid or for fewer algorithms, no longer verifies what
        # it did: it counts as retired, at the price of verifying its tokens anew.
        retired = frozenset(thumbprint for _, thumbprint, _ in _uses(before) - _uses(found))
        events.emit(
            events.JWKS_REFRESHED, keys=len(found.keys), retired=len(retired), skipped=len(found.skipped)
        )
        if found.skipped != before.skipped:  # the same broken neighbour is no news every ten minutes
            for index, reason in found.skipped:
                events.emit(events.JWKS_KEY_SKIPPED, level=logging.WARNING, index=index, reason=reason)
        if retired:
            for callback in self._callbacks:
                callback(retired)


def _uses(keys: KeySet) -> set[tuple[str | None, Thumbprint, str]]:
    return {(key.kid, key.thumbprint, algorithm) for key in keys.keys for algorithm in key.algorithms}
