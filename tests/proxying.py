"""A proxy between a recorder and uvicorn, and the law that an exchange leaves nothing behind."""

import asyncio
import gc
import json
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import anyio
import anyio.lowlevel
import pytest
from recorder import OK, Answer, Behaviour, Connection, Recorder, recording, serving

from guestpass.asgi.proxy import ReverseProxy
from guestpass.upstream.pool import PoolLimits


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
    max_body: int | None = None,
    limits: PoolLimits | None = None,
) -> AsyncIterator[tuple[int, Recorder, ReverseProxy]]:
    async with recording(behaviour) as backend:
        proxy = ReverseProxy(backend.url, header_timeout=header_timeout, max_body=max_body, limits=limits)
        async with serving(proxy, parser) as port:
            yield port, backend, proxy


def code(answer: Answer) -> tuple[int, str]:
    assert answer.values(b"content-type") == [b"application/problem+json"]
    assert answer.values(b"cache-control") == [b"no-store"]
    return answer.status, json.loads(answer.body)["code"]


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


async def gone(backend: Recorder, proxy: ReverseProxy, index: int = 0) -> None:
    """The backend's connection is closed and the pool's slot is free again, within a second."""
    with anyio.fail_after(1):
        await backend.connections[index].closed.wait()
        while proxy.backends[0].pool.in_use:
            await anyio.lowlevel.checkpoint()


@pytest.fixture(autouse=True)
def quiet_uvicorn() -> Iterator[None]:
    """uvicorn says in one error line that a response was left incomplete: what we mean it to say."""
    logging.getLogger("uvicorn.error").setLevel(logging.INFO)
    yield
    logging.getLogger("uvicorn.error").setLevel(logging.NOTSET)
