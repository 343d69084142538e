"""SIGHUP on its way to the workers: kept until one can act on it, and passed on by their parent.

Its default action ends a process, and a worker imports for a second before it can say that it means something
else. A blocked signal stays pending, and what blocks it is inherited by every process that is started.
"""

import multiprocessing
import os
import signal
from contextlib import suppress
from threading import Thread
from typing import Final

from guestpass.wiring.reloading import HANGUP

_HANGUP: Final = {HANGUP}


def hold() -> None:
    """Keep every SIGHUP from here on, in this process and in those that it starts, until one is unblocked."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _HANGUP)


def pass_on() -> None:
    """Hand every SIGHUP of this process to those that it has started; after `hold`."""
    Thread(target=_pass_on, name="hangups", daemon=True).start()


def _pass_on() -> None:
    while True:
        signal.sigwait(_HANGUP)
        for worker in multiprocessing.active_children():
            if worker.pid is not None:
                with suppress(ProcessLookupError):
                    os.kill(worker.pid, HANGUP)
