"""WebSockets through the proxy: real uvicorn, a real backend, a real client."""

import asyncio
import base64
import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import anyio
import pytest
from recorder import Behaviour, Connection, Recorder, connected, get, recording, serving
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Origin, Subprotocol

from guestpass.asgi.proxy import ReverseProxy
from guestpass.upstream.websocket import WebSocketLimits

pytestmark = pytest.mark.anyio

Handler = Callable[[ServerConnection], Awaitable[None]]


@pytest.fixture(params=["h11", "httptools"])
def parser(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def anyio_backend(parser: str) -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": parser == "httptools"}


def choosing(_: ServerConnection, offered: Sequence[Subprotocol]) -> Subprotocol | None:
    return Subprotocol("chat.v1") if "chat.v1" in offered else None


@asynccontextmanager
async def tunnelled(
    parser: str, handler: Handler, *, limits: WebSocketLimits | None = None
) -> AsyncIterator[tuple[int, ReverseProxy]]:
    async with serve(handler, "127.0.0.1", 0, select_subprotocol=choosing, max_size=None) as server:
        (listening,) = server.sockets
        proxy = ReverseProxy(f"http://127.0.0.1:{listening.getsockname()[1]}", websockets=limits)
        async with serving(proxy, parser) as port:
            with anyio.fail_after(10):
                yield port, proxy


def dial(port: int, path: str = "/", **options: object) -> connect:
    return connect(f"ws://127.0.0.1:{port}{path}", proxy=None, **options)  # type: ignore[arg-type]


async def echo(backend: ServerConnection) -> None:
    async for message in backend:
        await backend.send(message)


async def until_closed(proxy: ReverseProxy) -> None:
    while proxy.websockets:
        await anyio.lowlevel.checkpoint()


async def close_code(client: ClientConnection) -> tuple[int, str]:
    with pytest.raises(ConnectionClosed) as closed:
        await client.recv()
    assert closed.value.rcvd is not None
    return closed.value.rcvd.code, closed.value.rcvd.reason


# --- messages ---------------------------------------------------------------------------------------------


async def test_text_and_bytes_pass_both_ways_and_stay_what_they_are(parser: str) -> None:
    async with tunnelled(parser, echo) as (port, proxy):
        async with dial(port) as client:
            for message in ("hello", b"\x00\xff", "", b"", "\u00e4\U0001f600"):
                await client.send(message)
                assert await client.recv() == message
            assert proxy.websockets == 1
        await until_closed(proxy)


async def test_a_large_message_in_many_fragments_arrives_whole(parser: str) -> None:
    parts = [bytes([number % 256]) * 65536 for number in range(64)]  # 4 MiB
    async with tunnelled(parser, echo) as (port, _), dial(port, max_size=None) as client:
        await client.send(parts)
        assert await client.recv() == b"".join(parts)


async def test_a_backend_that_talks_first_is_heard_at_once(parser: str) -> None:
    async def greet(backend: ServerConnection) -> None:
        await backend.send("welcome")
        await backend.wait_closed()

    async with tunnelled(parser, greet) as (port, _), dial(port) as client:
        assert await client.recv() == "welcome"


async def test_messages_keep_their_order_when_neither_side_waits(parser: str) -> None:
    async with tunnelled(parser, echo) as (port, _), dial(port) as client:
        sending = asyncio.create_task(_send_all(client, 500))
        assert [await client.recv() for _ in range(500)] == [str(number) for number in range(500)]
        await sending


async def _send_all(client: ClientConnection, count: int) -> None:
    for number in range(count):
        await client.send(str(number))


async def test_a_client_that_does_not_read_makes_the_backend_wait(parser: str) -> None:
    """Back-pressure: what nobody reads stays with the backend, not in our memory."""
    sent = 0
    stalled = asyncio.Event()

    async def flood(backend: ServerConnection) -> None:
        nonlocal sent
        for _ in range(2000):
            try:
                async with asyncio.timeout(0.3):
                    await backend.send(b"x" * 65536)
            except TimeoutError:
                stalled.set()
                return
            sent += 1

    async with tunnelled(parser, flood) as (port, _), dial(port, max_queue=1, compression=None) as client:
        await stalled.wait()
        client.transport.abort()
    assert sent < 600  # of 125 MiB: socket buffers on loopback, and no more


# --- the handshake ----------------------------------------------------------------------------------------


async def test_the_backend_chooses_the_subprotocol(parser: str) -> None:
    async with tunnelled(parser, echo) as (port, _):
        async with dial(port, subprotocols=[Subprotocol("other"), Subprotocol("chat.v1")]) as client:
            assert client.subprotocol == "chat.v1"
        async with dial(port) as client:
            assert client.subprotocol is None


def accepting(*fields: bytes) -> Behaviour:
    """A backend that accepts by hand, so that the handshake is recorded as it came."""

    async def behave(connection: Connection) -> None:
        request = await connection.request()
        (key,) = request.values(b"sec-websocket-key")
        digest = hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
        lines = [
            b"HTTP/1.1 101 Switching Protocols",
            b"Upgrade: websocket",
            b"Connection: Upgrade, X-Private",
            b"X-Private: 1",
            b"Sec-WebSocket-Accept: " + base64.b64encode(digest),
            *fields,
        ]
        await connection.send(b"\r\n".join([*lines, b"", b""]))
        await connection.reader.read()

    return behave


async def test_the_handshake_carries_the_clients_fields_and_only_our_own_handshake(parser: str) -> None:
    async with recording(accepting(b"Set-Cookie: a=1", b"Set-Cookie: b=2")) as backend:
        async with serving(ReverseProxy(backend.url), parser) as port:
            with anyio.fail_after(5):
                async with dial(
                    port,
                    "/a/%2e%2e/b?c=%20&d",
                    origin=Origin("https://site.example"),
                    additional_headers={
                        "X-A": "1",
                        "X-Forwarded-For": "6.6.6.6",
                        "Sec_WebSocket_Key": "evil",
                    },
                ) as client:
                    assert client.response is not None
                    assert client.response.headers.get_all("Set-Cookie") == ["a=1", "b=2"]
                    assert "X-Private" not in client.response.headers
                    assert client.request is not None
                    theirs = client.request.headers["Sec-WebSocket-Key"].encode()
        (request,) = backend.requests
    assert request.line == b"GET /a/%2e%2e/b?c=%20&d HTTP/1.1"
    assert request.values(b"x-a") == [b"1"]
    assert request.values(b"origin") == [b"https://site.example"]
    assert request.values(b"x-forwarded-for") == [b"127.0.0.1"]
    assert request.values(b"x-forwarded-proto") == [b"http"]
    assert request.values(b"upgrade") == [b"websocket"]
    assert request.values(b"connection") == [b"Upgrade"]
    assert len(request.values(b"sec-websocket-key")) == 1
    assert request.values(b"sec-websocket-key") != [theirs]
    assert request.values(b"sec-websocket-extensions") == []
    assert b"evil" not in request.head


async def refused(port: int) -> tuple[int, bytes, str | None]:
    with pytest.raises(InvalidStatus) as raised:
        async with dial(port):
            pass
    response = raised.value.response
    return response.status_code, bytes(response.body), response.headers.get("X-Reason")


async def test_a_backends_refusal_reaches_the_client_as_it_is(parser: str) -> None:
    async def refuse(connection: Connection) -> None:
        await connection.request()
        await connection.send(b"HTTP/1.1 404 Nope\r\nX-Reason: no room\r\nContent-Length: 4\r\n\r\nnope")

    async with recording(refuse) as backend, serving(ReverseProxy(backend.url), parser) as port:
        with anyio.fail_after(5):
            assert await refused(port) == (404, b"nope", "no room")


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        b"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: eA==\r\n\r\n",
        b"SSH-2.0\r\n",
    ],
)
async def test_a_handshake_that_fails_is_a_502(parser: str, raw: bytes) -> None:
    async def behave(connection: Connection) -> None:
        await connection.request()
        await connection.send(raw)

    async with recording(behave) as backend, serving(ReverseProxy(backend.url), parser) as port:
        with anyio.fail_after(5):
            status, body, _ = await refused(port)
        assert (status, json.loads(body)["code"]) == (502, "upstream_failed")


async def test_a_backend_that_does_not_answer_the_handshake_is_a_504(parser: str) -> None:
    async def behave(connection: Connection) -> None:
        await connection.reader.read()

    async with recording(behave) as backend:
        proxy = ReverseProxy(backend.url, header_timeout=0.05)
        async with serving(proxy, parser) as port:
            with anyio.fail_after(5):
                status, body, _ = await refused(port)
            assert (status, json.loads(body)["code"]) == (504, "upstream_timeout")
            await backend.connections[0].closed.wait()


async def test_too_many_websockets_are_refused(parser: str) -> None:
    async with tunnelled(parser, echo, limits=WebSocketLimits(max_open=1)) as (port, proxy):
        async with dial(port):
            status, body, _ = await refused(port)
            assert (status, json.loads(body)["code"]) == (503, "pool_exhausted")
        await until_closed(proxy)
        async with dial(port) as client:
            await client.send("again")
            assert await client.recv() == "again"


async def test_an_upgrade_to_anything_else_is_a_plain_request(parser: str) -> None:
    """P28: h2c would be a tunnel past every rule."""
    async with recording() as backend, serving(ReverseProxy(backend.url), parser) as port:
        with anyio.fail_after(5):
            async with connected(port) as client:
                await client.send(
                    get(
                        b"/", b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMA"
                    )
                )
                assert (await client.answer()).body == b"ok"
        for name in (b"connection", b"upgrade", b"http2-settings"):
            assert backend.requests[0].values(name) == []


# --- the end ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "reason"), [(1000, ""), (1001, "restarting"), (1011, "oops"), (4401, "expired")]
)
async def test_the_backends_close_reaches_the_client(parser: str, code: int, reason: str) -> None:
    async def close(backend: ServerConnection) -> None:
        await backend.send("last words")
        await backend.close(code, reason)

    async with tunnelled(parser, close) as (port, proxy), dial(port) as client:
        assert await client.recv() == "last words"
        assert await close_code(client) == (code, reason)
        await until_closed(proxy)


@pytest.mark.parametrize(("code", "reason"), [(1000, ""), (3000, "done"), (4999, "bye")])
async def test_the_clients_close_reaches_the_backend(parser: str, code: int, reason: str) -> None:
    seen = asyncio.get_running_loop().create_future()

    async def listen(backend: ServerConnection) -> None:
        received = [await backend.recv()]
        await backend.wait_closed()
        seen.set_result((received, backend.close_code, backend.close_reason))

    async with tunnelled(parser, listen) as (port, proxy):
        async with dial(port) as client:
            await client.send("last words")
            await client.close(code, reason)
        assert await seen == (["last words"], code, reason)
        await until_closed(proxy)


async def test_a_backend_that_vanishes_is_a_bad_gateway(parser: str) -> None:
    async def vanish(backend: ServerConnection) -> None:
        backend.transport.abort()
        await backend.wait_closed()

    async with tunnelled(parser, vanish) as (port, proxy), dial(port) as client:
        assert (await close_code(client))[0] == 1014
        await until_closed(proxy)


async def test_a_client_that_vanishes_ends_the_backends_side_within_a_second(parser: str) -> None:
    closed = asyncio.get_running_loop().create_future()

    async def listen(backend: ServerConnection) -> None:
        await backend.wait_closed()
        closed.set_result(backend.close_code)

    async with tunnelled(parser, listen) as (port, proxy):
        client = await dial(port)
        client.transport.abort()
        with anyio.fail_after(1):
            assert await closed == 1000  # ASGI has one code for a client that says none, and for none
            await until_closed(proxy)


async def test_a_client_that_leaves_during_the_handshake_ends_it(parser: str) -> None:
    async def behave(connection: Connection) -> None:
        await connection.request()
        await connection.reader.read()

    async with recording(behave) as backend:
        proxy = ReverseProxy(backend.url)
        async with serving(proxy, parser) as port:
            opening = asyncio.ensure_future(_open(port))
            with anyio.fail_after(5):
                await _requested(backend)
            opening.cancel()
            with anyio.fail_after(1):
                await backend.connections[0].closed.wait()
                await until_closed(proxy)


async def _open(port: int) -> None:
    async with dial(port):
        raise AssertionError("never accepted")


async def _requested(backend: Recorder) -> None:
    while not backend.requests:
        await anyio.lowlevel.checkpoint()


async def test_a_message_beyond_the_limit_ends_the_socket_with_1009(parser: str) -> None:
    async def shout(backend: ServerConnection) -> None:
        await backend.send(b"x" * 2000)
        await backend.wait_closed()

    limits = WebSocketLimits(max_message_bytes=1000)
    async with tunnelled(parser, shout, limits=limits) as (port, proxy), dial(port) as client:
        assert (await close_code(client))[0] == 1009
        await until_closed(proxy)
