"""Whose signals the server hears of, and when, while `server.drain_delay` is in its way."""

import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from types import FrameType

import anyio
import anyio.lowlevel
import pytest

from guestpass.wiring.draining import HURRY, STOPS, Draining

pytestmark = pytest.mark.anyio

LONG = 60
"""Seconds that no test lives to see the end of."""


@contextmanager
def heeding() -> Iterator[list[int]]:
    """A server's handlers, by what reaches them."""
    heard: list[int] = []

    def handler(number: int, _frame: FrameType | None) -> None:
        heard.append(number)

    before = {number: signal.signal(number, handler) for number in STOPS}
    try:
        yield heard
    finally:
        for number, restored in before.items():
            signal.signal(number, restored)


async def told(heard: list[int], *expected: int) -> None:
    while heard != list(expected):
        await anyio.lowlevel.checkpoint()


@asynccontextmanager
async def draining(*, supervised: bool) -> AsyncIterator[tuple[Draining, list[int]]]:
    """One whose delay does not end by itself, listening."""
    with heeding() as heard, anyio.fail_after(10):
        mine = Draining(LONG, supervised=supervised)
        theirs = signal.getsignal(signal.SIGTERM)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(mine.run)
            while signal.getsignal(signal.SIGTERM) is theirs:
                await anyio.lowlevel.checkpoint()
            assert not mine.has_begun()
            yield mine, heard
            tasks.cancel_scope.cancel()
        assert signal.getsignal(signal.SIGTERM) is theirs


async def begun(mine: Draining) -> None:
    while not mine.has_begun():
        await anyio.lowlevel.checkpoint()


async def test_the_server_hears_of_a_second_signal_and_of_all_that_follow() -> None:
    """A third SIGINT is how uvicorn is told to drop what is under way."""
    async with draining(supervised=False) as (mine, heard):
        signal.raise_signal(signal.SIGINT)
        await begun(mine)
        assert heard == []
        signal.raise_signal(signal.SIGTERM)
        await told(heard, signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        await told(heard, signal.SIGINT, signal.SIGINT)


async def test_a_worker_stops_early_for_its_supervisor_alone() -> None:
    async with draining(supervised=True) as (mine, heard):
        signal.raise_signal(signal.SIGINT)
        await begun(mine)
        for _ in range(3):
            signal.raise_signal(signal.SIGTERM)
            await anyio.wait_all_tasks_blocked()
        assert heard == []
        signal.raise_signal(HURRY)
        await told(heard, signal.SIGINT)


async def test_a_worker_that_is_told_to_hurry_first_stops_without_a_delay() -> None:
    """Its supervisor was asked twice before it came to tell of the first."""
    async with draining(supervised=True) as (mine, heard):
        signal.raise_signal(HURRY)
        await told(heard, signal.SIGTERM)
        assert mine.has_begun()
