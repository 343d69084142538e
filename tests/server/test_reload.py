"""SIGHUP: a running `serve` takes over routes and upstreams, and no request notices but by where it went."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest
from forge import rsa_key
from recorder import Connection, Recorder, answer_ok, answering, ask, connected, get, recording
from running import GUESTPASS, Running, running
from served import first_token

from guestpass.config import RouteSettings, Settings, UpstreamSettings
from guestpass.wiring.backends import Backends

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Site:
    """A running `serve` and its file."""

    def __init__(self, process: Running, file: Path, port: int, guest: bytes) -> None:
        self.process = process
        self.file = file
        self.port = port
        self.guest = guest

    def hang_up(self, text: str) -> None:
        self.file.write_text(text, "utf-8")
        self.process.process.send_signal(signal.SIGHUP)

    async def said(self, event: str, times: int = 1) -> dict[str, object]:
        """The last line of the `times`-th event of that name."""
        while len(lines := [line for line in self.process.lines if f'"{event}"' in line]) < times:
            await anyio.lowlevel.checkpoint()
        said: dict[str, object] = json.loads(lines[times - 1])
        return said


@asynccontextmanager
async def site(folder: Path, text: str, *arguments: str) -> AsyncIterator[Site]:
    file, key = folder / "guestpass.toml", folder / "key.pem"
    file.write_text(text, "utf-8")
    key.write_bytes(rsa_key("rsa").export_to_pem(private_key=True, password=None))
    environ = {
        "GUESTPASS_ISSUER__KIND": "local",
        "GUESTPASS_ISSUER__KEY_FILE": str(key),
        "GUESTPASS_LIMITS__TOKEN_ENDPOINT": "off",
    }
    command = (*GUESTPASS, "serve", "--port", "0", "--config", str(file), *arguments)
    with running(*command, env=environ) as process:
        url = await anyio.to_thread.run_sync(process.url, "server.listening")
        port = int(url.rpartition(":")[2])
        try:
            with anyio.fail_after(60):
                yield Site(process, file, port, b"X-Guest-Token: " + await first_token(port))
        finally:
            with anyio.CancelScope(shield=True):
                code = await anyio.to_thread.run_sync(process.stop)
        assert code == 0


def named(name: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(name), name)


async def crowd(site: Site, seen: list[bytes], over: asyncio.Event) -> None:
    """Requests one after the other on a kept connection, each of which has to be answered whole."""
    while not over.is_set():
        async with connected(site.port) as client:
            for _ in range(20):
                await client.send(get(b"/chat/x", site.guest))
                answer = await client.answer()
                assert (answer.status, answer.complete) == (200, True)
                seen.append(answer.body)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "workers"),
    [((), 1), (("--workers", "2"), 2), (("--server", "granian", "--workers", "2"), 2)],
    ids=["one", "workers", "granian"],
)
async def test_no_request_is_dropped_and_each_worker_takes_the_new_routes(
    tmp_path: Path, arguments: tuple[str, ...], workers: int
) -> None:
    async with AsyncExitStack() as stack:
        old, new = [
            await stack.enter_async_context(recording(answering(named(name)))) for name in (b"old", b"new")
        ]
        running = await stack.enter_async_context(site(tmp_path, f'upstream.url = "{old.url}"', *arguments))
        seen: list[bytes] = []
        over = asyncio.Event()
        async with anyio.create_task_group() as guests:
            for _ in range(8):
                guests.start_soon(crowd, running, seen, over)
            while len(seen) < 100:
                await anyio.lowlevel.checkpoint()
            route = f'\n[[routes]]\npath = "/chat/*"\nupstream = "{new.url}"\n'
            running.hang_up(f'upstream.url = "{old.url}"{route}')
            said = await running.said("config.reloaded", workers)
            assert (said["changed"], said["kept"]) == ("routes", 1)
            after = len(seen)
            while len(seen) < after + 200:
                await anyio.lowlevel.checkpoint()
            over.set()
        assert set(seen[:100]) == {b"old"}
        # What each connection had in flight may still come from the old one, and nothing later.
        assert set(seen[after + 8 :]) == {b"new"}
        assert (await ask(running.port, get(b"/", running.guest))).body == b"old"


@pytest.mark.slow
async def test_what_is_under_way_ends_where_it_began_and_its_connection_after_it(tmp_path: Path) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow(connection: Connection) -> None:
        await connection.request()
        await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nfirst")
        begun.set()
        await go_on.wait()
        await connection.send(b"last")
        await connection.reader.read()

    async with (
        recording(slow) as old,
        recording(answer_ok) as new,
        site(tmp_path, f'upstream.url = "{old.url}"') as running,
        connected(running.port) as client,
    ):
        await client.send(get(b"/", running.guest))
        await begun.wait()
        running.hang_up(f'upstream.url = "{new.url}"')
        assert (await running.said("config.reloaded"))["changed"] == "upstream.url"
        assert (await ask(running.port, get(b"/", running.guest))).body == b"ok"
        go_on.set()
        answer = await client.answer()
        assert (answer.body, answer.complete) == (b"firstlast", True)
        await old.connections[0].closed.wait()


@pytest.mark.slow
async def test_a_bad_file_changes_nothing_and_what_needs_a_restart_is_named(tmp_path: Path) -> None:
    async with recording(answer_ok) as one, recording(answer_ok) as other:
        good = f'upstream.url = "{one.url}"'
        async with site(tmp_path, good) as running:

            async def serves(backend: Recorder) -> None:
                seen = len(backend.requests)
                assert (await ask(running.port, get(b"/", running.guest))).status == 200
                assert len(backend.requests) == seen + 1

            broken = [
                ('upstream.url = "ftp://x"', "upstream.url"),
                (good + '\nupstream.ballance = "x"', f"{running.file}: [upstream] ballance"),
                ('upstream.url = "https://x"\nupstream.ca_file = "none.pem"', "upstream.ca_file"),
                ("[", str(running.file)),
                ("", "upstream.url"),
            ]
            for number, (text, field) in enumerate(broken, start=1):
                running.hang_up(text)
                said = await running.said("config.refused", number)
                assert (said["field"], said["level"]) == (field, "error")
                assert said["rule"]
                await serves(one)
            running.hang_up(
                f'upstream.url = "{other.url}"\nserver.readyz = "/r"\nlimits.mint_budget = "9/minute"'
            )
            said = await running.said("config.reloaded")
            assert said["changed"] == "upstream.url"
            assert said["needs_restart"] == "limits.mint_budget, server.readyz"
            assert said["level"] == "warning"
            await serves(other)
            assert (await ask(running.port, get(b"/readyz"))).status == 200


async def test_a_route_back_to_known_backends_keeps_their_connections() -> None:
    one, other = ("http://127.0.0.1:1",), ("http://127.0.0.1:2",)
    settings = Settings(upstream=UpstreamSettings(url=one))
    backends = Backends(settings)
    kept = backends.proxy._proxy_of("/")
    routes = (RouteSettings(path="/a", upstream=other),)
    assert backends.adopt(backends.prepared(Settings(upstream=UpstreamSettings(url=one), routes=routes))) == 1
    assert backends.proxy._proxy_of("/") is kept
    assert backends.proxy._proxy_of("/a").figures is kept.figures
    slower = UpstreamSettings(url=one, response_timeout=61)
    assert backends.adopt(backends.prepared(Settings(upstream=slower))) == 0
    assert backends.proxy._proxy_of("/a") is not kept
