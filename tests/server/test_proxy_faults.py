"""What happens when the backend or the client fails, at every point of an exchange."""

import asyncio
import gc
import json
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import anyio
import pytest
from recorder import (
    OK,
    Answer,
    Behaviour,
    Client,
    Connection,
    Recorder,
    answer_ok,
    answering,
    ask,
    connected,
    get,
    recording,
    serving,
)
from starlette.types import Message

from guestpass.asgi.proxy import ReverseProxy
from guestpass.upstream.pool import PoolLimits

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["h11", "httptools"])
def parser(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def anyio_backend(parser: str) -> tuple[str, dict[str, bool]]:
    """Each parser on the loop that it comes with: h11 is pure Python, httptools is there for speed."""
    return "asyncio", {"use_uvloop": parser == "httptools"}


@pytest.fixture(autouse=True)
async def nothing_left_behind(caplog: pytest.LogCaptureFixture) -> AsyncIterator[None]:
    """P29: no task outlives its test, no exception is never retrieved, no traceback is logged."""
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    yield
    gc.collect()
    running = {getattr(task.get_coro(), "__qualname__", "?") for task in asyncio.all_tasks()}
    assert {name for name in running if not name.startswith("TestRunner.")} == set()
    assert complaints == []
    assert [record for record in caplog.records if record.exc_info] == []


@asynccontextmanager
async def proxying(
    parser: str,
    behaviour: Behaviour,
    *,
    header_timeout: float = 60.0,
    limits: PoolLimits | None = None,
) -> AsyncIterator[tuple[int, Recorder, ReverseProxy]]:
    async with recording(behaviour) as backend:
        proxy = ReverseProxy(backend.url, header_timeout=header_timeout, limits=limits)
        async with serving(proxy, parser) as port:
            yield port, backend, proxy


def code(answer: Answer) -> tuple[int, str]:
    assert answer.values(b"content-type") == [b"application/problem+json"]
    assert answer.values(b"cache-control") == [b"no-store"]
    return answer.status, json.loads(answer.body)["code"]


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


def holding() -> tuple[Behaviour, asyncio.Event]:
    """A backend that answers nobody until it is told to."""
    release = asyncio.Event()

    async def behave(connection: Connection) -> None:
        while True:
            await connection.request()
            await release.wait()
            await connection.send(OK)

    return behave, release


async def until_in_flight(backend: Recorder, count: int) -> None:
    while len(backend.requests) < count:
        await anyio.lowlevel.checkpoint()


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


# --- the client goes away (P29) ---------------------------------------------------------------------------


async def gone(backend: Recorder, proxy: ReverseProxy, index: int = 0) -> None:
    """The backend's connection is closed and the pool's slot is free again, within a second."""
    with anyio.fail_after(1):
        await backend.connections[index].closed.wait()
        while proxy.backends[0].pool.in_use:
            await anyio.lowlevel.checkpoint()


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


async def test_a_server_that_stops_cancels_what_is_in_flight(parser: str) -> None:
    async def behave(connection: Connection) -> None:
        await connection.request()
        await connection.reader.read()

    async with recording(behave) as backend:
        proxy = ReverseProxy(backend.url)
        scope = {
            "type": "http",
            "method": "GET",
            "raw_path": b"/",
            "query_string": b"",
            "http_version": "1.1",
            "scheme": "http",
            "headers": [(b"host", b"a")],
            "client": ("127.0.0.1", 1),
        }

        async def receive() -> Message:
            await asyncio.Event().wait()
            return {}

        async def send(message: Message) -> None:
            raise AssertionError(message)

        task = asyncio.create_task(proxy(scope, receive, send))
        with anyio.fail_after(5):
            await until_in_flight(backend, 1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        await gone(backend, proxy)
        await proxy.aclose()


@pytest.fixture(autouse=True)
def quiet_uvicorn() -> Iterator[None]:
    """uvicorn says in one error line that a response was left incomplete: what we mean it to say."""
    logging.getLogger("uvicorn.error").setLevel(logging.INFO)
    yield
    logging.getLogger("uvicorn.error").setLevel(logging.NOTSET)
