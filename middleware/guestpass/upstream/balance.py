"""Which of several backends gets the next request, and which are left alone for a while.

Health is what real requests meet: a backend that fails several times in a row is left alone, longer each
time, and then on trial. Checks, where there are any, leave it alone for as long as they fail, and end its
time early. When all are left alone the one that returns soonest is asked all the same: refusing everybody is
worse than a try.
"""

import asyncio
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from guestpass.errors import ConfigError
from guestpass.metrics import Histogram
from guestpass.upstream.dial import Dialer
from guestpass.upstream.pool import Pool

Strategy = Literal["round_robin", "least_connections"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ejection:
    """When a backend is left alone, and for how long.

    Attributes:
        failures: How many failures in a row it takes: no connection, no response, or a broken one. An
            answer, whatever its status, is none.
        first: Seconds of the first time; each further one is twice as long.
        most: Seconds of the longest.
    """

    failures: int = 3
    first: float = 1.0
    most: float = 60.0

    def __post_init__(self) -> None:
        if self.failures < 1:
            raise ConfigError("upstream.ejection.failures", "must be one or more")
        if not 0 < self.first <= self.most < float("inf"):
            raise ConfigError(
                "upstream.ejection.first", "must be seconds above zero, no more than ejection.most"
            )


class Backend:
    """One backend and how it has done of late.

    Attributes:
        dialer: Opens connections to it.
        pool: Those for HTTP.
        tunnels: Those for WebSockets, as a count.
        failures: Failures in a row.
        ejections: How often in a row it has been left alone.
        ejected_until: Loop time until which it is; infinity while its checks fail.
        checks: How many checks in a row it passed, below zero: how many it failed; since it was last ejected.
    """

    __slots__ = ("checks", "dialer", "ejected_until", "ejections", "failures", "pool", "tunnels")

    def __init__(self, dialer: Dialer, pool: Pool) -> None:
        self.dialer = dialer
        self.pool = pool
        self.tunnels = 0
        self.failures = 0
        self.ejections = 0
        self.ejected_until = 0.0
        self.checks = 0

    @property
    def load(self) -> int:
        """Requests and WebSockets that it has or is about to have."""
        return self.pool.in_use + self.pool.waiting + self.tunnels


class Figures:
    """What is counted of the requests to some backends; outlives the backends over a reload.

    Attributes:
        latency: How long it took to the head of each response.
        errors: What failed, by reason.
    """

    __slots__ = ("errors", "latency")

    def __init__(self) -> None:
        self.latency = Histogram("upstream_seconds")
        self.errors: Counter[str] = Counter()


class Balancer:
    """Picks a backend for each request."""

    def __init__(
        self, backends: Sequence[Backend], strategy: Strategy, ejection: Ejection, figures: Figures
    ) -> None:
        self.backends = backends
        self.figures = figures
        self._strategy = strategy
        self._ejection = ejection
        self._loop = asyncio.get_running_loop()
        self._next = 0
        self._only = backends[0] if len(backends) == 1 else None

    @property
    def ejected(self) -> list[Backend]:
        """Those that are left alone at present, as long as another one is there."""
        now = self._loop.time()
        return [backend for backend in self.backends if backend.ejected_until > now]

    def pick(self, tried: Collection[Backend] = ()) -> Backend:
        """Choose a backend that is not among `tried`, of which there has to be one."""
        if self._only is not None:
            return self._only
        # Each in its turn first, so that equally loaded ones take turns too.
        order = [*self.backends[self._next :], *self.backends[: self._next]]
        left = [backend for backend in order if backend not in tried]
        now = self._loop.time()
        healthy = [backend for backend in left if backend.ejected_until <= now]
        if not healthy:
            return min(left, key=lambda backend: backend.ejected_until)
        if self._strategy == "least_connections":
            chosen = min(healthy, key=lambda backend: backend.load)
        else:
            chosen = healthy[0]
        self._next = (self.backends.index(chosen) + 1) % len(self.backends)
        return chosen

    def succeeded(self, backend: Backend) -> None:
        """Count an answer: the past is forgiven."""
        backend.failures = backend.ejections = 0

    def failed(self, backend: Backend) -> None:
        """Count a failure; the last of too many leaves the backend alone for a while."""
        backend.failures += 1
        now = self._loop.time()
        if self._only is not None or backend.ejected_until > now:
            return  # requests that were under way when it was ejected say nothing new
        # After its time alone a backend is on trial: one failure is enough.
        if backend.failures >= self._ejection.failures or backend.ejections:
            alone = min(self._ejection.most, self._ejection.first * 2.0 ** min(backend.ejections, 32))
            backend.ejected_until = now + alone
            backend.ejections += 1
            backend.checks = 0  # what it passed before that says nothing

    def checked(self, backend: Backend, *, well: bool, failures: int, successes: int) -> bool:
        """Count a check; whether it is the one that leaves the backend alone, or that has it asked again.

        Args:
            backend: Which one.
            well: Whether it passed.
            failures: How many in a row it takes to leave it alone.
            successes: How many in a row it takes to ask it again.
        """
        backend.checks = max(backend.checks, 0) + 1 if well else min(backend.checks, 0) - 1
        if backend.checks <= -failures and backend.ejected_until < float("inf"):
            backend.ejected_until = float("inf")
            return True
        if backend.checks >= successes and backend.ejected_until > self._loop.time():
            backend.ejected_until = 0.0
            self.succeeded(backend)
            return True
        return False
