"""SIGTERM with `server.drain_delay`: readiness is red first, and whoever has not turned away is served."""

import asyncio
import json
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest
from forge import rsa_key
from recorder import Answer, Connection, answering, ask, connected, get, recording
from running import GUESTPASS, Running, running
from served import LOCAL, first_token

BODY = b"served"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n" + BODY
LONG = 60
"""Seconds that no test lives to see the end of."""

COMMANDS = pytest.mark.parametrize("workers", [1, 2], ids=["one", "workers"])

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Site:
    """A running `serve` with an admin port."""

    def __init__(self, process: Running, port: int, admin: int, guest: bytes) -> None:
        self.process = process
        self.port = port
        self.admin = admin
        self.guest = guest

    def signal(self, number: signal.Signals) -> None:
        self.process.process.send_signal(number)

    async def said(self, text: str, times: int = 1) -> None:
        while len([line for line in self.process.lines if text in line]) < times:
            await anyio.lowlevel.checkpoint()

    async def ready(self, port: int) -> Answer:
        return await ask(port, b"GET /readyz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")

    async def red(self) -> Answer:
        """What the public port's readiness says once it is red; as a load balancer asks, but more often."""
        while (answer := await self.ready(self.port)).status == 200:
            await anyio.lowlevel.checkpoint()
        return answer

    async def ended(self) -> int:
        return await anyio.to_thread.run_sync(self.process.wait)

    async def guest_until(self, over: Callable[[], bool], served: list[bool]) -> None:
        """Ask one request after the other, each to be served; adds whether it was its connection's last."""
        while not over():
            async with connected(self.port) as client:
                last = False
                while not (last or over()):
                    await client.send(get(b"/", self.guest))
                    answer = await client.answer()
                    assert (answer.status, answer.body, answer.complete) == (200, BODY, True)
                    last = b"close" in answer.values(b"connection")
                    served.append(last)


@asynccontextmanager
async def site(folder: Path, upstream: str, workers: int, delay: float) -> AsyncIterator[Site]:
    key = folder / "key.pem"
    key.write_bytes(rsa_key("rsa").export_to_pem(private_key=True, password=None))
    environ = {
        **LOCAL,
        "GUESTPASS_ISSUER__KEY_FILE": str(key),
        "GUESTPASS_SERVER__DRAIN_DELAY": str(delay),
        "GUESTPASS_UPSTREAM__URL": upstream,
    }
    options = ("--port", "0", "--admin-port", "0", "--workers", str(workers))
    with running(*GUESTPASS, "serve", *options, env=environ) as process:
        line = json.loads(await anyio.to_thread.run_sync(process.said, "server.listening"))
        port, admin = (int(line[name].rpartition(":")[2]) for name in ("url", "admin"))
        try:
            with anyio.fail_after(40):
                server = Site(process, port, admin, b"X-Guest-Token: " + await first_token(port))
                await server.said("Application startup complete", workers)
                yield server
                assert await anyio.to_thread.run_sync(process.wait) == 0
        finally:
            with anyio.CancelScope(shield=True):
                for _ in range(2):  # a supervisor that is killed leaves its workers behind
                    process.process.terminate()
                await anyio.to_thread.run_sync(process.wait)
        assert not [line for line in process.lines if "Traceback" in line]
        assert len([line for line in process.lines if "server.draining" in line]) == workers


async def listens(port: int) -> bool:
    try:
        async with connected(port):
            return True
    except ConnectionError:  # refused, or reset where it waited to be accepted
        return False


def workers_of(process: Running) -> list[int]:
    pid = process.process.pid
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split()]


@COMMANDS
async def test_nobody_is_refused_who_turns_away_once_readiness_is_red(tmp_path: Path, workers: int) -> None:
    """And it stops by itself, after the delay and not before."""
    async with (
        recording(answering(OK)) as backend,
        site(tmp_path, backend.url, workers, delay=1) as server,
    ):
        served: list[bool] = []
        turned_away = asyncio.Event()
        async with anyio.create_task_group() as guests:
            for _ in range(8):
                guests.start_soon(server.guest_until, turned_away.is_set, served)
            while len(served) < 100:
                await anyio.lowlevel.checkpoint()
            began = time.monotonic()
            server.signal(signal.SIGTERM)
            answer = await server.red()
            turned_away.set()
        assert (answer.status, json.loads(answer.body)) == (503, {"status": "draining"})
        assert await server.ended() == 0
        assert time.monotonic() - began >= 1


@COMMANDS
async def test_all_is_served_while_readiness_is_red_until_a_second_signal(
    tmp_path: Path, workers: int
) -> None:
    """As long as the delay is; also where the first one reaches every process, as Ctrl-C and systemd's do."""
    async with (
        recording(answering(OK)) as backend,
        site(tmp_path, backend.url, workers, LONG) as server,
    ):
        served: list[bool] = []
        async with connected(server.port) as kept:
            await kept.send(get(b"/", server.guest))
            assert (await kept.answer()).values(b"connection") == []
            server.signal(signal.SIGTERM)
            if workers > 1:
                for worker in workers_of(server.process):
                    os.kill(worker, signal.SIGTERM)
                await server.said("Terminated child process")
            await server.said("server.draining", workers)
            assert [(await server.ready(port)).status for port in (server.port, server.admin)] == [503, 503]
            assert (await ask(server.port, get(b"/livez"))).status == 200
            # On the connection that was there, which ends with this answer, and on new ones.
            await kept.send(get(b"/", server.guest))
            assert (await kept.answer()).values(b"connection") == [b"close"]
        # Longer than uvicorn takes to see that it is to stop, of which it looks ten times a second.
        until = time.monotonic() + 0.5
        await server.guest_until(lambda: len(served) >= 50 and time.monotonic() > until, served)
        assert all(served)
        began = time.monotonic()
        server.signal(signal.SIGINT)
        assert await server.ended() == 0
        assert time.monotonic() - began < LONG / 2


@COMMANDS
async def test_what_begins_in_the_drain_is_finished_after_it(tmp_path: Path, workers: int) -> None:
    """While whoever comes then is refused, and does not wait in vain."""
    arrived, go_on = asyncio.Event(), asyncio.Event()

    async def behave(connection: Connection) -> None:
        await connection.request()
        await connection.send(OK[:-1])
        arrived.set()
        await go_on.wait()
        await connection.send(OK[-1:])

    async with recording(behave) as backend, site(tmp_path, backend.url, workers, LONG) as server:
        server.signal(signal.SIGTERM)
        await server.said("server.draining", workers)
        async with connected(server.port) as client:
            await client.send(get(b"/", server.guest))
            await arrived.wait()
            server.signal(signal.SIGTERM)
            while await listens(server.port):
                await anyio.lowlevel.checkpoint()
            go_on.set()
            answer = await client.answer()
            assert (answer.body, answer.complete) == (BODY, True)
