"""What the vendor was asked and what it answered, without any secret."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from guestpass.core.model import UnixTime

_MOST: Final = 10_000  # entries kept; a demo that runs for days must not grow


@dataclass(frozen=True, slots=True)
class Entry:
    """One request. Neither fields nor query nor body are kept: that is where secrets and guests' names are.

    Attributes:
        method: The request's method.
        path: Its path, without a query.
        time: When it came, by the vendor's clock.
        outcome: `ok`, or the code of the error that the handler answered with, or `none` if no handler ran.
        status: The status that was answered, or would have been; 0 if no answer was made.
        fault: The action of the rule that applied, or None.
        correlation: The reply's ININ-Correlation-Id.
    """

    method: str
    path: str
    time: UnixTime
    outcome: str
    status: int
    fault: str | None
    correlation: str


class Journal:
    """The latest entries, oldest first. May be read from another thread than the vendor's."""

    def __init__(self) -> None:
        self._entries: deque[Entry] = deque(maxlen=_MOST)

    def write(self, entry: Entry) -> None:
        """Append, and drop the oldest if there are too many."""
        self._entries.append(entry)

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()

    def outcomes(self, path: str) -> list[str]:
        """The outcomes of every request to `path`."""
        return [entry.outcome for entry in self if entry.path == path]

    def __iter__(self) -> Iterator[Entry]:
        return iter(tuple(self._entries))

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, index: int) -> Entry:
        return self._entries[index]
