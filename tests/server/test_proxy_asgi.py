"""The proxy as an ASGI app: scopes, messages and servers that differ from uvicorn's."""

import asyncio
import json
from collections.abc import Callable, Iterable
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from proxying import holding, until_in_flight
from recorder import OK, Recorder, answer_ok, answering, recording
from starlette.types import Message

from guestpass.asgi.proxy import ReverseProxy
from guestpass.errors import PoolExhausted
from guestpass.upstream.balance import Backend
from guestpass.upstream.exchange import Exchange
from guestpass.upstream.http1 import Abandoned, Http1Connection
from guestpass.upstream.pool import PoolLimits

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def scope(**changes: Any) -> dict[str, Any]:
    return {
        "type": "http",
        "method": "POST",
        "raw_path": b"/p",
        "query_string": b"",
        "http_version": "1.1",
        "scheme": "http",
        "headers": [(b"host", b"a")],
        "client": ("192.0.2.1", 1),
        **changes,
    }


def part(body: bytes, *, more: bool = False) -> Message:
    return {"type": "http.request", "body": body, "more_body": more}


async def call(proxy: ReverseProxy, scope: dict[str, Any], messages: Iterable[Message] = ()) -> list[Message]:
    """Everything the proxy sends when it receives `messages`, and then nothing more."""
    coming = iter(messages)
    sent: list[Message] = []

    async def receive() -> Message:
        for message in coming:
            return message
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: Message) -> None:
        sent.append(message)

    with anyio.fail_after(5):
        await proxy(scope, receive, send)
    return sent


async def through(scope: dict[str, Any], *messages: Message) -> tuple[list[Message], Recorder]:
    async with recording() as backend:
        proxy = ReverseProxy(backend.url)
        sent = await call(proxy, scope, messages)
        await proxy.aclose()
        return sent, backend


# --- HTTP/2 and 3: a body needs no field ------------------------------------------------------------------


@pytest.mark.parametrize("version", ["2", "3"])
async def test_a_body_without_a_length_is_noticed_from_http_2_on(version: str) -> None:
    sent, backend = await through(scope(http_version=version), part(b"ab", more=True), part(b"cd"))
    assert sent[0]["status"] == 200
    assert backend.requests[0].body == b"abcd"
    assert backend.requests[0].values(b"transfer-encoding") == [b"chunked"]


async def test_a_body_that_is_all_here_has_a_length() -> None:
    _, backend = await through(scope(http_version="2"), part(b"abcd"))
    assert backend.requests[0].values(b"content-length") == [b"4"]
    assert backend.requests[0].body == b"abcd"


async def test_no_body_from_http_2_on_has_no_framing() -> None:
    _, backend = await through(scope(http_version="2", method="GET"), part(b""))
    assert backend.requests[0].values(b"content-length") == []
    assert backend.requests[0].values(b"transfer-encoding") == []


# --- bodies that are not what the head said ---------------------------------------------------------------


@pytest.mark.parametrize(
    "messages",
    [
        (part(b"abc"),),
        (part(b"abcde"),),
        (part(b"abcde", more=True),),
        (part(b"ab", more=True), part(b"c")),
        (part(b"ab", more=True), part(b"cde", more=True)),
    ],
)
async def test_a_body_of_another_length_never_completes_a_request(messages: tuple[Message, ...]) -> None:
    """Else the next request on that connection would begin inside this one's body."""
    sent, backend = await through(scope(headers=[(b"host", b"a"), (b"content-length", b"4")]), *messages)
    assert sent[0]["status"] == 400
    assert (b"connection", b"close") in sent[0]["headers"]
    assert backend.requests == []


async def test_a_server_without_raw_paths_is_told_so() -> None:
    sent, backend = await through(scope(raw_path=None))
    assert sent[0]["status"] == 400
    assert "target" in json.loads(sent[1]["body"])["detail"]
    assert backend.requests == []


async def test_optional_parts_of_a_scope_may_be_missing() -> None:
    minimal = scope()
    for name in ("scheme", "query_string", "client"):
        del minimal[name]
    sent, backend = await through(minimal)
    assert sent[0]["status"] == 200
    assert backend.requests[0].values(b"forwarded") == [b"for=unknown;host=a;proto=http"]


# --- clients that leave, as other servers say it ----------------------------------------------------------


@pytest.mark.parametrize("answers", [(OK,), (b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nab", b"cd")])
async def test_a_send_that_says_the_client_is_gone_ends_the_exchange_quietly(
    answers: tuple[bytes, ...],
) -> None:
    """ASGI 2.4: send raises OSError once the client has disconnected."""

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        raise OSError

    async with recording(answering(*answers)) as backend:
        proxy = ReverseProxy(backend.url)
        with anyio.fail_after(5):
            await proxy(scope(), receive, send)
        assert proxy.backends[0].pool.in_use == 0
        await proxy.aclose()


async def test_a_client_that_is_gone_before_its_body_costs_the_backend_nothing() -> None:
    sent, backend = await through(
        scope(headers=[(b"host", b"a"), (b"content-length", b"4")]), {"type": "http.disconnect"}
    )
    assert sent == []
    assert backend.connections == []


async def test_a_server_that_never_says_that_the_body_has_ended_twice_is_not_asked_for_ever() -> None:
    """Some servers repeat the empty last message in place of waiting for the client to leave."""
    behave, release = holding()
    asked = 0
    seen = asyncio.Event()

    async def receive() -> Message:
        nonlocal asked
        asked += 1
        if asked == 2:
            seen.set()
        return part(b"")

    async def send(message: Message) -> None:
        pass

    async with recording(behave) as backend:
        proxy = ReverseProxy(backend.url)
        with anyio.fail_after(5):
            running = asyncio.create_task(proxy(scope(), receive, send))
            await seen.wait()
            release.set()
            await running
        assert asked == 2
        await proxy.aclose()


# --- the app's own life -----------------------------------------------------------------------------------


async def test_lifespan_is_answered_and_closes_the_connections() -> None:
    async with recording() as backend:
        proxy = ReverseProxy(backend.url)
        await call(proxy, scope())
        sent = await call(
            proxy, {"type": "lifespan"}, [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
        )
        assert [message["type"] for message in sent] == [
            "lifespan.startup.complete",
            "lifespan.shutdown.complete",
        ]
        with anyio.fail_after(5):
            await backend.connections[0].closed.wait()
        assert (await call(proxy, scope()))[0]["status"] == 200  # it can be used again
        await proxy.aclose()
        await proxy.aclose()


async def test_a_scope_of_an_unknown_type_is_an_error() -> None:
    with pytest.raises(ValueError, match="unknown ASGI scope type"):
        await call(ReverseProxy("http://a"), {"type": "telepathy"})


def test_one_proxy_serves_one_event_loop_after_another() -> None:
    """As the test clients of frameworks run it; a connection of a closed loop must not be touched."""
    proxy: list[ReverseProxy] = []

    async def once() -> int:
        async with recording() as backend:
            if not proxy:
                proxy.append(ReverseProxy(backend.url))
            sent = await call(proxy[0], scope())
            await proxy[0].aclose()
            return int(sent[0]["status"])

    assert asyncio.run(once()) == 200
    assert asyncio.run(once()) == 502  # another backend by now; what counts is that it answers


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"headers": [(b"host", b"a"), (b"host", b"b")]}, 400),
        ({"headers": [(b"host", b"a"), (b"content-length", b"3")]}, 400),
        ({"raw_path": b"//\r\n"}, 400),
    ],
)
@pytest.mark.parametrize("possible", [True, False])
async def test_a_handshake_that_cannot_be_forwarded_is_refused(
    changes: dict[str, Any], status: int, *, possible: bool
) -> None:
    extensions: dict[str, Any] = {"websocket.http.response": {}} if possible else {}
    handshake = scope(type="websocket", scheme="ws", subprotocols=[], extensions=extensions, **changes)
    del handshake["method"]
    sent, backend = await through(handshake, {"type": "websocket.connect"})
    if possible:
        assert sent[0]["type"] == "websocket.http.response.start"
        assert sent[0]["status"] == status
    else:
        assert sent == [{"type": "websocket.close"}]
    assert backend.connections == []


# --- the queue for connections, in the moments that matter ------------------------------------------------


async def until(true: Callable[[], bool]) -> None:
    """Turn the loop until something is true that no event tells."""
    while not true():
        await anyio.lowlevel.checkpoint()


async def busy(proxy: ReverseProxy, backend: Recorder) -> tuple["asyncio.Task[list[Message]]", Backend]:
    """A proxy of one connection, in use."""
    first = asyncio.create_task(call(proxy, scope()))
    await until_in_flight(backend, 1)
    return first, proxy.backends[0]


async def test_a_connection_granted_to_a_cancelled_request_goes_back() -> None:
    behave, release = holding()
    async with recording(behave) as backend:
        proxy = ReverseProxy(backend.url, limits=PoolLimits(max_connections=1))
        with anyio.fail_after(5):
            first, replica = await busy(proxy, backend)
            ticket = replica.pool.ask()
            waiting = asyncio.create_task(replica.pool.granted(ticket))
            release.set()
            await until(ticket.done)
            waiting.cancel()  # granted, and not yet told
            await asyncio.gather(waiting, return_exceptions=True)
            await first
        assert (replica.pool.in_use, replica.pool.idle) == (0, 1)
        await proxy.aclose()


async def test_a_client_that_leaves_as_its_connection_is_granted_does_not_use_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    behave, release = holding()
    async with recording(behave) as backend:
        proxy = ReverseProxy(backend.url, limits=PoolLimits(max_connections=1))
        with anyio.fail_after(5):
            first, replica = await busy(proxy, backend)
            second = asyncio.create_task(call(proxy, scope(raw_path=b"/left")))
            await until(lambda: replica.pool.waiting > 0)
            (ticket,) = replica.pool._waiting
            assert proxy._pulse is not None
            (exchange,) = (
                item
                for item in proxy._pulse._watched
                if isinstance(item, Exchange) and item._ticket is ticket
            )
            offer = replica.pool._offer

            def offer_as_it_leaves(connection: Http1Connection, now: float) -> None:
                offer(connection, now)
                exchange._interrupt(Abandoned())

            monkeypatch.setattr(replica.pool, "_offer", offer_as_it_leaves)
            release.set()
            assert await second == []
            await first
        assert [request.line for request in backend.requests] == [b"POST /p HTTP/1.1"]
        assert replica.pool.in_use == 0
        await proxy.aclose()


async def test_closing_refuses_who_waits_and_stops_what_is_being_opened() -> None:
    behave, _ = holding()
    async with recording(behave) as backend:
        proxy = ReverseProxy(backend.url, limits=PoolLimits(max_connections=1))
        with anyio.fail_after(5):
            first, replica = await busy(proxy, backend)
            second = asyncio.create_task(call(proxy, scope()))
            await until(lambda: replica.pool.waiting > 0)
            await proxy.aclose()
            assert (await second)[0]["status"] == 503
            assert (await first)[0]["status"] == 503
            with pytest.raises(PoolExhausted):
                replica.pool.ask()


async def test_closing_stops_a_connection_that_is_being_opened() -> None:
    async with recording(answer_ok) as backend:
        proxy = ReverseProxy(backend.url)
        running = asyncio.create_task(call(proxy, scope()))
        with anyio.fail_after(5):
            await until(lambda: bool(proxy.backends) and proxy.backends[0].pool.opening > 0)
            pool = proxy.backends[0].pool
            await proxy.aclose()
            assert (await running)[0]["status"] == 503
        assert (pool.opening, pool.in_use, pool.idle) == (0, 0, 0)
