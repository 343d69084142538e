"""One contract for every record of sessions: in memory, and in Redis."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Final

import anyio
import pytest
from kit import NOW, HeldClock
from redis_server import RedisServer

from guestpass.adapters.memory_sessions import MemorySessions
from guestpass.adapters.redis_link import RedisLink
from guestpass.adapters.redis_sessions import RedisSessions
from guestpass.adapters.sealing import Sealing
from guestpass.core.model import RawToken, UnixTime
from guestpass.core.session import Recorded, Session
from guestpass.ports import SessionStore

pytestmark = pytest.mark.anyio

FIRST, SECOND, THIRD = (RawToken(b"eyJhbGciOiJSUzI1NiJ9.%s.c2ln" % name) for name in (b"one", b"two", b"tri"))
ENDS: Final = UnixTime(NOW + 900)
KEPT: Final = 60
FRESH: Final = Session(name="n4me", subject="guest-1", refresh_token="r1", tokens={})


@pytest.fixture(
    params=[("memory", "asyncio"), ("memory", "trio"), ("redis", "asyncio")], ids=lambda p: f"{p[0]}-{p[1]}"
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
) -> AsyncIterator[SessionStore]:
    if param[0] == "memory":
        yield MemorySessions(clock)
        return
    async with AsyncExitStack() as stack:
        server = stack.enter_context(RedisServer(tmp_path))
        await server.ready()
        link = RedisLink(server.url, clock)
        stack.push_async_callback(link.aclose)
        yield RedisSessions(link, Sealing(["a secret of at least thirty-two bytes"]), clock)


def step(
    session: Session, token: RawToken, *, ends: float = ENDS, refresh: str = "r1"
) -> tuple[Session, RawToken, Recorded]:
    """What an issuer records: the session with one more token."""
    recorded = Recorded(
        session=session.name, subject=session.subject, issued_at=UnixTime(NOW), expires_at=UnixTime(ends)
    )
    tokens = {**session.tokens, token.id: UnixTime(ends + KEPT)}
    more = replace(
        session, tokens=tokens, refresh_token=refresh, latest=token, latest_ends=recorded.expires_at
    )
    return more, token, recorded


async def opened(store: SessionStore) -> Session:
    session, token, recorded = step(FRESH, FIRST)
    await store.ready()
    await store.open(session, token, recorded)
    return session


async def test_what_was_never_issued_is_not_known(store: SessionStore) -> None:
    assert await store.recorded(FIRST) is None
    assert await store.session("n4me") is None
    assert await store.close("n4me") is None
    async with store.held("n4me", lease=5) as session:
        assert session is None


async def test_what_was_issued_is_known_in_full(store: SessionStore) -> None:
    session = await opened(store)
    assert await store.session(session.name) == session
    assert await store.recorded(FIRST) == step(FRESH, FIRST)[2]
    async with store.held(session.name, lease=5) as held:
        assert held == session


async def test_a_token_with_another_signature_is_another_token(store: SessionStore) -> None:
    """No key verifies it, so every octet counts."""
    await opened(store)
    assert await store.recorded(RawToken(FIRST.compact[:-1] + b"m")) is None


async def test_a_session_goes_on_with_what_belongs_to_its_youngest_token(store: SessionStore) -> None:
    session = await opened(store)
    assert await store.extend(*step(session, SECOND, ends=ENDS + 700, refresh="r2"))
    known = await store.session(session.name)
    assert known is not None
    assert (known.refresh_token, known.latest, known.latest_ends) == ("r2", SECOND, ENDS + 700)
    assert known.tokens == {FIRST.id: ENDS + KEPT, SECOND.id: ENDS + 700 + KEPT}
    for token in (FIRST, SECOND):
        assert await store.recorded(token) is not None


async def test_whoever_comes_late_adds_its_token_and_takes_nothing_back(store: SessionStore) -> None:
    """A holder that was overtaken; its refresh token is the older one."""
    session = await opened(store)
    await store.extend(*step(session, THIRD, ends=ENDS + 800, refresh="r3"))
    assert await store.extend(*step(session, SECOND, ends=ENDS + 700, refresh="r2"))
    known = await store.session(session.name)
    assert known is not None
    assert (known.refresh_token, known.latest) == ("r3", THIRD)
    assert known.tokens.keys() == {FIRST.id, SECOND.id, THIRD.id}


async def test_a_session_forgets_tokens_that_nobody_can_use_any_more(
    store: SessionStore, clock: HeldClock
) -> None:
    session = await opened(store)
    await store.extend(*step(session, SECOND, ends=ENDS + 700))
    clock.advance(900 + KEPT)
    known = await store.session(session.name)
    assert known is not None
    await store.extend(*step(known, THIRD, ends=ENDS + 1600))
    known = await store.session(session.name)
    assert known is not None
    assert known.tokens.keys() == {SECOND.id, THIRD.id}


async def test_with_its_session_every_token_of_it_is_over_and_one_caller_is_told_what_it_was(
    store: SessionStore,
) -> None:
    session = await opened(store)
    await store.extend(*step(session, SECOND, ends=ENDS + 700))
    closed = await store.close(session.name)
    assert closed is not None
    assert closed.tokens.keys() == {FIRST.id, SECOND.id}
    assert await store.close(session.name) is None
    assert await store.session(session.name) is None
    assert [await store.recorded(token) for token in (FIRST, SECOND)] == [None, None]


async def test_a_session_that_was_closed_is_not_opened_again_by_a_late_token(store: SessionStore) -> None:
    session = await opened(store)
    await store.close(session.name)
    assert not await store.extend(*step(session, SECOND, ends=ENDS + 700))
    assert await store.recorded(SECOND) is None
    assert await store.session(session.name) is None


async def test_a_session_is_had_by_one_at_a_time_as_the_one_before_left_it(store: SessionStore) -> None:
    session = await opened(store)
    entered, seen = anyio.Event(), []

    async def second() -> None:
        entered.set()
        async with store.held(session.name, lease=5) as held:
            assert held is not None
            seen.append(held.refresh_token)

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks, store.held(session.name, lease=5):
            tasks.start_soon(second)
            await entered.wait()
            await store.extend(*step(session, SECOND, ends=ENDS + 700, refresh="r2"))
            assert seen == []
    assert seen == ["r2"]


async def test_two_sessions_are_had_at_once(store: SessionStore) -> None:
    session = await opened(store)
    other = step(replace(FRESH, name="other"), SECOND)
    await store.open(*other)
    with anyio.fail_after(5):
        async with store.held(session.name, lease=5), store.held("other", lease=5) as held:
            assert held == other[0]


async def test_whoever_fails_with_a_session_leaves_it_to_the_next(store: SessionStore) -> None:
    session = await opened(store)
    with pytest.raises(ZeroDivisionError):
        async with store.held(session.name, lease=5):
            raise ZeroDivisionError
    with anyio.fail_after(2):
        async with store.held(session.name, lease=5) as held:
            assert held == session
