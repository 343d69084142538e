"""What a server writes within a turn of the loop leaves in one write, in order; nothing is held longer."""

import asyncio

import pytest
from starlette.types import Receive, Scope, Send
from wire import Served, Wire

from guestpass.cli.gathering import Gathering

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def gathering() -> tuple[Gathering, Wire]:
    behind = Wire()
    return Gathering(behind, asyncio.get_running_loop()), behind


async def test_what_is_written_in_one_turn_leaves_in_one_write() -> None:
    transport, behind = gathering()
    transport.write(b"head ")
    transport.writelines([b"bo", bytearray(b"dy")])
    assert behind.writes == []
    await asyncio.sleep(0)
    assert behind.writes == [b"head body"]


async def test_each_turn_has_a_write_of_its_own() -> None:
    transport, behind = gathering()
    for part in (b"one", b"two", b"three"):
        transport.write(part)
        await asyncio.sleep(0)
    assert behind.writes == [b"one", b"two", b"three"]


async def test_a_write_asked_for_early_is_not_done_again() -> None:
    transport, behind = gathering()
    transport.write(b"a")
    transport.flush()
    transport.write(b"b")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert behind.writes == [b"a", b"b"]


async def test_much_is_neither_held_nor_copied() -> None:
    transport, behind = gathering()
    transport.write(b"head")
    transport.write(b"x" * 16_384)
    assert behind.writes == [b"head" + b"x" * 16_384]
    assert behind.in_pieces == 1
    transport.write(b"tail")
    await asyncio.sleep(0)
    assert behind.writes[1:] == [b"tail"]


async def test_a_writer_that_never_waits_holds_no_more_than_a_piece() -> None:
    transport, behind = gathering()
    for _ in range(1_000):
        transport.write(b"x" * 1_000)
        assert transport.get_write_buffer_size() <= 16_384 + 5
    assert len(behind.written) >= 980_000


@pytest.mark.parametrize("end", ["close", "write_eof"])
async def test_an_end_comes_after_what_is_held(end: str) -> None:
    transport, behind = gathering()
    transport.write(b"last words")
    getattr(transport, end)()
    assert behind.writes[0] == b"last words"
    await asyncio.sleep(0)
    assert behind.writes[1:] == ([b"EOF"] if end == "write_eof" else [])


async def test_nothing_is_written_on_a_connection_that_is_gone() -> None:
    transport, behind = gathering()
    transport.write(b"too late")
    transport.abort()
    await asyncio.sleep(0)
    assert behind.writes == []
    assert transport.get_write_buffer_size() == len(b"") + 5


async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
    fields = [(b"content-length", b"10")]
    await send({"type": "http.response.start", "status": 200, "headers": fields})
    await send({"type": "http.response.body", "body": b"first", "more_body": True})
    await asyncio.sleep(0.01)
    await send({"type": "http.response.body", "body": b"later"})


async def test_under_uvicorn_a_head_leaves_with_the_first_part_of_its_body_and_waits_for_no_other() -> None:
    served = Served(app)
    served.protocols[0].data_received(b"GET / HTTP/1.1\r\nhost: guest\r\n\r\n")
    await served.settled()
    writes = served.wires[0].writes
    assert [write[-5:] for write in writes] == [b"first", b"later"]
    assert writes[0].startswith(b"HTTP/1.1 200 OK\r\n")


async def test_under_uvicorn_what_is_no_request_is_answered_before_the_connection_closes() -> None:
    served = Served(app)
    served.protocols[0].data_received(b"nonsense\r\n\r\n")
    assert served.wires[0].written.startswith(b"HTTP/1.1 400")
    assert served.wires[0].closing


async def test_under_uvicorn_a_client_that_ends_its_side_still_gets_what_was_written() -> None:
    served = Served(app)
    served.protocols[0].transport.write(b"held")
    served.protocols[0].eof_received()
    assert served.wires[0].writes == [b"held"]
