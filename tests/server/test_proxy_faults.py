"""What happens when the backend fails, at every point of an exchange."""

import asyncio

import anyio
import anyio.lowlevel
import pytest
from proxying import (
    anyio_backend,
    code,
    holding,
    nothing_left_behind,
    parser,
    proxying,
    quiet_uvicorn,
    until_in_flight,
)
from recorder import (
    OK,
    Answer,
    Behaviour,
    Connection,
    answer_ok,
    answering,
    ask,
    connected,
    get,
    recording,
    serving,
)

from guestpass.asgi.proxy import ReverseProxy
from guestpass.upstream.pool import PoolLimits

__all__ = ["anyio_backend", "nothing_left_behind", "parser", "quiet_uvicorn"]  # fixtures

pytestmark = pytest.mark.anyio


async def reply(parser: str, *pieces: bytes, method: bytes = b"GET") -> Answer:
    """The answer to one request when the backend sends `pieces` and closes."""
    async with proxying(parser, answering(*pieces, close=True)) as (port, _, proxy):
        answer = await ask(port, get().replace(b"GET", method), method)
        assert (proxy.backends[0].pool.in_use, proxy.backends[0].pool.idle) == (0, 0)
        return answer


# --- the backend breaks its protocol ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"HTTP/1.1 200 OK\r\ncontent-le",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.9\r\n",
        b"HTTP/1.1 2OO OK\r\n\r\n",
        b"HTTP/1.1 999 Odd\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx y: 1\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: a\rb\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: a\r\n\tb\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 101 + b"content-length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\na: " + b"b" * 70_000 + b"\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 200 " + b"b" * 70_000,
        b"HTTP/1.1 102 Processing\r\n\r\n" * 3000,
    ],
)
async def test_what_is_no_response_is_a_502(parser: str, raw: bytes) -> None:
    assert code(await reply(parser, raw)) == (502, "upstream_failed")


async def test_a_head_of_the_largest_size_passes(parser: str) -> None:
    fields = b"".join(b"x-%d: %b\r\n" % (number, b"v" * 500) for number in range(99))
    answer = await reply(parser, b"HTTP/1.1 200 OK\r\n" + fields + b"content-length: 0\r\n\r\n")
    assert (answer.status, len(answer.headers)) == (200, 100)


@pytest.mark.parametrize(
    "pieces",
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n", b"short"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nshort",),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nshort\r\n",),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nsho",),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nshort\r\n", b"zz\r\n"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nshort\r\n0\r\n",),
    ],
)
async def test_a_response_cut_short_is_never_complete(parser: str, pieces: tuple[bytes, ...]) -> None:
    answer = await reply(parser, *pieces)
    assert answer.status == 200
    assert not answer.complete
    assert b"short".startswith(answer.body)


@pytest.mark.parametrize(
    "endless",
    [b"0\r\nx-trailer: ", b"2\r\nok\r\n0\r\nx-trailer: ", b"2;extension="],
    ids=["0", "trailer", "chunk"],
)
async def test_what_a_parser_would_collect_without_end_ends_the_response(parser: str, endless: bytes) -> None:
    """Trailers and chunk extensions are no body, so that no back-pressure holds them (CVE-2024-22019)."""
    sent = 0

    async def behave(connection: Connection) -> None:
        nonlocal sent
        await connection.request()
        await connection.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + endless)
        while True:
            await connection.send(b"x" * 4096)
            sent += 4096

    async with proxying(parser, behave) as (port, backend, _):
        assert not (await ask(port, get())).complete
        with anyio.fail_after(5):
            await backend.connections[0].closed.wait()
    assert sent < 16 << 20  # socket buffers, and no more


async def test_a_response_without_framing_is_cut_short_by_a_reset(parser: str) -> None:
    """Its end is the connection's end, so only how the connection ends tells a whole from a part."""
    passed = asyncio.Event()

    async def behave(connection: Connection) -> None:
        await connection.request()
        await connection.send(b"HTTP/1.1 200 OK\r\n\r\nhalf")
        await passed.wait()
        connection.reset()

    async with proxying(parser, behave) as (port, _, _), connected(port) as client:
        with anyio.fail_after(5):
            await client.send(get())
            head = await client.reader.readuntil(b"half")
            passed.set()
            rest = await client.reader.read()
    assert b"transfer-encoding: chunked" in head.lower()
    assert b"0\r\n\r\n" not in rest


async def test_bytes_after_a_response_end_the_connection_and_reach_nobody(parser: str) -> None:
    """Response splitting in the backend must not become the next guest's answer."""
    async with proxying(parser, answering(OK + b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil")) as (
        port,
        backend,
        _,
    ):
        for _ in range(3):
            assert (await ask(port, get())).body == b"ok"
        assert len(backend.connections) == 3


async def test_bytes_on_an_idle_connection_end_it(parser: str) -> None:
    async def behave(connection: Connection) -> None:
        await connection.request()
        await connection.send(OK)
        if connection is backend.connections[0]:
            await unasked.wait()
            await connection.send(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil")
            await connection.reader.read()
        await answer_ok(connection)

    unasked = asyncio.Event()
    async with proxying(parser, behave) as (port, backend, _):
        assert (await ask(port, get())).body == b"ok"
        unasked.set()
        with anyio.fail_after(5):
            await backend.connections[0].closed.wait()
        assert (await ask(port, get())).body == b"ok"
        assert len(backend.connections) == 2


@pytest.mark.parametrize("excess", [b"body", b"4\r\nbody\r\n0\r\n\r\n"])
async def test_a_body_after_a_response_to_head_reaches_nobody(parser: str, excess: bytes) -> None:
    raw = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n" + excess
    async with proxying(parser, answering(raw)) as (port, backend, _):
        for _ in range(2):
            answer = await ask(port, b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", b"HEAD")
            assert (answer.status, answer.body) == (200, b"")
        assert len(backend.connections) == 2


# --- connections that are stale, refused, slow or scarce --------------------------------------------------


def closing_kept_alive() -> Behaviour:
    """A backend that closes its first connection when the second request comes, without a word."""
    first: list[Connection] = []

    async def behave(connection: Connection) -> None:
        first.append(connection)
        await connection.request()
        await connection.send(OK)
        if connection is first[0]:
            await connection.request()
            return
        await answer_ok(connection)

    return behave


@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"OPTIONS", b"DELETE"])
async def test_a_stale_connection_costs_an_idempotent_request_nothing(parser: str, method: bytes) -> None:
    async with proxying(parser, closing_kept_alive()) as (port, backend, _):
        assert (await ask(port, get(b"/1"))).status == 200
        assert (await ask(port, get(b"/2").replace(b"GET", method), method)).status == 200
        assert [request.line.split()[1] for request in backend.requests] == [b"/1", b"/2", b"/2"]


@pytest.mark.parametrize(
    "data", [get(b"/2").replace(b"GET", b"POST"), b"PUT /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx"]
)
async def test_a_stale_connection_never_sends_twice_what_may_have_had_an_effect(
    parser: str, data: bytes
) -> None:
    async with proxying(parser, closing_kept_alive()) as (port, backend, _):
        await ask(port, get(b"/1"))
        assert code(await ask(port, data)) == (502, "upstream_failed")
        assert [request.line.split()[1] for request in backend.requests] == [b"/1", b"/2"]


async def test_a_retry_is_made_once(parser: str) -> None:
    async def behave(connection: Connection) -> None:
        await connection.request()
        if connection is backend.connections[0]:
            await connection.send(OK)
            await connection.request()

    async with proxying(parser, behave) as (port, backend, _):
        await ask(port, get(b"/1"))
        assert code(await ask(port, get(b"/2"))) == (502, "upstream_failed")
        assert [request.line.split()[1] for request in backend.requests] == [b"/1", b"/2", b"/2"]


async def test_a_fresh_connection_that_closes_is_not_tried_again(parser: str) -> None:
    async def behave(connection: Connection) -> None:
        await connection.request()

    async with proxying(parser, behave) as (port, backend, _):
        assert code(await ask(port, get())) == (502, "upstream_failed")
        assert len(backend.requests) == 1


async def test_nobody_at_the_other_end_is_unreachable(parser: str) -> None:
    async with recording() as backend:
        url = backend.url
    async with serving(ReverseProxy(url), parser) as port:
        assert code(await ask(port, get())) == (502, "upstream_unreachable")


async def test_a_backend_that_does_not_answer_is_a_timeout(parser: str) -> None:
    async def behave(connection: Connection) -> None:
        await connection.request()
        await connection.reader.read()

    async with proxying(parser, behave, header_timeout=0.05) as (port, backend, proxy):
        assert code(await ask(port, get())) == (504, "upstream_timeout")
        with anyio.fail_after(1):
            await backend.connections[0].closed.wait()
        assert proxy.backends[0].pool.in_use == 0


async def test_a_backend_that_takes_no_more_of_a_body_is_a_timeout(parser: str) -> None:
    stop = asyncio.Event()

    async def behave(connection: Connection) -> None:
        await stop.wait()

    async with proxying(parser, behave, header_timeout=0.1) as (port, _, _), connected(port) as client:
        with anyio.fail_after(5):
            await client.send(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n")
            flood = asyncio.create_task(client.send(b"x" * 30_000_000))
            assert code(await client.answer()) == (504, "upstream_timeout")
            stop.set()
            client.writer.transport.abort()
            await asyncio.gather(flood, return_exceptions=True)


async def test_a_client_that_uploads_slowly_uses_up_none_of_the_backends_time(parser: str) -> None:
    """The beat goes on while the client pauses; only the backend's own silence counts."""
    through = proxying(parser, answer_ok, header_timeout=0.04)
    async with through as (port, backend, proxy), connected(port) as client:
        with anyio.fail_after(5):
            await client.send(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab")
            await backend.accepted.wait()
            assert proxy._pulse is not None
            beats = _Beats(20)
            proxy._pulse.watch(beats)
            await beats.passed.wait()
            await client.send(b"cd")
            assert (await client.answer()).status == 200


class _Beats:
    """Watches the pulse until it has beaten `count` times."""

    def __init__(self, count: int) -> None:
        self.left = count
        self.passed = asyncio.Event()

    def beat(self, now: float) -> None:
        self.left -= 1
        if self.left == 0:
            self.passed.set()


async def test_a_full_pool_queues_and_serves_in_order(parser: str) -> None:
    behave, release = holding()
    limits = PoolLimits(max_connections=2, max_waiting=10)
    async with proxying(parser, behave, limits=limits) as (port, backend, proxy):
        asked = [asyncio.create_task(ask(port, get(b"/%d" % number))) for number in range(6)]
        with anyio.fail_after(5):
            await until_in_flight(backend, 2)
            while proxy.backends[0].pool.waiting < 4:
                await anyio.lowlevel.checkpoint()
            release.set()
            answers = await asyncio.gather(*asked)
        assert [answer.status for answer in answers] == [200] * 6
        assert len(backend.connections) == 2


async def test_a_full_queue_refuses_at_once(parser: str) -> None:
    """F13."""
    behave, release = holding()
    limits = PoolLimits(max_connections=1, max_waiting=0)
    async with proxying(parser, behave, limits=limits) as (port, backend, _):
        first = asyncio.create_task(ask(port, get()))
        with anyio.fail_after(5):
            await until_in_flight(backend, 1)
            refused = await ask(port, get())
            assert code(refused) == (503, "pool_exhausted")
            assert refused.values(b"retry-after") == [b"1"]
            release.set()
            assert (await first).status == 200


async def test_a_queue_that_does_not_move_refuses_in_time(parser: str) -> None:
    behave, release = holding()
    limits = PoolLimits(max_connections=1, wait_timeout=0.05)
    async with proxying(parser, behave, limits=limits) as (port, backend, proxy):
        first = asyncio.create_task(ask(port, get()))
        with anyio.fail_after(5):
            await until_in_flight(backend, 1)
            assert code(await ask(port, get())) == (503, "pool_exhausted")
            assert proxy.backends[0].pool.waiting == 0
            release.set()
            assert (await first).status == 200


async def test_idle_connections_are_closed_in_time(parser: str) -> None:
    limits = PoolLimits(idle_timeout=0.05, wait_timeout=0.1)
    async with proxying(parser, answer_ok, limits=limits) as (port, backend, proxy):
        await ask(port, get())
        assert proxy.backends[0].pool.idle == 1
        with anyio.fail_after(5):
            await backend.connections[0].closed.wait()
        assert proxy.backends[0].pool.idle == 0


async def test_a_connection_past_its_age_carries_no_more_than_one_request(parser: str) -> None:
    async with proxying(parser, answer_ok, limits=PoolLimits(max_age=100)) as (port, backend, proxy):
        assert (await ask(port, get(b"/1"))).status == 200
        (connection,) = proxy.backends[0].pool._open
        connection.opened_at -= 101
        assert (await ask(port, get(b"/2"))).status == 200
        with anyio.fail_after(5):
            await backend.connections[0].closed.wait()
        assert (await ask(port, get(b"/3"))).status == 200
        assert len(backend.connections) == 2
