"""A breaker: opens on the first failure, and asks at most once a moment whether the other side is back."""

import logging
from typing import Final

from guestpass import events
from guestpass.core.model import MonotonicTime
from guestpass.ports import Clock

_PROBE_EVERY: Final = 0.5


class Breaker:
    """Keeps requests from waiting, one after another, for what is known to be down.

    While it is open one caller per half second may probe; nobody else waits for anything. Once a task in
    the background does the probing (`attended`), no request does.
    """

    def __init__(self, clock: Clock, *, probe_every: float = _PROBE_EVERY) -> None:
        """Start closed; `probe_every` in seconds."""
        self._clock = clock
        self._probe_at = MonotonicTime(0.0)
        self.probe_every = probe_every
        self.is_open = False
        self.attended = False

    def may_probe(self) -> bool:
        """Whether the caller is the one who probes now.

        The right lapses by itself, so that a probe whose caller went away is not waited for.
        """
        now = self._clock.monotonic()
        if self.attended or now < self._probe_at:
            return False
        self._probe_at = MonotonicTime(now + self.probe_every)
        return True

    def failed(self, reason: str) -> None:
        """Open, or stay open; `reason` is one of a bounded set of words."""
        self._probe_at = MonotonicTime(self._clock.monotonic() + self.probe_every)
        if not self.is_open:
            self.is_open = True
            events.emit(events.STORE_DEGRADED, level=logging.WARNING, reason=reason)

    def recovered(self) -> None:
        """Close; only a probe that wrote may say so, as a store that is full or read-only still reads."""
        if self.is_open:
            self.is_open = False
            events.emit(events.STORE_RECOVERED)
