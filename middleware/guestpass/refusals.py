"""Counts and logs what is refused: each refusal is counted, and of a flood of one kind a few are logged.

A log that anyone can fill is a way to fill a disk, or to drown what matters; so each reason has a rate of its
own, and a line says how many like it were left out since the last.
"""

import random
from collections.abc import Iterable
from typing import Final

from guestpass import events
from guestpass.core.forwarded import Trust
from guestpass.core.loggable import loggable_path, request_id
from guestpass.core.model import Header, MonotonicTime
from guestpass.errors import GuestpassError
from guestpass.metrics import Tally
from guestpass.ports import Clock

_BURST: Final = 10.0
_PER_SECOND: Final = 1.0
_ID_BITS: Final = 64


class Sampling:
    """Lets ten lines of a kind through at once, then one a second; kinds are a bounded set of words."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._kinds: dict[str, tuple[float, MonotonicTime, int]] = {}

    def take(self, kind: str) -> int | None:
        """How many of this kind were left out since the last that was let through; None: leave it out."""
        now = self._clock.monotonic()
        room, since, left_out = self._kinds.get(kind, (_BURST, now, 0))
        room = min(_BURST, room + (now - since) * _PER_SECOND)
        if room < 1:
            self._kinds[kind] = (room, now, left_out + 1)
            return None
        self._kinds[kind] = (room - 1, now, 0)
        return left_out


class Refusals:
    """Reports on the requests of one gate."""

    def __init__(self, tally: Tally, trust: Trust, clock: Clock) -> None:
        """Count into `tally`; take the word of `trust` on a request's id."""
        self._tally = tally
        self._trust = trust
        self._sampling = Sampling(clock)

    def name_request(self, peer: str | None, headers: Iterable[Header]) -> None:
        """Give the request an id, which every event from here on carries: a trusted proxy's, or a new one."""
        told = None
        if self._trust.networks and self._trust.believes(peer):
            told = request_id([value for name, value in headers if name == b"x-request-id"])
        # Told from others, never trusted: no reason to ask the kernel at every token that is new.
        events.name_request(told or f"{random.getrandbits(_ID_BITS):016x}")

    def report(self, error: GuestpassError, path: str) -> None:
        """Count one refusal, and log it unless too many like it were logged of late."""
        reason = error.reason
        self._tally.refusals[reason] += 1
        left_out = self._sampling.take(reason)
        if left_out is not None:
            events.emit(
                events.TOKEN_REFUSED, reason=reason, path=loggable_path(path), left_out=left_out or None
            )
