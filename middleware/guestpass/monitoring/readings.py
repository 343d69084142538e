"""Reads the value of every metric from the parts of a running process, and says what ails it."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import anyio

from guestpass.adapters.remote_jwks import KeysHealth, RemoteJwks
from guestpass.asgi.routes import RoutedProxy
from guestpass.core.freshness import State
from guestpass.gate import Gate
from guestpass.metrics import FRESH_FOR, Histogram, Snapshot, Value, counted
from guestpass.ports import Clock, KeySource

_LAG_EVERY: Final = 0.25


@dataclass(slots=True)
class LoopLag:
    """Measures how late the event loop wakes a timer: what a request waits before anyone looks at it."""

    clock: Clock
    seen: Histogram = field(default_factory=lambda: Histogram("loop_lag_seconds"))

    async def run(self) -> None:
        """Measure, for ever."""
        while True:
            due = self.clock.monotonic() + _LAG_EVERY
            await anyio.sleep(_LAG_EVERY)
            self.seen.observe(max(0.0, self.clock.monotonic() - due))


@dataclass(frozen=True, slots=True)
class Readings:
    """The parts that are read.

    Attributes:
        gate: What counts requests, rotations and mints.
        keys: Where its keys come from; None where none are published.
        proxy: What forwards; None where an app of the user's own stands behind the gate.
        lag: The event loop's; None where nobody measures it.
    """

    gate: Gate
    keys: KeySource | None
    proxy: RoutedProxy | None = None
    lag: LoopLag | None = None

    async def snapshot(self) -> Snapshot:
        """Every metric that this process has, as it is now. Asks a shared store for the budget, at most."""
        gate, tally = self.gate, self.gate.tally
        cache = gate.entries.cache
        decisions = Counter(tally.decisions)
        decisions["fresh"] += tally.fresh
        values: dict[str, Mapping[str, Value]] = {
            "requests_total": counted("requests_total", decisions),
            "refusals_total": counted("refusals_total", tally.refusals),
            "verifications_total": counted("verifications_total", tally.verifications),
            "cache_hits_total": {"": float(cache.hits + tally.fresh)},  # the short way counts once
            "cache_misses_total": {"": float(cache.misses)},
            "remembered_tokens": counted("remembered_tokens", self._lives()),
            "rotations_total": counted("rotations_total", tally.rotations),
            "mints_total": counted("mints_total", tally.mints),
            "mint_seconds": {"": tally.mint_seconds.reading},
            "endpoint_tokens_total": counted("endpoint_tokens_total", tally.endpoint),
            "issuer_closed_seconds": {"": gate.rotation.health.closed_for()},
            "store_degraded": {"": float(gate.store.degraded)},
            "workers": {"": 1.0},
        }
        if (remaining := await gate.rotation.budget.remaining()) is not None:
            values["mint_budget_remaining"] = {"": float(remaining)}
        if gate.pool is not None and (level := await gate.pool.level()) is not None:
            values["pool_tokens"] = {"": float(level)}
        if isinstance(self.keys, RemoteJwks):
            values |= _of_keys(self.keys.health)
        else:
            values["jwks_usable"] = {"": 1.0}
        if self.proxy is not None:
            values |= _of_proxy(self.proxy)
        if self.lag is not None:
            values["loop_lag_seconds"] = {"": self.lag.seen.reading}
        return values

    def ailments(self) -> dict[str, str]:
        """What is not well, part by part, each in one sentence; empty where all is."""
        found: dict[str, str] = {}
        gate = self.gate
        if isinstance(self.keys, RemoteJwks) and (ailing := _ailing_keys(self.keys.health)):
            found["keys"] = ailing
        if left := gate.rotation.health.closed_for():
            found["issuer"] = (
                f"failed {gate.rotation.health.failures} times in a row; asked again in {left:.0f} s"
            )
        if gate.store.degraded:
            found["store"] = f"out of reach; {_ALONE if gate.logins is None else _WITHOUT_RECORD}"
        if self.proxy is not None and (ailing := _ailing_backends(self.proxy)):
            found["upstream"] = ailing
        return found

    def _lives(self) -> Counter[str]:
        """How many remembered tokens live how long yet."""
        now = self.gate.clock.time()
        remembered = self.gate.entries.cache.entries()
        return Counter(_range(entry.genuine.claims.expires_at - now) for entry in remembered)


_ALONE: Final = "this worker goes by its own state meanwhile"
_WITHOUT_RECORD: Final = "nobody can log in meanwhile, and only tokens that this worker has seen pass"


def _range(left: float) -> str:
    return next((name for name, most in FRESH_FOR if left <= most), "longer")


def _of_keys(health: KeysHealth) -> dict[str, Mapping[str, Value]]:
    values: dict[str, Mapping[str, Value]] = {
        "jwks_usable": {"": float(health.state is not State.DEAD)},
        "jwks_keys": {"": float(health.keys)},
        "jwks_fetches_total": counted("jwks_fetches_total", health.fetches),
        "unknown_kids_total": {"": float(health.unknown_kids)},
    }
    if health.age is not None:
        values["jwks_age_seconds"] = {"": health.age}
    return values


def _of_proxy(proxy: RoutedProxy) -> dict[str, Mapping[str, Value]]:
    connections: Counter[str] = Counter()
    for backend in (*proxy.backends, *proxy.leaving):
        pool = backend.pool
        connections.update(in_use=pool.in_use, idle=pool.idle, opening=pool.opening, waiting=pool.waiting)
    streams = {"http": connections["in_use"], "websocket": proxy.websockets}
    return {
        "upstream_seconds": {"": proxy.figures.latency.reading},
        "upstream_errors_total": counted("upstream_errors_total", proxy.figures.errors),
        "upstream_connections": counted("upstream_connections", connections),
        "upstream_backends": counted(
            "upstream_backends", {"well": proxy.replicas - proxy.ejected, "ejected": proxy.ejected}
        ),
        "active_streams": counted("active_streams", streams),
    }


def _ailing_keys(health: KeysHealth) -> str | None:
    if health.outcome in (None, "refreshed") and health.state is not State.DEAD:
        return None
    last = f"the last fetch ended with: {health.outcome}" if health.outcome else "not fetched yet"
    if health.state is State.DEAD:
        return f"none usable; {last}"
    return f"{health.keys} usable, {health.age or 0:.0f} s old; {last}"


def _ailing_backends(proxy: RoutedProxy) -> str | None:
    limit = proxy.limits.max_connections
    failing = [backend for backend in proxy.backends if backend.failures]
    full = [backend for backend in proxy.backends if backend.pool.waiting and backend.pool.in_use >= limit]
    if proxy.ejected and not failing:
        return f"{proxy.ejected} of {proxy.replicas} fail their checks; GET health_path from this host"
    if failing:
        worst = max(backend.failures for backend in failing)
        return f"{len(failing)} of {len(proxy.backends)} fail, {worst} times in a row; GET it from this host"
    if full:
        return f"all {limit} connections are in use and requests wait: the backend is slow, or the pool small"
    return None
