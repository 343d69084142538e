"""Remembers the latest events of this process, for those who follow it over the admin port."""

import json
import logging
from collections import deque
from typing import Any, Final

from guestpass.logs import JsonLines

_MOST: Final = 100


class Happenings(logging.Handler):
    """The last hundred events, as log lines have them, each with a number that only ever grows.

    The number is the time in microseconds, or one more than the last: so a worker that takes over a dead
    one's place goes on from there, and nobody who follows loses or repeats an event.
    """

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self._lines = JsonLines()
        self._last = 0
        self.news: deque[tuple[int, dict[str, Any]]] = deque(maxlen=_MOST)

    def emit(self, record: logging.LogRecord) -> None:
        """Remember one record, if it is an event."""
        if getattr(record, "event", None) is not None:
            self._last = max(self._last + 1, int(record.created * 1e6))
            self.news.append((self._last, json.loads(self._lines.format(record))))
