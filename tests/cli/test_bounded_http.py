"""What uvicorn's protocol keeps of a request, as `serve` runs it: nothing, once the request is over."""

import asyncio
import weakref

import pytest
from starlette.types import Receive, Scope, Send
from wire import Served

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Token:
    """Stands for what a request brought."""


class Client:
    """One connection to an app that answers at once, and reads the body afterwards where there is one."""

    def __init__(self) -> None:
        self.seen: list[weakref.ref[Token]] = []
        served = Served(self.app)
        self.settled, self.wire, self.protocol = served.settled, served.wires[0], served.protocols[0]

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["token"] = Token()
        self.seen.append(weakref.ref(scope["token"]))
        fields = [(b"content-length", b"2")]
        await send({"type": "http.response.start", "status": 200, "headers": fields})
        if scope["path"] == "/late":
            await asyncio.sleep(0.01)
        await send({"type": "http.response.body", "body": b"ok"})

    async def send(self, data: bytes) -> None:
        self.protocol.data_received(data)
        await self.settled()


async def test_a_connection_that_waits_for_a_request_keeps_nothing_of_the_last_one() -> None:
    client = Client()
    await client.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
    assert client.wire.written.count(b"200 OK") == 1
    assert client.seen[0]() is None


async def test_requests_that_follow_each_other_closely_are_all_answered() -> None:
    client = Client()
    await client.send(b"GET /late HTTP/1.1\r\nhost: a\r\n\r\n" * 3 + b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
    assert client.wire.written.count(b"200 OK") == 4
    assert [seen() for seen in client.seen] == [None] * 4


async def test_a_body_that_comes_after_its_response_is_dropped_and_the_next_request_served() -> None:
    client = Client()
    await client.send(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 6\r\n\r\nabc")
    assert client.wire.written.count(b"200 OK") == 1
    await client.send(b"def")
    await client.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
    assert client.wire.written.count(b"200 OK") == 2
    assert len(client.seen) == 2


async def test_a_connection_that_ends_when_all_is_answered_ends_without_a_word() -> None:
    client = Client()
    await client.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
    client.protocol.shutdown()
    client.protocol.connection_lost(None)
    assert client.wire.written.count(b"HTTP/1.1") == 1
