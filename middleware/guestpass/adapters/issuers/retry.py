"""Asking again, within bounds: Retry-After, full jitter, few attempts, one deadline, one shared pause.

Only what cannot have minted is asked again, and what the issuer itself says to ask again: a connection that
never came about, and 429, 502, 503 or 504. Never after a request went out and no answer came (a reset, a
read time-out): the token may have been minted and its reply lost, and a second call would spend a second one.
"""

import random
import re
from collections.abc import Awaitable, Callable
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Final

import anyio

from guestpass.adapters.issuers.http_client import Answer, NotConnected
from guestpass.adapters.issuers.pause import Pause
from guestpass.core.model import UnixTime
from guestpass.errors import Unavailable
from guestpass.ports import Clock

ATTEMPTS: Final = 3
TOO_MANY_REQUESTS: Final = 429
AGAIN: Final = frozenset({TOO_MANY_REQUESTS, 502, 503, 504})
"""Statuses that are worth another attempt."""

MOST_RETRY_AFTER: Final = 6 * 3600.0
"""The most that a Retry-After is believed. Daily quotas make it hours, and one call every six of them is
nothing to an exhausted quota; but a mistaken 86400 must not stop the gateway for a day."""

_DIGITS = re.compile(r"[0-9]+")
_DAY_NAME = re.compile(r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)[a-z]*,? ")
_MAX_DIGITS: Final = 9
_FIRST: Final = 0.2
_MOST: Final = 5.0
_MOST_DOUBLINGS: Final = 16

Sleep = Callable[[float], Awaitable[object]]
Draw = Callable[[], float]
"""A number from [0, 1)."""

DRAW: Final[Draw] = random.SystemRandom().random


def retry_after(value: str | None, *, now: UnixTime, date: str | None = None) -> float | None:
    """Read a Retry-After field (RFC 9110 §10.2.3): whole seconds, or an HTTP-date.

    Args:
        value: The field's value, or None.
        now: Our own wall clock, for a date where the answer has no `Date` of its own.
        date: The answer's `Date` field: the clock that the HTTP-date was written by.

    Returns:
        Seconds from now, at least 0 (a past date) and at most `MOST_RETRY_AFTER`; None for no usable value:
        garbage, a negative or a fractional number. It is never milliseconds.
    """
    text = (value or "").strip(" \t")
    if _DIGITS.fullmatch(text):
        # int() refuses 4,300 digits and more; what is too long to be a wait is a long one.
        return min(float(text), MOST_RETRY_AFTER) if len(text) <= _MAX_DIGITS else MOST_RETRY_AFTER
    instant = http_date(text)
    if instant is None:
        return None
    reference = http_date((date or "").strip(" \t"))
    return min(max(0.0, instant - (now if reference is None else reference)), MOST_RETRY_AFTER)


def http_date(text: str) -> UnixTime | None:
    """Read an HTTP-date in any of its three formats (RFC 9110 §5.6.7); None if it is none."""
    if not _DAY_NAME.match(text):
        return None  # the parser below would take "-5" or "1500" for parts of a date
    try:
        moment = parsedate_to_datetime(text)
        # asctime-date has no zone, and every HTTP-date is in UTC: a naive one must not become local time.
        return UnixTime((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def full_jitter(attempt: int, draw: Draw) -> float:
    """Seconds to wait after the failed attempt number `attempt` (from 1): uniform below a doubling bound.

    Full jitter rather than a fixed schedule, so that workers which failed together do not return together.
    """
    return draw() * min(_MOST, _FIRST * 2.0 ** min(attempt - 1, _MOST_DOUBLINGS))


class Retrying:
    """Makes at most three attempts inside the caller's own deadline.

    Args:
        clock: For dates in Retry-After.
        pause: Begun by a 429 (and by a 503 that names its end), honoured before each attempt.
        sleep: How to wait; a test's own does not.
        draw: The source of jitter.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        pause: Pause,
        sleep: Sleep = anyio.sleep,
        draw: Draw = DRAW,
    ) -> None:
        self._clock = clock
        self._pause = pause
        self._sleep = sleep
        self._draw = draw

    async def run(self, send: Callable[[int], Awaitable[Answer]]) -> Answer:
        """Return the first answer that is not worth another attempt.

        Args:
            send: Makes attempt number n, counted from 1.

        Raises:
            Unavailable: No attempt is left, or the next would begin after the caller's deadline: that is
                said at once, and never after one more wait.
            IssuerMisconfigured: The shared pause stands for it.
        """
        attempt = 0
        while True:
            attempt += 1
            self._pause.check()
            fault: Unavailable
            try:
                answer = await send(attempt)
            except NotConnected as exc:
                fault = exc
            else:
                if answer.status not in AGAIN:
                    self._pause.clear()
                    return answer
                fault = self._fault(answer)
            wait = (fault.retry_after or 0.0) + full_jitter(attempt, self._draw)
            left = anyio.current_effective_deadline() - anyio.current_time()
            if attempt == ATTEMPTS or wait >= left:
                raise fault
            await self._sleep(wait)

    def _fault(self, answer: Answer) -> Unavailable:
        told = told_wait(answer, self._clock)
        if answer.status == TOO_MANY_REQUESTS:
            return Unavailable("too many requests", retry_after=self._pause.begin(told, "too_many_requests"))
        if told:
            self._pause.begin(told, "unavailable")
        return Unavailable("issuer unavailable", retry_after=told)


def told_wait(answer: Answer, clock: Clock) -> float | None:
    """The wait that an answer asks for, in seconds, if it asks for one."""
    fields = answer.headers
    return retry_after(fields.get("retry-after"), now=clock.time(), date=fields.get("date"))
