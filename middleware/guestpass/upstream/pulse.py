"""One slow clock for everything that is in flight, in place of a timer and a task for each request.

A request that is answered within one beat never causes a timer, a task or a reading of the clock. Deadlines
are kept to within one beat, which is what 5 s and 60 s need.
"""

import asyncio
from typing import Protocol


class Watched(Protocol):
    """Something in flight."""

    def beat(self, now: float) -> None:
        """Look whether a deadline has passed.

        Args:
            now: Loop time in seconds.
        """
        ...


class Pulse:
    """Calls `beat` on everything watched, every `interval` seconds, while there is something to watch."""

    def __init__(self, interval: float) -> None:
        self.interval = interval
        self._loop = asyncio.get_running_loop()
        self._watched: set[Watched] = set()
        self._timer: asyncio.TimerHandle | None = None

    def watch(self, item: Watched) -> None:
        """Have `item.beat` called until `unwatch`."""
        self._watched.add(item)
        if self._timer is None:
            self._timer = self._loop.call_later(self.interval, self._beat)

    def unwatch(self, item: Watched) -> None:
        """Leave `item` alone; nothing happens if it is not watched."""
        self._watched.discard(item)

    def _beat(self) -> None:
        self._timer = None
        if not self._watched:
            return  # the next `watch` starts the clock again, so an idle proxy has no timer
        now = self._loop.time()
        for item in tuple(self._watched):
            item.beat(now)
        self._timer = self._loop.call_later(self.interval, self._beat)

    def stop(self) -> None:
        """Forget everything."""
        self._watched.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
