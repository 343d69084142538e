"""What happens when the client leaves, the server stops, or a body is too large."""

import asyncio

import anyio
import anyio.lowlevel
import pytest
from proxying import (
    anyio_backend,
    code,
    gone,
    holding,
    nothing_left_behind,
    parser,
    proxying,
    quiet_uvicorn,
    until_in_flight,
)
from recorder import (
    Client,
    Connection,
    answer_ok,
    ask,
    connected,
    get,
    recording,
    serving,
)
from starlette.types import Message

from guestpass.asgi.proxy import ReverseProxy
from guestpass.upstream.pool import PoolLimits

__all__ = ["anyio_backend", "nothing_left_behind", "parser", "quiet_uvicorn"]  # fixtures

pytestmark = pytest.mark.anyio


# --- the client goes away (P29) ---------------------------------------------------------------------------


@pytest.mark.parametrize("abort", [False, True])
async def test_a_client_that_leaves_while_the_backend_thinks_ends_the_exchange(
    parser: str, *, abort: bool
) -> None:
    async def behave(connection: Connection) -> None:
        await connection.request()
        await connection.reader.read()

    async with proxying(parser, behave) as (port, backend, proxy), connected(port) as client:
        await client.send(get())
        with anyio.fail_after(5):
            await until_in_flight(backend, 1)
        _leave(client, abort=abort)
        await gone(backend, proxy)


def _leave(client: Client, *, abort: bool) -> None:
    if abort:
        client.writer.transport.abort()
    else:
        client.close()


async def test_a_client_that_leaves_a_silent_stream_ends_the_exchange(parser: str) -> None:
    """An event stream may be silent for hours: nothing that is sent would show that nobody reads it."""

    async def behave(connection: Connection) -> None:
        await connection.request()
        await connection.send(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\ndata: 1\n\n")
        await connection.reader.read()

    async with proxying(parser, behave) as (port, backend, proxy), connected(port) as client:
        with anyio.fail_after(5):
            await client.send(get())
            await client.reader.readuntil(b"data: 1")
        client.close()
        await gone(backend, proxy)


async def test_a_client_that_leaves_mid_download_ends_the_exchange(parser: str) -> None:
    async def behave(connection: Connection) -> None:
        await connection.request()
        await connection.send(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n")
        while True:
            await connection.send(b"x" * 65536)

    async with proxying(parser, behave) as (port, backend, proxy), connected(port) as client:
        with anyio.fail_after(5):
            await client.send(get())
            await client.reader.readexactly(300_000)
        client.writer.transport.abort()
        await gone(backend, proxy)


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_client_that_leaves_mid_upload_ends_the_exchange(parser: str, *, chunked: bool) -> None:
    framing = (
        b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n" if chunked else b"Content-Length: 10\r\n\r\nabc"
    )
    async with proxying(parser, answer_ok) as (port, backend, proxy), connected(port) as client:
        with anyio.fail_after(5):
            await client.send(b"PUT / HTTP/1.1\r\nHost: a\r\n" + framing)
            await backend.accepted.wait()
        client.close()
        await gone(backend, proxy)
        assert backend.requests == []


async def test_a_client_that_leaves_the_queue_frees_its_place(parser: str) -> None:
    behave, release = holding()
    limits = PoolLimits(max_connections=1)
    async with proxying(parser, behave, limits=limits) as (port, backend, proxy):
        first = asyncio.create_task(ask(port, get(b"/first")))
        with anyio.fail_after(5):
            await until_in_flight(backend, 1)
            async with connected(port) as client:
                await client.send(get(b"/left"))
                while not proxy.backends[0].pool.waiting:
                    await anyio.lowlevel.checkpoint()
            while proxy.backends[0].pool.waiting:
                await anyio.lowlevel.checkpoint()
            release.set()
            assert (await first).status == 200
            assert (await ask(port, get(b"/next"))).status == 200
        assert [request.line for request in backend.requests] == [
            b"GET /first HTTP/1.1",
            b"GET /next HTTP/1.1",
        ]


SCOPE = {
    "type": "http",
    "method": "PUT",
    "raw_path": b"/",
    "query_string": b"",
    "http_version": "1.1",
    "scheme": "http",
    "headers": [(b"host", b"a"), (b"transfer-encoding", b"chunked")],
    "client": ("127.0.0.1", 1),
}


async def send_nothing(message: Message) -> None:
    raise AssertionError(message)


async def test_a_cancelled_request_lets_go_of_everything(parser: str) -> None:
    async def behave(connection: Connection) -> None:
        await connection.request()
        await connection.reader.read()

    async def receive() -> Message:
        return {"type": "http.request", "body": b"x"}

    async with recording(behave) as backend:
        proxy = ReverseProxy(backend.url)
        task = asyncio.create_task(proxy(SCOPE, receive, send_nothing))
        with anyio.fail_after(5):
            await until_in_flight(backend, 1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        await gone(backend, proxy)
        await proxy.aclose()


async def test_what_receive_raises_mid_upload_is_raised_and_ends_the_exchange(parser: str) -> None:
    """A middleware may refuse a body while it streams; its exception must not die in a task of ours."""
    messages = iter([{"type": "http.request", "body": b"x", "more_body": True}])

    async def receive() -> Message:
        for message in messages:
            return message
        await backend.accepted.wait()
        raise LookupError("from a middleware")

    async with recording(answer_ok) as backend:
        proxy = ReverseProxy(backend.url)
        with anyio.fail_after(5), pytest.raises(LookupError):
            await proxy(SCOPE, receive, send_nothing)
        await gone(backend, proxy)
        await proxy.aclose()


# --- limits on bodies, and an orderly stop ----------------------------------------------------------------


async def test_a_body_within_the_limit_passes(parser: str) -> None:
    async with proxying(parser, answer_ok, max_body=10) as (port, _, _):
        assert (
            await ask(port, b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n0123456789")
        ).status == 200
        assert (await ask(port, get())).status == 200


async def test_a_length_beyond_the_limit_is_refused_before_the_body_is_asked_for(parser: str) -> None:
    """P23."""
    async with proxying(parser, answer_ok, max_body=10) as (port, backend, _), connected(port) as client:
        with anyio.fail_after(5):
            await client.send(
                b"PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 11\r\n\r\n"
            )
            head = await client.reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 413 ")
        assert backend.connections == []


async def test_a_body_without_a_length_is_cut_at_the_limit(parser: str) -> None:
    async with proxying(parser, answer_ok, max_body=10) as (port, backend, proxy), connected(port) as client:
        with anyio.fail_after(5):
            await client.send(
                b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n01234\r\n"
            )
            await backend.accepted.wait()
            await client.send(b"6\r\n567890\r\n")
            assert code(await client.answer()) == (413, "body_too_large")
        await gone(backend, proxy)
        assert backend.requests == []


async def test_a_server_that_stops_finishes_what_is_in_flight(parser: str) -> None:
    """F9."""
    behave, release = holding()
    async with recording(behave) as backend:
        proxy = ReverseProxy(backend.url)
        server = serving(proxy, parser)
        port = await server.__aenter__()
        first = asyncio.create_task(ask(port, get()))
        with anyio.fail_after(5):
            await until_in_flight(backend, 1)
            stopping = asyncio.create_task(server.__aexit__(None, None, None))
            with pytest.raises(ConnectionError):  # noqa: PT012  as soon as it listens no more
                while True:
                    async with connected(port):
                        await anyio.lowlevel.checkpoint()
            release.set()
            answer = await first
            await stopping
            assert (answer.status, answer.body, answer.complete) == (200, b"ok", True)
            await backend.connections[0].closed.wait()
