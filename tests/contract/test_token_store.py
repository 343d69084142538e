"""One contract for every token store: in memory, in Redis, falling back from it, and in spans."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

import anyio
import pytest
from kit import NOW, HeldClock
from redis_server import RedisServer

from guestpass.adapters.degrading_store import DegradingStore
from guestpass.adapters.memory_store import MemoryStore
from guestpass.adapters.redis_link import RedisLink
from guestpass.adapters.redis_store import RedisStore
from guestpass.adapters.sealing import Sealing
from guestpass.adapters.traced import TracedStore
from guestpass.core.model import RawToken, Successor, TokenId, UnixTime
from guestpass.ports import Lease, TokenStore

SECRET: Final = "a secret of at least thirty-two bytes"
STORES: Final = ("memory", "redis", "degrading", "degraded", "traced")

OLD: Final = RawToken(b"old").id
LATER: Final = UnixTime(NOW + 1800)


@pytest.fixture(
    params=[(name, "asyncio") for name in STORES] + [("memory", "trio"), ("traced", "trio")],
    ids=lambda p: f"{p[0]}-{p[1]}",
)
def param(request: pytest.FixtureRequest) -> tuple[str, str]:
    chosen: tuple[str, str] = request.param
    return chosen


@pytest.fixture
def anyio_backend(param: tuple[str, str]) -> str:
    """Redis is asyncio only; memory is for both."""
    return param[1]


@pytest.fixture
def clock() -> HeldClock:
    return HeldClock()


@pytest.fixture
async def store(
    param: tuple[str, str], clock: HeldClock, tmp_path: Path, anyio_backend: str
) -> AsyncIterator[TokenStore]:
    memory = MemoryStore(clock)
    if param[0] in ("memory", "traced"):
        yield memory if param[0] == "memory" else TracedStore(memory)
        return
    async with AsyncExitStack() as stack:
        server = stack.enter_context(RedisServer(tmp_path))
        await server.ready()
        shared = RedisStore(RedisLink(server.url, clock), Sealing([SECRET]), clock)
        stack.push_async_callback(shared.aclose)
        if param[0] == "degraded":
            server.stop()
        yield shared if param[0] == "redis" else DegradingStore(shared, memory)


pytestmark = pytest.mark.anyio


def successor(name: bytes = b"new", *, exp: float = LATER, started: float = NOW - 100) -> Successor:
    return Successor(RawToken(name), UnixTime(exp), UnixTime(started))


async def lead(store: TokenStore, token_id: TokenId = OLD, *, lease: float = 10) -> Lease:
    led = await store.lead(token_id, lease=lease)
    assert isinstance(led, Lease)
    return led


async def test_what_nobody_remembered_is_not_known(store: TokenStore) -> None:
    assert await store.successor_of(OLD) is None
    assert await store.chain_started_at(OLD) is None


async def test_what_is_remembered_is_known_in_full(store: TokenStore) -> None:
    new = successor()
    assert await store.remember(await lead(store), new, until=UnixTime(NOW + 60)) == new
    assert await store.successor_of(OLD) == new
    assert await store.chain_started_at(new.token.id) == new.chain_started_at
    assert await store.successor_of(new.token.id) is None
    assert await store.chain_started_at(OLD) is None


async def test_whoever_comes_to_lead_too_late_gets_the_successor(store: TokenStore) -> None:
    new = successor()
    await store.remember(await lead(store), new, until=UnixTime(NOW + 60))
    assert await store.lead(OLD, lease=10) == new


async def test_the_first_writer_wins_and_everyone_is_told(store: TokenStore) -> None:
    lease = await lead(store)
    first, second = successor(b"first"), successor(b"second")
    assert await store.remember(lease, first, until=UnixTime(NOW + 60)) == first
    assert await store.remember(Lease(OLD, "overtaken"), second, until=UnixTime(NOW + 60)) == first
    assert await store.successor_of(OLD) == first


async def test_an_abandoned_lease_lets_the_next_one_lead(store: TokenStore) -> None:
    first = await lead(store)
    await store.abandon(first)
    await store.abandon(first)
    with anyio.fail_after(2):
        second = await lead(store)
    assert second.fence != first.fence


async def test_a_store_serves_again_after_it_was_closed(store: TokenStore) -> None:
    new = successor()
    await store.remember(await lead(store), new, until=UnixTime(NOW + 60))
    await store.aclose()
    assert await store.successor_of(OLD) == new


async def test_one_tokens_successor_is_nobody_elses(store: TokenStore) -> None:
    other = RawToken(b"other").id
    await store.remember(await lead(store), successor(), until=UnixTime(NOW + 60))
    assert await store.successor_of(other) is None
    assert isinstance(await store.lead(other, lease=10), Lease)


async def test_a_store_says_whether_it_is_whole(store: TokenStore, param: tuple[str, str]) -> None:
    await store.successor_of(OLD)
    assert store.degraded is (param[0] == "degraded")
