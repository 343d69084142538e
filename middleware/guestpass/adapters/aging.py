"""A mapping whose records end at their instant, the oldest first when it is full."""

from collections.abc import Hashable
from typing import Generic, TypeVar

from guestpass.core.model import UnixTime

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Aging(Generic[K, V]):
    """Bounded by count and by age, whatever is put into it, at constant cost on average."""

    def __init__(self, most: int) -> None:
        """Hold at most `most` records."""
        self._most = most
        self._records: dict[K, tuple[V, UnixTime]] = {}
        self._sweep_at = 256

    def get(self, key: K, now: UnixTime) -> V | None:
        """The record of that key, if it has not ended."""
        record = self._records.get(key)
        return record[0] if record is not None and now < record[1] else None

    def put(self, key: K, value: V, until: UnixTime, now: UnixTime) -> None:
        """Add or replace a record; it counts as the youngest."""
        self._records.pop(key, None)
        if len(self._records) >= self._sweep_at:
            self._records = {k: r for k, r in self._records.items() if now < r[1]}
            for oldest in list(self._records)[: max(0, len(self._records) - self._most * 9 // 10)]:
                del self._records[oldest]
            # Swept again once it has doubled, or grown by a tenth of its bound: constant cost on average.
            self._sweep_at = min(self._most, max(256, 2 * len(self._records)))
        self._records[key] = (value, until)

    def pop(self, key: K, now: UnixTime) -> V | None:
        """Take a record out; None if there is none, or it has ended."""
        record = self._records.pop(key, None)
        return record[0] if record is not None and now < record[1] else None
