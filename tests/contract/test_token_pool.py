"""One contract for every pool of tokens: in memory, and in Redis."""

from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest
from kit import ADA, BOB, NOW, HeldClock
from redis_server import RedisServer

from guestpass.adapters.memory_pool import MemoryPool
from guestpass.adapters.redis_link import RedisLink
from guestpass.adapters.redis_pool import RedisPool
from guestpass.adapters.sealing import Sealing
from guestpass.core.model import RawToken, UnixTime
from guestpass.ports import TokenPool

pytestmark = pytest.mark.anyio

SEALING = Sealing(["s" * 32])


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def server(tmp_path: Path, anyio_backend: str) -> AsyncIterator[RedisServer]:
    with RedisServer(tmp_path) as running:
        await running.ready()
        yield running


@pytest.fixture
async def link(server: RedisServer) -> AsyncIterator[RedisLink]:
    opened = RedisLink(server.url, HeldClock())
    yield opened
    await opened.aclose()


@pytest.fixture(params=["memory", "redis"])
def pool(request: pytest.FixtureRequest, link: RedisLink) -> TokenPool:
    return MemoryPool() if request.param == "memory" else RedisPool(link, SEALING, HeldClock(), ADA)


async def push(pool: TokenPool, name: str, exp: float) -> RawToken:
    token = RawToken(f"{name}.is.here".encode())
    await pool.push(token, expires_at=UnixTime(exp))
    return token


async def test_an_empty_pool_has_nothing(pool: TokenPool) -> None:
    assert await pool.pop(UnixTime(NOW)) is None
    assert await pool.count(UnixTime(NOW)) == 0


async def test_each_token_comes_out_once_the_first_to_expire_first(pool: TokenPool) -> None:
    late, early = await push(pool, "late", NOW + 1800), await push(pool, "early", NOW + 1700)
    assert await pool.count(UnixTime(NOW)) == 2
    assert [await pool.pop(UnixTime(NOW)) for _ in range(3)] == [early, late, None]


async def test_what_expires_too_soon_is_neither_counted_nor_handed_out(pool: TokenPool) -> None:
    await push(pool, "early", NOW + 900)
    late = await push(pool, "late", NOW + 901)
    assert await pool.count(UnixTime(NOW + 900)) == 1
    assert await pool.pop(UnixTime(NOW + 900)) == late


async def test_of_many_who_take_at_once_no_two_get_the_same(pool: TokenPool) -> None:
    pushed = {await push(pool, f"t{number}", NOW + 1800 + number) for number in range(20)}
    taken: list[RawToken | None] = []

    async def take() -> None:
        taken.append(await pool.pop(UnixTime(NOW)))

    async with anyio.create_task_group() as tasks:
        for _ in range(30):
            tasks.start_soon(take)
    assert {token for token in taken if token is not None} == pushed
    assert taken.count(None) == 10


async def test_whoever_may_fill_may_go_on(pool: TokenPool) -> None:
    assert await pool.may_fill(lease=10)
    assert await pool.may_fill(lease=10)


async def test_hosts_share_one_pool_and_one_of_them_fills_it(server: RedisServer, link: RedisLink) -> None:
    first, second = (RedisPool(link, SEALING, HeldClock(), ADA) for _ in range(2))
    token = await push(first, "one", NOW + 1800)
    assert await second.pop(UnixTime(NOW)) == token
    assert await first.pop(UnixTime(NOW)) is None
    assert await first.may_fill(lease=10)
    assert not await second.may_fill(lease=10)


async def test_the_pool_of_another_identity_is_another_pool(server: RedisServer, link: RedisLink) -> None:
    adas, bobs = (RedisPool(link, SEALING, HeldClock(), who) for who in (ADA, BOB))
    await push(adas, "one", NOW + 1800)
    assert await bobs.pop(UnixTime(NOW)) is None
    # Whoever can write to Redis must not be able to move it there either.
    (key,) = [key for key in await server.keys() if key.startswith("guestpass:pool:")]
    await push(bobs, "two", NOW + 1900)
    (other,) = [name for name in await server.keys() if name.startswith("guestpass:pool:") and name != key]
    await server.command("COPY", key, other, "REPLACE")
    assert await bobs.pop(UnixTime(NOW)) is None


async def test_a_pool_in_redis_shows_no_token_and_ends_with_its_last(
    server: RedisServer, link: RedisLink
) -> None:
    token = await push(RedisPool(link, SEALING, HeldClock(), ADA), "one", NOW + 1800)
    (key,) = await server.keys()
    assert token.compact not in await server.command("DUMP", key)
    assert 0 < await server.command("PTTL", key) <= 1800 * 1000
