"""Several backends: who gets a request, who is left alone, and what is tried again."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import anyio
import pytest
from recorder import Behaviour, Connection, Recorder, answer_ok, ask, get, recording, serving
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve

from guestpass.asgi.proxy import ReverseProxy
from guestpass.errors import ConfigError
from guestpass.upstream.balance import Backend, Balancer, Ejection, Figures, Strategy
from guestpass.upstream.dial import BackendTls, Dialer
from guestpass.upstream.origin import Origin
from guestpass.upstream.pool import Pool, PoolLimits
from guestpass.upstream.pulse import Pulse

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@asynccontextmanager
async def replicas(
    *behaviours: Behaviour, balance: Strategy = "round_robin", dead: int = 0
) -> AsyncIterator[tuple[int, list[Recorder], ReverseProxy]]:
    """A proxy before one backend for each behaviour, and before `dead` ones where nobody listens."""
    async with AsyncExitStack() as stack:
        async with AsyncExitStack() as closed:
            gone = [await closed.enter_async_context(recording()) for _ in range(dead)]
        backends = [await stack.enter_async_context(recording(behave)) for behave in behaviours]
        urls = [backend.url for backend in (*gone, *backends)]
        proxy = ReverseProxy(urls, balance=balance)
        port = await stack.enter_async_context(serving(proxy, "httptools"))
        with anyio.fail_after(10):
            yield port, backends, proxy


async def test_backends_take_turns() -> None:
    async with replicas(answer_ok, answer_ok, answer_ok) as (port, backends, _):
        for _ in range(9):
            assert (await ask(port, get())).status == 200
        assert [len(backend.requests) for backend in backends] == [3, 3, 3]


async def test_the_backend_with_the_fewest_connections_is_next() -> None:
    release = asyncio.Event()

    async def hold(connection: Connection) -> None:
        await connection.request()
        await release.wait()
        await connection.send(b"HTTP/1.1 204 No Content\r\n\r\n")

    async with replicas(hold, answer_ok, balance="least_connections") as (port, backends, _):
        held = asyncio.create_task(ask(port, get()))
        while not backends[0].requests:
            await anyio.lowlevel.checkpoint()
        for _ in range(4):
            assert (await ask(port, get())).status == 200
        assert [len(backend.requests) for backend in backends] == [1, 4]
        release.set()
        assert (await held).status == 204


@pytest.mark.parametrize(
    "data", [get(), b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody"], ids=["GET", "POST"]
)
async def test_a_backend_that_refuses_connections_costs_nobody_a_request(data: bytes) -> None:
    """It has seen nothing of the request, so that even a POST may go to another."""
    async with replicas(answer_ok, dead=2) as (port, backends, proxy):
        for _ in range(12):
            assert (await ask(port, data)).status == 200
        assert len(backends[0].requests) == 12
        assert [backend.ejections for backend in proxy.backends] == [1, 1, 0]


async def test_no_backend_at_all_is_unreachable_and_tried_once_each() -> None:
    async with replicas(dead=2) as (port, _, proxy):
        answer = await ask(port, get())
        assert (answer.status, json.loads(answer.body)["code"]) == (502, "upstream_unreachable")
        assert [backend.failures for backend in proxy.backends] == [1, 1]


async def test_what_a_backend_has_seen_is_not_sent_to_another() -> None:
    async def drop(connection: Connection) -> None:
        await connection.request()

    async with replicas(drop, answer_ok) as (port, backends, proxy):
        assert (await ask(port, get())).status == 502
        assert [len(backend.requests) for backend in backends] == [1, 0]
        answers = Counter([(await ask(port, get())).status for _ in range(12)])
        assert answers == {502: 2, 200: 10}  # then it is left alone
        assert proxy.backends[0].ejections == 1


async def test_an_error_status_is_an_answer() -> None:
    async def fail(connection: Connection) -> None:
        while True:
            await connection.request()
            await connection.send(b"HTTP/1.1 500 Oops\r\ncontent-length: 0\r\n\r\n")

    async with replicas(fail, answer_ok) as (port, backends, _):
        for _ in range(10):
            await ask(port, get())
        assert [len(backend.requests) for backend in backends] == [5, 5]


async def test_a_websocket_goes_to_a_backend_that_is_there() -> None:
    async def greet(backend: ServerConnection) -> None:
        await backend.send("here")
        await backend.wait_closed()

    async with recording() as gone:
        pass
    async with serve(greet, "127.0.0.1", 0) as server:
        (listening,) = server.sockets
        proxy = ReverseProxy([gone.url, f"http://127.0.0.1:{listening.getsockname()[1]}"])
        async with serving(proxy, "httptools") as port:
            with anyio.fail_after(5):
                for _ in range(4):
                    async with connect(f"ws://127.0.0.1:{port}/", proxy=None) as client:
                        assert await client.recv() == "here"
                        assert [backend.tunnels for backend in proxy.backends] == [0, 1]


# --- when a backend is left alone -------------------------------------------------------------------------


def three(ejection: Ejection) -> tuple[Balancer, list[Backend]]:
    pulse = Pulse(1.0)
    backends = []
    for number in range(3):
        dialer = Dialer(Origin.parse(f"http://h{number}"), BackendTls(), timeout=1)
        backends.append(Backend(dialer, Pool(dialer, PoolLimits(), pulse)))
    return Balancer(backends, "round_robin", ejection, Figures()), backends


async def test_ejection_lasts_longer_each_time_and_an_answer_ends_it() -> None:
    balancer, (first, *_) = three(Ejection(failures=2, first=1.0, most=3.0))
    now = asyncio.get_running_loop().time()
    balancer.failed(first)
    assert first.ejected_until == 0
    spans = []
    for _ in range(4):
        first.ejected_until = 0  # its time is over
        balancer.failed(first)
        spans.append(round(first.ejected_until - now))
    assert spans == [1, 2, 3, 3]
    balancer.failed(first)  # a request from before
    assert first.ejections == 4
    balancer.succeeded(first)
    assert (first.failures, first.ejections) == (0, 0)


async def test_those_left_alone_are_passed_over_until_none_else_is_left() -> None:
    balancer, (first, second, third) = three(Ejection())
    now = asyncio.get_running_loop().time()
    second.ejected_until = now + 100
    assert [balancer.pick() for _ in range(4)] == [first, third, first, third]
    first.ejected_until = now + 50
    third.ejected_until = now + 200
    assert balancer.pick() is first
    assert balancer.pick([first]) is second


async def test_a_single_backend_is_never_left_alone() -> None:
    _, (first, *_) = three(Ejection())
    balancer = Balancer([first], "round_robin", Ejection(failures=1), Figures())
    for _ in range(5):
        balancer.failed(first)
    assert (balancer.pick(), first.ejections) == (first, 0)


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: ReverseProxy([]), "upstream.url"),
        (lambda: ReverseProxy(["http://a", "http://a:80"]), "upstream.url"),
        (lambda: ReverseProxy("http://a", balance="random"), "upstream.balance"),  # type: ignore[arg-type]
        (lambda: ReverseProxy("http://a", header_timeout=0), "upstream.header_timeout"),
        (lambda: Ejection(failures=0), "upstream.ejection.failures"),
        (lambda: Ejection(first=2, most=1), "upstream.ejection.first"),
        (lambda: PoolLimits(max_connections=0), "upstream.max_connections"),
        (lambda: PoolLimits(max_waiting=-1), "upstream.max_waiting"),
        (lambda: PoolLimits(connect_timeout=float("nan")), "upstream.connect_timeout"),
    ],
)
def test_settings_that_make_no_sense_stop_the_start_up(make: Callable[[], object], field: str) -> None:
    with pytest.raises(ConfigError) as raised:
        make()
    assert raised.value.field == field
