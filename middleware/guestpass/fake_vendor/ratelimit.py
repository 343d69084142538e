"""The calls that one access token may make: a token bucket, and a 429 when it is empty."""

from math import ceil

from guestpass.fake_vendor.clock import VendorClock
from guestpass.fake_vendor.messages import Call, Reply, envelope

_MINUTE = 60.0


class RateLimit:
    """A bucket for each access token, full at first, refilled evenly.

    Attributes:
        per_minute: Capacity, and refill per minute; None for no limit. May be changed at any time.
    """

    def __init__(self, clock: VendorClock, per_minute: int | None) -> None:
        self.per_minute = per_minute
        self._clock = clock
        self._buckets: dict[str, tuple[float, float]] = {}  # access token -> (calls left, as of)

    def reset(self) -> None:
        """Fill every bucket."""
        self._buckets.clear()

    def forget(self, access: str) -> None:
        """Drop the bucket of an access token that is dead, so that they do not pile up."""
        self._buckets.pop(access, None)

    def take(self, access: str) -> int | None:
        """Take one call from the bucket; None if there was one, else whole seconds until there will be."""
        if self.per_minute is None:
            return None
        now, rate = self._clock.monotonic(), self.per_minute / _MINUTE
        left, as_of = self._buckets.get(access, (float(self.per_minute), now))
        left = min(float(self.per_minute), left + (now - as_of) * rate)
        if left >= 1:
            self._buckets[access] = (left - 1, now)
            return None
        self._buckets[access] = (left, now)
        return max(1, ceil((1 - left) / rate))


def too_many(call: Call, retry_after: str | None, *, value: int = 300) -> Reply:
    """Answer 429 as the vendor does; Retry-After is as given, or absent."""
    reply = envelope(
        call,
        429,
        "too.many.requests.retry.after",
        "Rate limit exceeded the maximum. Retry the request in [{seconds}] seconds",
        params={"seconds": retry_after or ""},
        limit={"key": "token.rate.per.minute", "namespace": "platform.api", "value": value},
    )
    return reply if retry_after is None else reply.with_fields(("Retry-After", retry_after))
