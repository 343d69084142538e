"""`ports.Limiter` over the `limits` package: a moving window per key, bounded in memory.

`limits`' own memory storage keeps every key it ever saw and scans all of them from a timer thread; under a
flood of distinct addresses that is the attack. This storage has neither thread nor unbounded growth.
"""

from collections import OrderedDict, deque
from typing import Final

from limits import RateLimitItemPerSecond, WindowStats
from limits.storage import MovingWindowSupport, Storage
from limits.strategies import MovingWindowRateLimiter

from guestpass.ports import Clock, Quota

_MOST_KEYS: Final = 50_000
_MOVING_ONLY: Final = "this storage serves the moving window only"


class BoundedStorage(Storage, MovingWindowSupport):
    """The hits of at most `most` keys; the ones not hit for longest are forgotten first."""

    def __init__(self, clock: Clock, *, most: int = _MOST_KEYS) -> None:
        super().__init__()
        self._clock = clock
        self._most = most
        self._hits: OrderedDict[str, tuple[int, deque[float]]] = OrderedDict()

    @property
    def base_exceptions(self) -> type[Exception]:
        """What `limits` may treat as a storage fault: nothing here fails."""
        return ValueError

    def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Count `amount` hits unless more than `limit` would fall in the last `expiry` seconds."""
        now = self._clock.time()
        self._forget(now)
        hits = self._window(key, expiry, now)
        if len(hits) + amount > limit:
            return False
        hits.extend([now] * amount)
        self._hits[key] = (expiry, hits)
        self._hits.move_to_end(key)
        return True

    def get_moving_window(self, key: str, limit: int, expiry: int) -> tuple[float, int]:
        """When the oldest hit in the window was, and how many there are."""
        now = self._clock.time()
        hits = self._window(key, expiry, now)
        return (hits[0] if hits else now), min(len(hits), limit)

    def _window(self, key: str, expiry: int, now: float) -> deque[float]:
        _, hits = self._hits.get(key, (expiry, deque[float]()))
        while hits and hits[0] <= now - expiry:
            hits.popleft()
        return hits

    def _forget(self, now: float) -> None:
        """Drop the two oldest keys if they are over: each hit pays for itself, and a flood drains."""
        for _ in range(2):
            if not self._hits:
                return
            key, (expiry, hits) = next(iter(self._hits.items()))
            if len(self._hits) < self._most and hits and hits[-1] > now - expiry:
                return
            del self._hits[key]

    def incr(self, key: str, expiry: float, amount: int = 1) -> int:  # noqa: ARG002  of the base class
        """Fixed windows are not used: a burst of twice the limit fits across their edge."""
        raise TypeError(_MOVING_ONLY)

    def get(self, key: str) -> int:  # noqa: ARG002  of the base class
        """As `incr`."""
        raise TypeError(_MOVING_ONLY)

    def get_expiry(self, key: str) -> float:  # noqa: ARG002  of the base class
        """As `incr`."""
        raise TypeError(_MOVING_ONLY)

    def check(self) -> bool:
        """Always healthy."""
        return True

    def reset(self) -> int:
        """Forget everything; returns how many keys that were."""
        count = len(self._hits)
        self._hits.clear()
        return count

    def clear(self, key: str) -> None:
        """Forget one key."""
        self._hits.pop(key, None)


class MemoryLimiter:
    """One limit, counted per key in this process."""

    def __init__(self, amount: int, seconds: int, clock: Clock, *, most: int = _MOST_KEYS) -> None:
        """Allow `amount` hits in any `seconds`, for each of at most `most` keys."""
        self._item = RateLimitItemPerSecond(amount, seconds)
        self._clock = clock
        self._strategy = MovingWindowRateLimiter(BoundedStorage(clock, most=most))

    async def hit(self, *key: str, cost: int = 1) -> Quota:
        """As the port says."""
        allowed = self._strategy.hit(self._item, *key, cost=cost)
        return self._quota(allowed, self._window(key))

    async def peek(self, *key: str) -> Quota:
        """As the port says."""
        window = self._window(key)
        return self._quota(window.remaining > 0, window)

    def _window(self, key: tuple[str, ...]) -> WindowStats:
        return self._strategy.get_window_stats(self._item, *key)

    def _quota(self, allowed: bool, window: WindowStats) -> Quota:
        wait = 0.0 if window.remaining else max(0.0, window.reset_time - self._clock.time())
        return Quota(allowed, self._item.amount, window.remaining, wait)
