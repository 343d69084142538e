"""Child processes that live no longer than the demo: started, waited for until they serve, terminated."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Mapping
from contextlib import AbstractContextManager, ExitStack
from threading import Event, Thread
from types import FrameType, TracebackType
from typing import Any, Final, NoReturn, Self

from guestpass.errors import GuestpassError

_KEPT: Final = 20  # lines of a child's output, for when it fails
_URL: Final = re.compile(r"http://127\.0\.0\.1:[0-9]+")
_PATIENCE: Final = 30.0  # seconds until a child must serve; a loaded machine needs some of them
_OURS: Final = ("GUESTPASS_", "GENESYS_")
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class ChildError(GuestpassError):
    """A process of the demo did not come up, or went away."""

    title = "A process of the demo failed"


class Child:
    """One process; its output is read as it comes, so that it never blocks on a full pipe."""

    def __init__(self, name: str, arguments: list[str], environ: Mapping[str, str], gone: Event) -> None:
        self.name = name
        self.url = ""
        self._lines: deque[str] = deque(maxlen=_KEPT)
        self._settled = Event()  # it serves, or it is gone
        self._gone = gone
        self._stopping = False
        # A session of its own: a Ctrl-C reaches the demo alone, which then ends its children in order.
        self._process = subprocess.Popen(  # noqa: S603  our own interpreter and arguments
            [sys.executable, "-m", *arguments],
            env={**_clean(os.environ), **environ, "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        self._reader = Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None  # noqa: S101  for mypy: it is a pipe
        for line in self._process.stdout:
            self._lines.append(line)
            if not self.url and "listen" in line and (found := _URL.search(line)):
                self.url = found[0]
                self._settled.set()
        self._settled.set()
        if not self._stopping:
            self._gone.set()

    def wait(self) -> str:
        """Its URL, once it listens.

        Raises:
            ChildError: It ended first, or took too long.
        """
        self._settled.wait(_PATIENCE)
        if not self.url:
            raise ChildError(f"{self.name} did not start\n{''.join(self._lines)}")
        return self.url

    def stop(self) -> None:
        """End it, gently first; idempotent."""
        self._stopping = True
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join()
        if self._process.stdout is not None:
            self._process.stdout.close()


class Processes(AbstractContextManager["Processes"]):
    """All children; leaving this ends every one of them, whatever the reason for leaving is.

    Signals become exceptions, so that they pass here too, but never while a child is being started or ended:
    one that nobody knows of yet would be left behind.
    """

    def __init__(self) -> None:
        self.gone = Event()  # set once a child has ended that nobody stopped
        self._children = ExitStack()
        self._before: dict[int, Any] = {}
        self._busy = False
        self._pending: int | None = None

    def start(self, name: str, *arguments: str, **environ: str) -> Child:
        """Start `python -m` with these arguments, and with none of our settings but these."""
        self._busy = True
        try:
            child = Child(name, list(arguments), environ, self.gone)
            self._children.callback(child.stop)
        finally:
            self._busy = False
        if self._pending is not None:
            _leave(self._pending)
        return child

    def __enter__(self) -> Self:
        for number in _SIGNALS:
            self._before[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._busy = True  # a second Ctrl-C must not cut this short
        self._children.close()
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if self._busy:
            self._pending = number
        else:
            _leave(number)


def free_port(wanted: int) -> int:
    """`wanted` if nobody listens there, else 0, which takes any."""
    try:
        with socket.create_server(("127.0.0.1", wanted)):
            return wanted
    except OSError:
        return 0


def _leave(number: int) -> NoReturn:
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    sys.exit(128 + number)


def _clean(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment without settings of ours: the demo must not depend on, or reach, a real vendor."""
    return {name: value for name, value in environ.items() if not name.upper().startswith(_OURS)}
