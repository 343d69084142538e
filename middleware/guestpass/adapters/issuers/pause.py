"""A pause that all callers share: until it ends nobody asks the issuer, and everybody gets the same fault."""

import logging
from typing import Final, Literal

from guestpass import events
from guestpass.core.model import MonotonicTime
from guestpass.errors import Fault, IssuerMisconfigured, Unavailable
from guestpass.ports import Clock

_FIRST: Final = 1.0
_MOST: Final = 60.0  # the vendor counts by the minute
_MOST_STRIKES: Final = 10

Reason = Literal["too_many_requests", "unavailable", "forbidden", "unauthenticated"]

_OURS: Final = frozenset({"forbidden", "unauthenticated"})


class Pause:
    """Holds back one route of the issuer: after a 429 until its Retry-After, after a refusal of us for 30 s.

    In-process, and only ever longer, never shorter: of several answers in flight the longest wait counts.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._until = MonotonicTime(float("-inf"))
        self._reason: Reason = "unavailable"
        self._strikes = 0

    def check(self) -> None:
        """Return if the issuer may be asked.

        Raises:
            Unavailable: It asked for patience; `retry_after` is what is left of it.
            IssuerMisconfigured: It refuses us; asking more often would not help.
        """
        left = self._until - self._clock.monotonic()
        if left <= 0:
            return
        fault: type[Fault] = IssuerMisconfigured if self._reason in _OURS else Unavailable
        raise fault("paused", retry_after=left)

    def begin(self, seconds: float | None, reason: Reason) -> float:
        """Hold everyone back for `seconds`; None doubles from 1 s to 60 s for as long as no answer is good.

        Returns:
            The seconds this pause was begun for.
        """
        if seconds is None:
            seconds = min(_MOST, _FIRST * 2**self._strikes)
            self._strikes = min(self._strikes + 1, _MOST_STRIKES)
        until = MonotonicTime(self._clock.monotonic() + seconds)
        if seconds > 0 and until > self._until:
            self._until, self._reason = until, reason
            events.emit(events.ISSUER_GATE_CLOSED, level=logging.WARNING, seconds=seconds, reason=reason)
        return seconds

    def clear(self) -> None:
        """Forget past failures, as the issuer answered; a pause that has begun still runs its time."""
        self._strikes = 0
