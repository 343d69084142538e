"""What a server writes within a turn of the loop leaves in one write, in order; nothing is held longer."""

import asyncio
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send
from uvicorn.config import Config
from uvicorn.server import ServerState

from guestpass.cli.bounded_http import BoundedHttpTools
from guestpass.cli.gathering import Gathering

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Recorder(asyncio.Transport):
    """A transport that keeps what is written on it, a write an item."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 2)})
        self.writes: list[bytes] = []
        self.closing = False

    def write(self, data: Any) -> None:
        assert not self.closing
        self.writes.append(bytes(data))

    def writelines(self, list_of_data: Any) -> None:
        self.writes.append(b"|".join(map(bytes, list_of_data)))

    def write_eof(self) -> None:
        self.writes.append(b"EOF")

    def get_write_buffer_size(self) -> int:
        return 5

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        self.closing = True

    def abort(self) -> None:
        self.closing = True

    def pause_reading(self) -> None:
        self.writes.append(b"PAUSE")

    def resume_reading(self) -> None:
        self.writes.append(b"RESUME")


def gathering() -> tuple[Gathering, Recorder]:
    behind = Recorder()
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
    assert behind.writes == [b"head|" + b"x" * 16_384]
    transport.write(b"tail")
    await asyncio.sleep(0)
    assert behind.writes[1:] == [b"tail"]


async def test_a_writer_that_never_waits_holds_no_more_than_a_piece() -> None:
    transport, behind = gathering()
    for _ in range(1_000):
        transport.write(b"x" * 1_000)
        assert transport.get_write_buffer_size() <= 16_384 + 5
    assert sum(len(write.replace(b"|", b"")) for write in behind.writes) >= 980_000


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
    config = Config(app, lifespan="off", log_config=None)
    config.load()
    state, behind = ServerState(), Recorder()
    protocol = BoundedHttpTools(config=config, server_state=state, app_state={})
    protocol.connection_made(behind)
    protocol.data_received(b"GET / HTTP/1.1\r\nhost: guest\r\n\r\n")
    while state.tasks:  # noqa: ASYNC110  uvicorn has no event for it
        await asyncio.sleep(0)
    await asyncio.sleep(0)
    written = [write for write in behind.writes if write not in {b"PAUSE", b"RESUME"}]
    assert [write[-5:] for write in written] == [b"first", b"later"]
    assert written[0].startswith(b"HTTP/1.1 200 OK\r\n")
    protocol.connection_lost(None)


async def test_under_uvicorn_a_client_that_ends_its_side_still_gets_what_was_written() -> None:
    config = Config(app, lifespan="off", log_config=None)
    config.load()
    state, behind = ServerState(), Recorder()
    protocol = BoundedHttpTools(config=config, server_state=state, app_state={})
    protocol.connection_made(behind)
    protocol.data_received(b"nonsense\r\n\r\n")
    assert [write[:12] for write in behind.writes] == [b"HTTP/1.1 400"]
    assert behind.closing

    again = Recorder()
    protocol = BoundedHttpTools(config=config, server_state=state, app_state={})
    protocol.connection_made(again)
    protocol.transport.write(b"held")
    protocol.eof_received()
    assert again.writes == [b"held"]
    protocol.connection_lost(None)
