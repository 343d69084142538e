"""Turns readiness red at SIGTERM, well before the server stops; a part of the composition root.

A load balancer that learns of a stop by refused connections has lost the requests that it sent meanwhile.
"""

import signal
from collections.abc import AsyncIterator, Callable, Mapping
from types import FrameType
from typing import Final

import anyio

from guestpass import events

STOPS: Final = (signal.SIGINT, signal.SIGTERM)

HURRY: Final = signal.SIGUSR1
"""What a supervisor tells its workers by where it was asked a second time.

They cannot count by themselves: Ctrl-C reaches every process of a terminal, systemd's SIGTERM every one of a
unit, and the supervisor then hands its own to each of them.
"""

Handler = Callable[[int, FrameType | None], object]


class Draining:
    """Stands before the server's own handlers of SIGINT and SIGTERM, which stop it at once."""

    def __init__(self, delay: float, *, supervised: bool) -> None:
        """Serve on for `delay` seconds, or until a second signal; `supervised`: until `HURRY`."""
        self._began = False
        self._delay = delay
        self._supervised = supervised

    def has_begun(self) -> bool:
        """Whether this process is about to stop, and is to get no new traffic."""
        return self._began

    async def run(self) -> None:
        """Wait for a signal, then for the delay, and pass on this and any later one; until cancelled.

        In the main thread, as only that hears of signals, and once the server has installed its handlers.
        """
        before: dict[signal.Signals, Handler] = {}
        for number in STOPS:
            handler = signal.getsignal(number)
            if callable(handler):  # else nobody would heed what is passed on
                before[number] = handler
        heeded = (*before, HURRY) if self._supervised else (*before,)
        try:
            with anyio.open_signal_receiver(*heeded) as heard:
                await self._drain(heard, before)
        finally:
            for stop, handler in before.items():
                signal.signal(stop, handler)

    async def _drain(
        self, heard: AsyncIterator[signal.Signals], before: Mapping[signal.Signals, Handler]
    ) -> None:
        first = await anext(heard)
        self._began = True
        delay = 0.0 if first == HURRY else self._delay
        events.emit(events.SERVER_DRAINING, seconds=delay)
        with anyio.move_on_after(delay):
            async for again in heard:
                if again == HURRY or not self._supervised:
                    break
        stop = signal.SIGTERM if first == HURRY else first
        before[stop](stop, None)
        async for further in heard:
            if further in before:
                before[further](further, None)
