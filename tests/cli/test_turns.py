"""A turn of the loop begins few requests; the rest follow in order, and nothing of theirs is lost."""

import asyncio
from collections.abc import Callable

import pytest
from starlette.types import Receive, Scope, Send
from wire import Served

from guestpass.cli.bounded_http import MOST
from guestpass.cli.turns import AT_ONCE, Turns, turns_of

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def test_a_turn_has_room_for_few_and_later_turns_for_the_rest_in_order() -> None:
    turns, called = Turns(asyncio.get_running_loop()), list[int]()

    def later(number: int) -> Callable[[], None]:
        return lambda: called.append(number)

    admitted = [turns.take(later(number)) for number in range(AT_ONCE * 2 + 1)]
    assert admitted == [True] * AT_ONCE + [False] * (AT_ONCE + 1)
    await asyncio.sleep(0)
    assert called == list(range(AT_ONCE, AT_ONCE * 2))
    assert not turns.take(later(-1)), "the turn is full of those who waited"
    await asyncio.sleep(0)
    assert called[AT_ONCE:] == [AT_ONCE * 2, -1]
    await asyncio.sleep(0)
    assert turns.take(later(-2))


async def test_a_loop_has_one_kind_of_turns() -> None:
    loop = asyncio.get_running_loop()
    assert turns_of(loop) is turns_of(loop)


class Crowd(Served):
    """Many connections to one app, which echoes bodies and notes the order of paths."""

    def __init__(self, count: int) -> None:
        self.order: list[str] = []
        super().__init__(self.app, count)

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.order.append(scope["path"])
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        fields = [(b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": fields})
        await send({"type": "http.response.body", "body": body})

    def fill(self) -> None:
        """Use up the present turn."""
        for number in range(AT_ONCE):
            self.protocols[number].data_received(b"GET /full HTTP/1.1\r\nhost: a\r\n\r\n")


async def test_everyone_of_a_crowd_is_answered_in_the_order_of_coming() -> None:
    crowd = Crowd(AT_ONCE * 3)
    for number, protocol in enumerate(crowd.protocols):
        protocol.data_received(b"GET /%d HTTP/1.1\r\nhost: a\r\n\r\n" % number)
    await crowd.settled()
    assert crowd.order == [f"/{number}" for number in range(AT_ONCE * 3)]
    assert all(wire.written.startswith(b"HTTP/1.1 200 OK\r\n") for wire in crowd.wires)


async def test_what_follows_on_a_connection_that_waits_follows_in_order() -> None:
    crowd = Crowd(AT_ONCE + 1)
    crowd.fill()
    late, wire = crowd.protocols[-1], crowd.wires[-1]
    late.data_received(b"POST /late HTTP/1.1\r\nhost: a\r\ncontent-le")
    late.data_received(b"ngth: 6\r\n\r\nabc")
    late.data_received(b"def")
    assert crowd.order == []
    await crowd.settled()
    assert crowd.order[-1] == "/late"
    assert wire.written.endswith(b"\r\n\r\nabcdef")


async def test_a_connection_that_sends_much_waits_for_no_turn_as_nothing_bounds_what_is_kept_for_it() -> None:
    crowd = Crowd(AT_ONCE + 1)
    crowd.fill()
    late, wire = crowd.protocols[-1], crowd.wires[-1]
    body = b"x" * (MOST * 2)
    late.data_received(b"POST /late HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n" % len(body))
    assert crowd.order == []
    late.data_received(body[:MOST])
    assert len(late.cycle.body) == MOST, "taken at once, what waited first"
    late.data_received(body[MOST:])
    await crowd.settled()
    assert wire.written.endswith(b"\r\n\r\n" + body)


async def test_a_client_that_ends_its_side_while_it_waits_is_still_heard() -> None:
    crowd = Crowd(AT_ONCE + 1)
    crowd.fill()
    late, wire = crowd.protocols[-1], crowd.wires[-1]
    late.data_received(b"GET /late HTTP/1.1\r\nhost: a\r\n\r\n")
    late.eof_received()
    await crowd.settled()
    assert crowd.order.count("/late") == 1
    assert wire.written.startswith(b"HTTP/1.1 200 OK\r\n")


async def test_a_server_that_stops_still_answers_who_waits_for_a_turn() -> None:
    crowd = Crowd(AT_ONCE + 1)
    crowd.fill()
    late, wire = crowd.protocols[-1], crowd.wires[-1]
    late.data_received(b"GET /late HTTP/1.1\r\nhost: a\r\n\r\n")
    for protocol in crowd.protocols:
        protocol.shutdown()
    await crowd.settled()
    assert wire.written.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"\r\nconnection: close\r\n" in wire.written
    assert wire.closing


async def test_a_connection_is_not_idle_while_its_request_waits_for_a_turn() -> None:
    crowd = Crowd(AT_ONCE + 1)
    late = crowd.protocols[-1]
    late.data_received(b"GET /first HTTP/1.1\r\nhost: a\r\n\r\n")
    await crowd.settled()
    assert late.timeout_keep_alive_task is not None
    crowd.fill()
    late.data_received(b"GET /late HTTP/1.1\r\nhost: a\r\n\r\n")
    assert late.timeout_keep_alive_task is None


async def test_nothing_is_served_on_a_connection_that_was_closed_before_its_turn() -> None:
    crowd = Crowd(AT_ONCE + 1)
    crowd.fill()
    late, wire = crowd.protocols[-1], crowd.wires[-1]
    late.data_received(b"DELETE /late HTTP/1.1\r\nhost: a\r\n\r\n")
    wire.close()
    await crowd.settled()
    assert crowd.order == ["/full"] * AT_ONCE


async def test_a_client_that_is_gone_before_its_turn_is_not_served() -> None:
    crowd = Crowd(AT_ONCE + 1)
    crowd.fill()
    late = crowd.protocols[-1]
    late.data_received(b"DELETE /late HTTP/1.1\r\nhost: a\r\n\r\n")
    late.connection_lost(None)
    await crowd.settled()
    assert crowd.order == ["/full"] * AT_ONCE
