"""Has a server begin few requests in a turn of the event loop: the first are done before the last begin.

A loop reads from every connection that has something before it runs a task. With hundreds of connections all
of their requests are then under way at once, 8 KB each, and no cache holds them: at 256 connections a request
took a sixth more, and the slowest hundredth a third more time than with 32 at once.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from functools import lru_cache
from typing import Final

AT_ONCE: Final = 32
"""Pieces of input that are taken in one turn."""


class Turns:
    """Counts what is taken in the present turn; whoever comes too late is called in a later one, in order."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._call_soon = loop.call_soon
        self._taken = 0
        self._waiting: deque[Callable[[], None]] = deque()

    def take(self, later: Callable[[], None]) -> bool:
        """Whether there is room in this turn; if not, `later` is called when there is."""
        if self._taken >= AT_ONCE:
            self._waiting.append(later)
            return False
        if not self._taken:
            self._call_soon(self._next)
        self._taken += 1
        return True

    def _next(self) -> None:
        waiting = self._waiting
        self._taken = min(AT_ONCE, len(waiting))
        if self._taken:
            self._call_soon(self._next)
        for _ in range(self._taken):
            waiting.popleft()()


@lru_cache(maxsize=1)
def turns_of(loop: asyncio.AbstractEventLoop) -> Turns:
    """The turns of an event loop; of the one that was asked for last, as a worker has one."""
    return Turns(loop)
