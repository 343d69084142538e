"""One contract for every limiter: in memory, in Redis, and the one that falls back from Redis (L1, L3)."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import anyio
import pytest
from redis_server import RedisServer

from guestpass.adapters.degrading_limiter import DegradingLimiter
from guestpass.adapters.ratelimit import MemoryLimiter
from guestpass.adapters.redis_limiter import RedisLimiter
from guestpass.adapters.redis_link import RedisLink
from guestpass.adapters.sealing import Sealing
from guestpass.adapters.system_clock import SystemClock
from guestpass.ports import Limiter

pytestmark = pytest.mark.anyio

KINDS = ("memory", "redis", "degrading", "degraded")


@pytest.fixture
def anyio_backend() -> str:
    """Redis is asyncio only; that of memory is proved on both with the gate."""
    return "asyncio"


@pytest.fixture(params=KINDS)
async def limiter(
    request: pytest.FixtureRequest, tmp_path: Path, anyio_backend: str
) -> AsyncIterator[Limiter]:
    """At most 5 in any 1 second, by the real clock, as Redis has no other."""
    clock = SystemClock()
    local = MemoryLimiter(5, 1, clock)
    if request.param == "memory":
        yield local
        return
    async with AsyncExitStack() as stack:
        server = stack.enter_context(RedisServer(tmp_path))
        await server.ready()
        link = RedisLink(server.url, clock)
        stack.push_async_callback(link.aclose)
        shared = RedisLimiter(link, Sealing(["s" * 32]), "calls", amount=5, seconds=1)
        if request.param == "degraded":
            server.stop()
        yield shared if request.param == "redis" else DegradingLimiter(shared, local)


async def test_exactly_as_many_pass_as_are_allowed_however_many_come_at_once(limiter: Limiter) -> None:
    passed: list[bool] = []

    async def hit() -> None:
        passed.append((await limiter.hit("192.0.2.1")).allowed)

    async with anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(hit)
    assert passed.count(True) == 5


async def test_it_says_what_is_left_and_when_one_fits_again(limiter: Limiter) -> None:
    quotas = [await limiter.hit("192.0.2.1") for _ in range(6)]
    assert [quota.remaining for quota in quotas] == [4, 3, 2, 1, 0, 0]
    assert [quota.allowed for quota in quotas] == [True] * 5 + [False]
    assert {quota.limit for quota in quotas} == {5}
    assert quotas[3].reset_after == 0
    assert 0 < quotas[5].reset_after <= 1


async def test_to_look_costs_nothing(limiter: Limiter) -> None:
    for _ in range(10):
        assert (await limiter.peek("192.0.2.1")).allowed
    for _ in range(5):
        await limiter.hit("192.0.2.1")
    looked = await limiter.peek("192.0.2.1")
    assert (looked.allowed, looked.remaining) == (False, 0)


async def test_a_cost_that_does_not_fit_is_not_counted_in_part(limiter: Limiter) -> None:
    assert (await limiter.hit("192.0.2.1", cost=3)).allowed
    assert not (await limiter.hit("192.0.2.1", cost=3)).allowed
    assert (await limiter.hit("192.0.2.1", cost=2)).allowed


async def test_each_key_has_a_window_of_its_own(limiter: Limiter) -> None:
    for _ in range(5):
        await limiter.hit("192.0.2.1")
    assert (await limiter.hit("192.0.2.2")).allowed
    assert (await limiter.hit("192.0.2.1", "more")).allowed
    assert not (await limiter.hit("192.0.2.1")).allowed


async def test_the_window_moves(limiter: Limiter) -> None:
    """L3: across the edge of a fixed window ten would fit."""
    for _ in range(4):
        await limiter.hit("192.0.2.1")
    await anyio.sleep(0.6)
    assert (await limiter.hit("192.0.2.1")).allowed
    assert not (await limiter.hit("192.0.2.1")).allowed
    await anyio.sleep(0.6)
    quotas = [await limiter.hit("192.0.2.1") for _ in range(5)]
    assert [quota.allowed for quota in quotas] == [True] * 4 + [False]
