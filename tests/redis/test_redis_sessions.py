"""The record of sessions in a real Redis: what a stranger can learn and do there, what an outage costs."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Final

import anyio
import pytest
from kit import NOW, HeldClock
from redis_server import RedisServer, until

from guestpass.adapters.redis_link import RedisLink
from guestpass.adapters.redis_sessions import RedisSessions
from guestpass.adapters.sealing import Sealing
from guestpass.core.model import RawToken, UnixTime
from guestpass.core.session import Recorded, Session
from guestpass.errors import StoreUnavailable

pytestmark = pytest.mark.anyio

OLD_SECRET: Final = "a secret of at least thirty-two bytes"
NEW_SECRET: Final = "another secret, as long as the first one"
FIRST, SECOND = (RawToken(b"eyJhbGciOiJSUzI1NiJ9.%s.c2lnbmF0dXJl" % name) for name in (b"first", b"second"))
NAME: Final = "n4me-of-the-session"


def step(session: Session, token: RawToken, ends: float) -> tuple[Session, RawToken, Recorded]:
    recorded = Recorded(
        session=session.name, subject=session.subject, issued_at=UnixTime(NOW), expires_at=UnixTime(ends)
    )
    tokens = {**session.tokens, token.id: UnixTime(ends + 60)}
    return replace(session, tokens=tokens, latest=token, latest_ends=UnixTime(ends)), token, recorded


FRESH: Final = Session(name=NAME, subject="ada@example.org", refresh_token="r3fresh", tokens={})
BEGUN: Final = step(FRESH, FIRST, NOW + 900)
GONE_ON: Final = step(replace(BEGUN[0], refresh_token="r3fresh-2"), SECOND, NOW + 1600)

Worker = Callable[..., RedisSessions]


@pytest.fixture
def clock() -> HeldClock:
    return HeldClock()


@pytest.fixture
async def worker(server: RedisServer, clock: HeldClock, anyio_backend: str) -> AsyncIterator[Worker]:
    """Makes records that share the server, each with connections of its own, as workers have them."""
    async with AsyncExitStack() as stack:

        def make(*secrets: str) -> RedisSessions:
            link = RedisLink(server.url, clock)
            stack.push_async_callback(link.aclose)
            return RedisSessions(link, Sealing(secrets or [OLD_SECRET]), clock)

        yield make


async def key_of(server: RedisServer, kind: str) -> str:
    [key] = [key for key in await server.keys() if key.startswith(f"guestpass:{kind}:")]
    return key


# --- what lies in Redis -----------------------------------------------------------------------------------


async def test_redis_holds_no_token_no_name_and_nothing_for_ever(server: RedisServer, worker: Worker) -> None:
    """R12."""
    store = worker()
    await store.ready()
    await store.open(*BEGUN)
    async with store.held(NAME, lease=10):
        await store.extend(*GONE_ON)
        secret_words = (b"r3fresh", NAME.encode(), b"ada@example", FIRST.compact[:24], SECOND.compact[:24])
        keys = await server.keys()
        assert len(keys) >= 4  # two tokens, the session, and who has it
        for key in keys:
            content = await server.command("DUMP", key)
            assert not [word for word in secret_words if word in key.encode() + content]
            assert FIRST.digest.hex()[:12] not in key
            assert 0 < await server.command("PTTL", key) <= (1600 + 60) * 1000


async def test_what_was_tampered_with_copied_or_made_up_is_nothing_to_us(
    server: RedisServer, worker: Worker, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever writes to Redis makes guests log in anew, and never a guest."""
    store = worker()
    await store.open(*BEGUN)
    key = await key_of(server, "session")
    sealed = await server.command("GET", key)
    other = replace(FRESH, name="other", subject="eve@example.org")
    await store.open(*step(other, SECOND, NOW + 900))
    [eves] = [k for k in await server.keys() if k.startswith("guestpass:session:") and k != key]
    foreign = Sealing(["a secret that nobody of us knows at all"]).seal("session", NAME.encode(), {})
    spoiled = sealed[:-2] + b"AA"
    copied = await server.command("GET", eves)
    for forged in ("", "{}", json.dumps({"subject": "eve"}), spoiled, foreign, copied):
        await server.command("SET", key, forged)
        assert await store.session(NAME) is None
        assert await store.recorded(FIRST) is None
        assert not await store.extend(*GONE_ON)
        async with store.held(NAME, lease=5) as held:
            assert held is None
    assert caplog.text.count("store.record_ignored") >= 6
    await server.command("SET", key, sealed)
    assert await store.session(NAME) == BEGUN[0]


async def test_a_tokens_record_stands_for_that_token_alone(server: RedisServer, worker: Worker) -> None:
    store = worker()
    await store.open(*BEGUN)
    await store.extend(*GONE_ON)
    first, second = (store._token_key(token) for token in (FIRST, SECOND))
    await server.command("COPY", second, first, "REPLACE")
    assert await store.recorded(FIRST) is None
    assert await store.recorded(SECOND) == GONE_ON[2]


async def test_something_of_another_kind_under_our_name_does_not_take_the_store_away(
    server: RedisServer, worker: Worker
) -> None:
    store = worker()
    await server.command("LPUSH", store._keys(NAME)[0], "x")
    with pytest.raises(StoreUnavailable):
        await store.session(NAME)
    await store.open(*BEGUN)
    assert await store.session(NAME) == BEGUN[0]


async def test_while_the_secret_changes_every_host_reads_what_every_other_one_writes(worker: Worker) -> None:
    """In the order that docs/shared-state.md gives: added everywhere, swapped everywhere, taken away."""
    before, swapped = worker(OLD_SECRET, NEW_SECRET), worker(NEW_SECRET, OLD_SECRET)
    await before.open(*BEGUN)
    assert await swapped.recorded(FIRST) == BEGUN[2]
    async with swapped.held(NAME, lease=5) as held:
        assert held == BEGUN[0]
        await swapped.extend(*GONE_ON)
    assert await before.recorded(SECOND) == GONE_ON[2]
    assert await worker(NEW_SECRET).session(NAME) == GONE_ON[0]
    assert await worker(NEW_SECRET).recorded(FIRST) is None  # sealed with what was taken away


# --- workers among themselves -----------------------------------------------------------------------------


async def test_of_many_workers_one_at_a_time_has_a_session_and_sees_what_the_others_did(
    worker: Worker,
) -> None:
    await worker().open(*BEGUN)
    inside, refreshed = 0, []

    async def compete(store: RedisSessions) -> None:
        nonlocal inside
        async with store.held(NAME, lease=10) as session:
            inside += 1
            assert inside == 1
            assert session is not None
            if session.later_than(BEGUN[2], now=UnixTime(NOW + 890)) is None:
                await anyio.sleep(0.1)  # the refresh: the others are waiting by now
                refreshed.append(session.refresh_token)
                await store.extend(*GONE_ON)
            inside -= 1

    with anyio.fail_after(8):
        async with anyio.create_task_group() as tasks:
            for _ in range(8):
                tasks.start_soon(compete, worker())
    assert refreshed == ["r3fresh"]


async def test_a_worker_that_died_with_a_session_is_overtaken_when_its_lease_runs_out(worker: Worker) -> None:
    dead, next_one = worker(), worker()
    await dead.open(*BEGUN)
    await dead._hold(NAME, "fence", 0.3)
    with anyio.fail_after(2):
        async with next_one.held(NAME, lease=5) as held:
            assert held == BEGUN[0]


async def test_a_logout_during_a_refresh_wins(worker: Worker) -> None:
    refreshing, closing = worker(), worker()
    await refreshing.open(*BEGUN)
    async with refreshing.held(NAME, lease=5):
        assert await closing.close(NAME) == BEGUN[0]
        assert not await refreshing.extend(*GONE_ON)
    assert await closing.recorded(SECOND) is None


# --- while Redis is away ----------------------------------------------------------------------------------


async def test_away_is_said_at_once_and_nobody_is_told_that_a_token_is_unknown(
    server: RedisServer, worker: Worker
) -> None:
    store = worker()
    await store.open(*BEGUN)
    server.pause()
    try:
        for attempt in (store.ready(), store.recorded(FIRST), store.session(NAME), store.close(NAME)):
            with pytest.raises(StoreUnavailable) as caught:
                await attempt
            assert caught.value.retry_after == 1
    finally:
        server.resume()


async def test_what_a_refresh_gave_while_redis_went_away_is_recorded_when_it_is_back(
    server: RedisServer, worker: Worker, clock: HeldClock
) -> None:
    """The old refresh token is spent by then: were the new one lost, the guest would be logged out.

    Until it is recorded the lease stays, so that no other worker tries the old one meanwhile.
    """
    store, other = worker(), worker()
    await store.open(*BEGUN)
    async with store.held(NAME, lease=10):
        server.pause()
        with pytest.raises(StoreUnavailable):
            await store.extend(*GONE_ON)
    server.resume()
    with anyio.move_on_after(0.3) as waited:
        async with other.held(NAME, lease=10):
            pass
    assert waited.cancelled_caught
    clock.advance(1)  # when the breaker lets one caller look again
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(store.run)
        await until(lambda: not store._unwritten, within=5)
        tasks.cancel_scope.cancel()
    assert await other.session(NAME) == GONE_ON[0]
    assert await other.recorded(SECOND) == GONE_ON[2]


async def test_whoever_has_the_session_next_in_that_process_records_it_first(
    server: RedisServer, worker: Worker, clock: HeldClock
) -> None:
    store = worker()
    await store.open(*BEGUN)
    server.pause()
    with pytest.raises(StoreUnavailable):
        await store.extend(*GONE_ON)
    server.resume()
    clock.advance(1)
    async with store.held(NAME, lease=10) as held:
        assert held == GONE_ON[0]


async def test_what_is_past_everything_by_then_is_dropped(
    server: RedisServer, worker: Worker, clock: HeldClock
) -> None:
    store = worker()
    await store.open(*BEGUN)
    server.pause()
    with pytest.raises(StoreUnavailable):
        await store.extend(*GONE_ON)
    server.resume()
    clock.advance(1600 + 60)
    async with store.held(NAME, lease=10) as held:
        assert held == BEGUN[0]  # by its own clock Redis has it still
    assert store._unwritten == {}
