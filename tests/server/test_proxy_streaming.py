"""Bodies pass as they come: at once, and never collected."""

import asyncio
import gc
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Self

import anyio
import pytest
from recorder import Behaviour, Connection, Recorder, connected, get, recording, serving

from guestpass.asgi.proxy import ReverseProxy

pytestmark = pytest.mark.anyio

GIGABYTE = 1 << 30
BLOCK = bytes(range(256)) * 1024  # 256 KiB


@pytest.fixture(params=["h11", "httptools"])
def parser(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def anyio_backend(parser: str) -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": parser == "httptools"}


@asynccontextmanager
async def proxying(parser: str, behaviour: Behaviour) -> AsyncIterator[tuple[int, Recorder]]:
    async with recording(behaviour) as backend, serving(ReverseProxy(backend.url), parser) as port:
        yield port, backend


class Peak:
    """How much Python memory was allocated at once, beyond what was there before, in bytes."""

    def __enter__(self) -> Self:
        gc.collect()
        tracemalloc.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bytes = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()


async def test_each_event_of_a_stream_is_there_before_the_next_is_sent(parser: str) -> None:
    """P24. Were anything held back, the client would wait for an event that is never sent."""
    seen = [asyncio.Event() for _ in range(5)]

    async def behave(connection: Connection) -> None:
        await connection.request()
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        await connection.send(head)
        for number, event in enumerate(seen):
            data = b"data: %d\n\n" % number
            await connection.send(b"%x\r\n%b\r\n" % (len(data), data))
            await event.wait()
        await connection.send(b"0\r\n\r\n")

    async with proxying(parser, behave) as (port, _), connected(port) as client:
        with anyio.fail_after(5):
            await client.send(get())
            for number, event in enumerate(seen):
                await client.reader.readuntil(b"data: %d\n\n" % number)
                event.set()
            await client.reader.readuntil(b"0\r\n\r\n")


async def test_each_part_of_an_upload_is_there_before_the_next_is_sent(parser: str) -> None:
    arrived = asyncio.Queue[bytes]()

    async def behave(connection: Connection) -> None:
        await connection.head()
        for _ in range(5):
            arrived.put_nowait(await connection.reader.readexactly(4))
        await connection.send(b"HTTP/1.1 204 No Content\r\n\r\n")

    async with proxying(parser, behave) as (port, _), connected(port) as client:
        with anyio.fail_after(5):
            await client.send(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 20\r\n\r\n")
            for number in range(5):
                await client.send(b"%04d" % number)
                assert await arrived.get() == b"%04d" % number
            assert (await client.answer()).status == 204


async def test_request_and_response_bodies_pass_at_the_same_time(parser: str) -> None:
    """A backend may answer each part as it comes, long before the request ends."""

    async def behave(connection: Connection) -> None:
        await connection.head()
        await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n")
        for _ in range(3):
            await connection.send(await connection.reader.readexactly(4))

    async with proxying(parser, behave) as (port, _), connected(port) as client:
        with anyio.fail_after(5):
            await client.send(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 12\r\n\r\n")
            for number in range(3):
                await client.send(b"%04d" % number)
                await client.reader.readuntil(b"%04d" % number)


@pytest.mark.slow
async def test_a_gigabyte_goes_down_in_flat_memory(parser: str) -> None:
    """P23."""

    async def behave(connection: Connection) -> None:
        await connection.request()
        await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % GIGABYTE)
        for _ in range(GIGABYTE // len(BLOCK)):
            await connection.send(BLOCK)

    async with proxying(parser, behave) as (port, _), connected(port) as client:
        with Peak() as peak, anyio.fail_after(60):
            await client.send(get())
            await client.reader.readuntil(b"\r\n\r\n")
            left = GIGABYTE
            while left:
                left -= len(await client.reader.read(1 << 20))
    assert peak.bytes < 30 << 20


@pytest.mark.slow
async def test_a_gigabyte_goes_up_in_flat_memory(parser: str) -> None:
    async def behave(connection: Connection) -> None:
        await connection.head()
        left = GIGABYTE
        while left:
            left -= len(await connection.reader.read(1 << 20))
        await connection.send(b"HTTP/1.1 204 No Content\r\n\r\n")

    async with proxying(parser, behave) as (port, _), connected(port) as client:
        with Peak() as peak, anyio.fail_after(60):
            await client.send(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % GIGABYTE)
            for _ in range(GIGABYTE // len(BLOCK)):
                await client.send(BLOCK)
            assert (await client.answer()).status == 204
    assert peak.bytes < 30 << 20


async def test_a_client_that_does_not_read_makes_the_backend_wait(parser: str) -> None:
    sent = 0
    stalled = asyncio.Event()

    async def behave(connection: Connection) -> None:
        nonlocal sent
        await connection.request()
        await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % GIGABYTE)
        try:
            while True:
                async with asyncio.timeout(0.3):
                    await connection.send(BLOCK)
                sent += len(BLOCK)
        except TimeoutError:
            stalled.set()

    async with proxying(parser, behave) as (port, _), connected(port) as client:
        with anyio.fail_after(10):
            await client.send(get())
            await stalled.wait()
        client.writer.transport.abort()
    assert sent < 64 << 20  # socket buffers on loopback, and no more


async def test_a_backend_that_does_not_read_makes_the_client_wait(parser: str) -> None:
    stop = asyncio.Event()

    async def behave(connection: Connection) -> None:
        connection.reader._transport.pause_reading()  # type: ignore[attr-defined]
        await stop.wait()

    sent = 0
    async with proxying(parser, behave) as (port, _), connected(port) as client:
        with anyio.fail_after(10):
            await client.send(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % GIGABYTE)
            try:
                while True:
                    async with asyncio.timeout(0.3):
                        await client.send(BLOCK)
                    sent += len(BLOCK)
            except TimeoutError:
                pass
        stop.set()
        client.writer.transport.abort()
    assert sent < 64 << 20
