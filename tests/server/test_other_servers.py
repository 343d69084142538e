"""The guarded proxy under every ASGI server that it may run in: whoever speaks HTTP for it, the same."""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import anyio.lowlevel
import anyio.to_thread
import jwt
import pytest
from forge import rsa_key
from forward_auth_site import free_port
from recorder import Answer, Connection, Recorder, ask, connected, get, recording
from running import Running, running
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import InvalidStatus

from guestpass.adapters.issuers.signing_key import SigningKey

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


APP = "guestpass.wiring.apps:app_from_env"
COMMANDS = {
    "uvicorn-h11": ("uvicorn", "--factory", APP, "--http", "h11", "--port", "0", "--ws", "websockets-sansio"),
    "uvicorn-httptools": ("uvicorn", "--factory", APP, "--http", "httptools", "--port", "0"),
    "granian": ("granian", "--interface", "asgi", "--factory", APP, "--port"),
    "hypercorn": ("hypercorn", f"{APP}()", "--bind", "127.0.0.1:0"),
    "serve": ("guestpass", "serve", "--port", "0"),
    "serve-granian": ("guestpass", "serve", "--server", "granian", "--port", "0"),
}
KEY: bytes = rsa_key("rsa").export_to_pem(private_key=True, password=None)


@pytest.fixture(params=COMMANDS)
def command(request: pytest.FixtureRequest) -> tuple[str, ...]:
    module, *arguments = COMMANDS[request.param]
    port = [str(free_port())] if module == "granian" else []
    return (sys.executable, "-m", module, *arguments, *port)


@asynccontextmanager
async def site(command: tuple[str, ...], upstream: str, folder: Path) -> AsyncIterator[int]:
    """A server's port, before the backend at `upstream`."""
    async with started(command, upstream, folder) as (port, _):
        yield port


@asynccontextmanager
async def started(
    command: tuple[str, ...], upstream: str, folder: Path
) -> AsyncIterator[tuple[int, Running]]:
    """A server before the backend at `upstream`: its port, and its process."""
    (folder / "key.pem").write_bytes(KEY)
    environ = {
        "GUESTPASS_ISSUER__KIND": "local",
        "GUESTPASS_ISSUER__KEY_FILE": str(folder / "key.pem"),
        "GUESTPASS_UPSTREAM__URL": upstream,
        "GUESTPASS_POLICY__SPREAD": "0",
    }
    with running(*command, env=environ) as server:
        url = await anyio.to_thread.run_sync(server.url, "http://127.0.0.1")
        try:
            with anyio.fail_after(30):
                port = int(url.rpartition(":")[2])
                while not await listens(port):
                    await anyio.lowlevel.checkpoint()
                yield port, server
        finally:  # asked to stop, as most of them have workers who would outlive a kill
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(server.stop)


async def listens(port: int) -> bool:
    """Whether a server is there; one of them says so before it is."""
    try:
        async with connected(port):
            return True
    except ConnectionError:
        return False


@pytest.mark.parametrize("command", ["serve", "serve-granian"], indirect=True)
async def test_what_is_under_way_at_sigterm_is_answered_and_nothing_new(
    command: tuple[str, ...], tmp_path: Path
) -> None:
    arrived, go_on = asyncio.Event(), asyncio.Event()

    async def behave(connection: Connection) -> None:
        await connection.request()
        await connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
        arrived.set()
        await go_on.wait()
        await connection.send(b"4\r\nlast\r\n0\r\n\r\n")

    async with recording(behave) as backend, started(command, backend.url, tmp_path) as (port, server):
        async with connected(port) as client:
            await client.send(get(b"/", carrying(token())))
            await arrived.wait()
            server.process.terminate()
            while await listens(port):
                await anyio.lowlevel.checkpoint()
            go_on.set()
            answer = await client.answer()
        assert (answer.body, answer.complete) == (b"firstlast", True)
        assert await anyio.to_thread.run_sync(server.wait) == 0
        assert not [line for line in server.lines if "Traceback" in line]


def token(lives: float = 1800) -> bytes:
    exp = int(time.time() + lives)
    claims = {"iss": "guestpass", "sub": "1", "name": "Ada Löve", "email": "a@b.example", "iat": exp - 1800}
    return SigningKey.from_pem(KEY).sign(json.dumps({**claims, "exp": exp}).encode())


def carrying(token: bytes) -> bytes:
    return b"X-Guest-Token: " + token


async def identity(port: int, backend: Recorder) -> None:
    """The backend meets the path as it came, who the guest is, and nothing that a client made up."""
    target = b"/a%20b/%C3%A9?q=%zz&q"
    fields = (carrying(token()), b"X_Guest_Name: Eve", b"X-Two: 1", b"X-TWO: 2", b"X-Latin: caf\xe9")
    answer = await ask(port, get(target, *fields))
    request = backend.requests[-1]
    assert (answer.status, answer.body, answer.values(b"x-guest-token")) == (200, b"ok", [])
    assert answer.values(b"set-cookie") == [b"a=1", b"b=2"]
    assert request.line == b"GET " + target + b" HTTP/1.1"
    assert request.values(b"x-guest-name") == [b"Ada%20L%C3%B6ve"]
    assert request.values(b"x-two") == [b"1", b"2"]
    assert request.values(b"x-latin") == [b"caf\xe9"]
    assert b"Eve" not in request.head


async def body(port: int, backend: Recorder) -> None:
    """A body of unknown length arrives whole, and HEAD has none."""
    fields = [b"Host: x", carrying(token()), b"Transfer-Encoding: chunked", b"", b""]
    chunk = b"%x\r\n%b\r\n" % (50_000, b"y" * 50_000)
    head = b"POST / HTTP/1.1\r\n" + b"\r\n".join(fields)
    assert (await ask(port, head + chunk * 4 + b"0\r\n\r\n", b"POST")).status == 200
    assert backend.requests[-1].body == b"y" * 200_000
    answer = await ask(port, get(b"/", carrying(token())).replace(b"GET", b"HEAD", 1), b"HEAD")
    assert (answer.status, answer.body, answer.complete) == (200, b"", True)


async def rotation(port: int) -> None:
    """A token near its end is answered with its successor, which no cache keeps."""
    answer: Answer = await ask(port, get(b"/", carrying(token(100))))
    [successor] = answer.values(b"x-guest-token")
    assert jwt.decode(successor, options={"verify_signature": False})["name"] == "Ada Löve"
    assert answer.values(b"cache-control") == [b"private, no-store"]


async def refusal(port: int, backend: Recorder) -> None:
    """Without a genuine token, or with a path of two readings, the backend sees nothing."""
    seen = len(backend.requests)
    for fields in ([], [b"X-Guest-Token: a.b.c"], [carrying(token(-3600))]):
        answer = await ask(port, get(b"/", *fields))
        assert answer.status == 401
        assert answer.values(b"content-type") == [b"application/problem+json"]
    for path in (b"/a/../b", b"//a", b"/a%2fb", b"/a%2e%2e/"):
        assert (await ask(port, get(path, carrying(token())))).status in (400, 404)
    assert len(backend.requests) == seen


async def answer_in_parts(connection: Connection, go_on: asyncio.Event) -> None:
    while True:
        request = await connection.request()
        head = b"HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n"
        if b"/stream" in request.line:
            await connection.send(head + b"Transfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
            await go_on.wait()
            await connection.send(b"4\r\nlast\r\n0\r\n\r\n")
        elif request.line.startswith(b"HEAD"):
            await connection.send(head + b"Content-Length: 2\r\n\r\n")
        else:
            await connection.send(head + b"Content-Length: 2\r\n\r\nok")


async def stream(port: int, go_on: asyncio.Event) -> None:
    """What the backend says is there at once, and not when it has said everything."""
    async with connected(port) as client:
        await client.send(get(b"/stream", carrying(token())))
        seen = b""
        while b"first" not in seen:
            seen += await client.reader.read(1000)
        assert b"last" not in seen
        go_on.set()
        while b"last" not in seen:
            seen += await client.reader.read(1000)


async def test_the_proxy_keeps_its_promises_over_http(command: tuple[str, ...], tmp_path: Path) -> None:
    go_on = asyncio.Event()

    async def behave(connection: Connection) -> None:
        await answer_in_parts(connection, go_on)

    async with recording(behave, limit=1 << 20) as backend, site(command, backend.url, tmp_path) as port:
        await identity(port, backend)
        await body(port, backend)
        await rotation(port)
        await refusal(port, backend)
        await stream(port, go_on)


async def test_the_proxy_keeps_its_promises_over_websockets(command: tuple[str, ...], tmp_path: Path) -> None:
    async def echo(socket: ServerConnection) -> None:
        assert socket.request is not None
        await socket.send(socket.request.headers["X-Guest-Name"] + socket.request.path)
        async for message in socket:
            await socket.send(message)

    async with serve(echo, "127.0.0.1", 0) as server:
        upstream = f"http://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"
        async with site(command, upstream, tmp_path) as port:
            url = f"ws://127.0.0.1:{port}/a%20b?q=%zz"
            with pytest.raises(InvalidStatus):
                await connect(url)
            fields = {"X-Guest-Token": token(100).decode()}
            async with connect(url, additional_headers=fields) as socket:
                assert socket.response is not None
                # Granian drops the fields of `websocket.accept`: docs/servers.md says what that means.
                assert ("X-Guest-Token" in socket.response.headers) is ("granian" not in command)
                assert await socket.recv() == "Ada%20L%C3%B6ve/a%20b?q=%zz"
                for message in ("text é", b"\x00\xff", "x" * 100_000):
                    await socket.send(message)
                    assert await socket.recv() == message
