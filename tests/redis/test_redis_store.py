"""Successors in a real Redis: who leads, who waits, what a stranger finds there and what he can do."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Final

import anyio
import pytest
from kit import NOW, HeldClock
from redis_server import RedisServer

from guestpass.adapters.redis_link import RedisLink
from guestpass.adapters.redis_store import RedisStore
from guestpass.adapters.sealing import Sealing
from guestpass.core.model import RawToken, Successor, UnixTime
from guestpass.ports import Lease

SECRET: Final = "a secret of at least thirty-two bytes"
OLD: Final = RawToken(b"eyJhbGciOiJSUzI1NiJ9.old.signature").id
OTHER: Final = RawToken(b"eyJhbGciOiJSUzI1NiJ9.other.signature").id
NEW: Final = Successor(
    RawToken(b"eyJhbGciOiJSUzI1NiJ9.new.signature"), UnixTime(NOW + 1800), UnixTime(NOW - 100)
)
UNTIL: Final = UnixTime(NOW + 60)

pytestmark = pytest.mark.anyio


Worker = Callable[..., RedisStore]


@pytest.fixture
async def worker(server: RedisServer, anyio_backend: str) -> AsyncIterator[Worker]:
    """Makes stores that share the server, each with connections of its own, as workers have them."""
    async with AsyncExitStack() as stack:

        def make(*secrets: str) -> RedisStore:
            clock = HeldClock()
            store = RedisStore(RedisLink(server.url, clock), Sealing(secrets or [SECRET]), clock)
            stack.push_async_callback(store.aclose)
            return store

        yield make


async def lead(store: RedisStore, *, lease: float = 10) -> Lease:
    led = await store.lead(OLD, lease=lease)
    assert isinstance(led, Lease)
    return led


async def lead_or_wait(store: RedisStore) -> None:
    await store.lead(OLD, lease=10)


# --- leading and waiting ----------------------------------------------------------------------------------


async def test_of_many_workers_one_leads_and_the_others_get_its_result(worker: Worker) -> None:
    results: list[Lease | Successor] = []

    async def compete(store: RedisStore) -> None:
        led = await store.lead(OLD, lease=10)
        results.append(led)
        if isinstance(led, Lease):
            await anyio.sleep(0.1)  # the mint: the others are waiting by now
            await store.remember(led, NEW, until=UNTIL)

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            for _ in range(8):
                tasks.start_soon(compete, worker())
    assert isinstance(results[0], Lease)
    assert results[1:] == [NEW] * 7


async def test_waiting_costs_redis_next_to_nothing(server: RedisServer, worker: Worker) -> None:
    """Waiters block on the result; none of them polls."""
    lease = await lead(holder := worker())
    await server.command("CONFIG", "RESETSTAT")
    async with anyio.create_task_group() as tasks:
        for store in (worker(), worker(), worker()):
            tasks.start_soon(lead_or_wait, store)
        await anyio.sleep(0.5)
        await holder.remember(lease, NEW, until=UNTIL)
    calls = await server.command("INFO", "commandstats")
    assert calls["cmdstat_xread"]["calls"] == 3
    assert calls["cmdstat_evalsha"]["calls"] <= 3 * 2 + 1


async def test_an_abandoned_lease_wakes_one_who_leads_next(worker: Worker) -> None:
    first, second = worker(), worker()
    lease = await lead(first)
    with anyio.fail_after(1):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lead, second)
            await anyio.sleep(0.1)
            await first.abandon(lease)


async def test_a_holder_that_died_is_overtaken_when_its_lease_runs_out(worker: Worker) -> None:
    await lead(worker(), lease=0.3)
    with anyio.fail_after(2):
        await lead(worker())


async def test_a_holder_that_was_overtaken_does_not_end_the_lease_of_another(worker: Worker) -> None:
    """The fence."""
    slow, next_one, third = worker(), worker(), worker()
    overtaken = await lead(slow, lease=0.05)
    held = await lead(next_one)
    await slow.abandon(overtaken)
    with anyio.move_on_after(0.2) as waited:
        await lead(third)
    assert waited.cancelled_caught
    await next_one.abandon(held)
    with anyio.fail_after(1):
        await lead(third)


async def test_a_late_result_stands_if_it_is_the_first(worker: Worker) -> None:
    """Its token is genuine and spent; a second one would split the guests."""
    slow, next_one = worker(), worker()
    late = await lead(slow, lease=0.05)
    held = await lead(next_one)
    await slow.remember(late, NEW, until=UNTIL)
    other = Successor(RawToken(b"a.b.c"), NEW.expires_at, NEW.chain_started_at)
    assert await next_one.remember(held, other, until=UNTIL) == NEW


# --- what lies in Redis -----------------------------------------------------------------------------------


async def test_redis_holds_no_token_no_digest_of_one_and_nothing_for_ever(
    server: RedisServer, worker: Worker
) -> None:
    """R12."""
    store = worker()
    await store.remember(await lead(store), NEW, until=UNTIL)
    await store.lead(OTHER, lease=10)
    keys = await server.keys()
    assert len(keys) == 4  # a successor, its chain, what woke the waiters, and one lock
    for key in keys:
        assert key.startswith("guestpass:")
        assert OLD.hex()[:12] not in key
        assert NEW.token.id.hex()[:12] not in key
        content = await server.command("DUMP", key)
        assert NEW.token.compact[:20] not in content
        assert 0 < await server.command("PTTL", key) <= (1800 + 60) * 1000


@pytest.mark.parametrize(("until", "lifetime"), [(NOW + 60, 60), (NOW + 9000, 1800)])
async def test_a_record_never_outlives_its_use_nor_the_successor(
    server: RedisServer, worker: Worker, until: float, lifetime: float
) -> None:
    store = worker()
    await store.remember(await lead(store), NEW, until=UnixTime(until))
    (key,) = [key for key in await server.keys() if key.endswith(":successor")]
    assert await server.command("PTTL", key) == pytest.approx(lifetime * 1000, abs=1000)


async def record_of(server: RedisServer, part: str) -> str:
    (key,) = [key for key in await server.keys() if part in key]
    return key


async def test_a_record_moved_to_another_token_is_ignored_and_replaced(
    server: RedisServer, worker: Worker, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever can write to Redis must not be able to hand Ada's successor to Bob."""
    store = worker()
    await store.remember(await lead(store), NEW, until=UNTIL)
    stolen = await record_of(server, ":successor")
    other = await store.lead(OTHER, lease=10)
    assert isinstance(other, Lease)
    target = (await record_of(server, ":lock")).removesuffix(":lock") + ":successor"
    await server.command("COPY", stolen, target)
    assert await store.successor_of(OTHER) is None
    assert caplog.text.count("store.record_ignored") == 1
    await store.abandon(other)
    led = await store.lead(OTHER, lease=10)
    assert isinstance(led, Lease)
    bobs = Successor(RawToken(b"b.o.b"), NEW.expires_at, NEW.chain_started_at)
    assert await store.remember(led, bobs, until=UNTIL) == bobs
    assert await store.successor_of(OTHER) == bobs


@pytest.mark.parametrize("part", [":successor", "chain:"])
@pytest.mark.parametrize("forged", ["", "rubbish", "a.b.c.d.e", "\x80\xff", "x" * 70_000])
async def test_a_forged_record_counts_as_none(
    server: RedisServer, worker: Worker, caplog: pytest.LogCaptureFixture, part: str, forged: str
) -> None:
    store = worker()
    await store.remember(await lead(store), NEW, until=UNTIL)
    await server.command("SET", await record_of(server, part), forged)
    if part == "chain:":
        assert await store.chain_started_at(NEW.token.id) is None
    else:
        assert await store.successor_of(OLD) is None
        assert isinstance(await store.lead(OLD, lease=10), Lease)
    assert "store.record_ignored" in caplog.text


async def test_a_secret_can_be_changed_without_losing_a_successor(worker: Worker) -> None:
    new_secret = "another secret of at least 32 bytes"
    before, during, after = worker(SECRET, new_secret), worker(new_secret, SECRET), worker(new_secret)
    await before.remember(await lead(before), NEW, until=UNTIL)
    assert await during.successor_of(OLD) == NEW
    assert await after.successor_of(OLD) is None  # too early: the old secret still sealed it


def test_a_sealed_record_opens_for_its_purpose_and_name_only() -> None:
    sealing = Sealing([SECRET])
    sealed = sealing.seal("successor", OLD, {"token": "t"})
    assert sealing.open("successor", OLD, sealed) == {"token": "t"}
    header, rest = sealed.split(b".", 1)
    for purpose, name, record in [
        ("chain", OLD, sealed),
        ("successor", OTHER, sealed),
        ("successor", OLD, sealed[:-1]),
        ("successor", OLD, b"A" * len(header) + b"." + rest),
        ("successor", OLD, Sealing([SECRET + "!"]).seal("successor", OLD, {"token": "t"})),
    ]:
        with pytest.raises(ValueError, match="record"):
            sealing.open(purpose, name, record)
    assert json.dumps({"token": "t"}).encode() not in sealed
