"""Stops the workers that uvicorn's supervisor watches: nothing new waits then, a second signal counts."""

import os
import socket
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import connection
from typing import Final

from uvicorn import Config
from uvicorn.supervisors import Multiprocess

from guestpass.wiring.draining import HURRY, STOPS

_OFTEN: Final = 0.1
"""Seconds between two looks whether it was asked again."""


class Supervisor(Multiprocess):
    """Hands the first SIGINT or SIGTERM on as SIGTERM, and later ones as `HURRY` to workers that know it."""

    def __init__(self, config: Config, sockets: list[socket.socket], *, draining: bool) -> None:
        """Supervise workers over `sockets`; `draining`: they serve on for a while before they stop."""
        super().__init__(config, sockets)
        self._draining = draining

    def handle_int(self) -> None:
        """Heed one SIGINT."""
        self._heed(super().handle_int)

    def handle_term(self) -> None:
        """Heed one SIGTERM."""
        self._heed(super().handle_term)

    def terminate_all(self) -> None:
        """Tell the workers to stop."""
        super().terminate_all()
        for listener in self.sockets:
            # Open here after they closed theirs, it would take connections that nobody ever answers.
            listener.close()

    def join_all(self) -> None:
        """Wait until every worker has ended."""
        while waiting := [worker.process.sentinel for worker in self.processes if worker.process.is_alive()]:
            connection.wait(waiting, _OFTEN)
            # Of the others one would start a worker, which nobody would stop.
            self.signal_queue[:] = [number for number in self.signal_queue if number in STOPS]
            self.handle_signals()
        super().join_all()

    def _heed(self, stop: Callable[[], None]) -> None:
        if not self.should_exit.is_set():
            stop()
        elif self._draining:
            for worker in self.processes:
                if worker.pid is not None:
                    with suppress(ProcessLookupError):
                        os.kill(worker.pid, HURRY)
