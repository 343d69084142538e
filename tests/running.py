"""Programs of ours as processes: started, waited for until they say where they serve, ended."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

ROOT = Path(__file__).parent.parent
GUESTPASS = (sys.executable, "-m", "guestpass")
VENDOR = {"GENESYS_CLIENT_ID": "fake-client", "GENESYS_CLIENT_SECRET": "fake-secret"}

_URL = re.compile(r"https?://127\.0\.0\.1:[1-9][0-9]*")
_PATIENCE = 40


class Running:
    """One process, and what it has said."""

    def __init__(self, command: tuple[str, ...], env: Mapping[str, str], cwd: Path) -> None:
        self.lines: list[str] = []
        self._new = Event()
        inherited = {n: v for n, v in os.environ.items() if not n.startswith(("GUESTPASS_", "GENESYS_"))}
        self.process = subprocess.Popen(
            command,
            env={**inherited, "PYTHONUNBUFFERED": "1", **env},
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout:
            for line in self.process.stdout:
                self.lines.append(line.rstrip("\n"))
                self._new.set()
        self._new.set()

    def said(self, text: str) -> str:
        """The first line that holds `text`, awaited."""
        seen = 0
        while True:
            self._new.clear()
            lines, over = self.lines[seen:], not self._reader.is_alive()
            seen += len(lines)
            if found := [line for line in lines if text in line]:
                return found[0]
            assert not over, "\n".join(self.lines)
            assert self._new.wait(_PATIENCE), "\n".join(self.lines)

    def url(self, text: str = "listen") -> str:
        """The URL on the first line that holds `text`."""
        line = self.said(text)
        found = _URL.search(line)
        assert found, line
        return found[0]

    def stop(self) -> int:
        """End it as an operator does; its exit code."""
        self.process.terminate()
        return self.wait()

    def wait(self) -> int:
        code = self.process.wait(_PATIENCE)
        self._reader.join(_PATIENCE)
        return code


@contextmanager
def running(*command: str, env: Mapping[str, str] | None = None, cwd: Path = ROOT) -> Iterator[Running]:
    """Run a command with these variables, and none of guestpass's settings but these."""
    started = Running(command, env or {}, cwd)
    try:
        yield started
    finally:
        if started.process.poll() is None:
            started.process.kill()
        started.wait()
