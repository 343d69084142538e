"""The warm pool: for the anonymous identity alone, each token once, within half of the budget."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from kit import ADA, NOW, World, token, world

from guestpass.adapters.memory_pool import MemoryPool
from guestpass.adapters.ratelimit import MemoryLimiter
from guestpass.core.model import Identity, RawToken, UnixTime
from guestpass.errors import Unavailable
from guestpass.exchange import Exchange
from guestpass.pool import Reserve

pytestmark = pytest.mark.anyio

GUEST = Identity(name="Guest", email="guest@example.org")


def pooled(tokens: MemoryPool | None = None, *, size: int = 3, **parts: Any) -> World:
    reserve = Reserve(tokens=tokens or MemoryPool(), identity=GUEST, size=size, min_remaining=900)
    w = world(reserve=reserve, **parts)
    w.issuer.answer = numbered(w)
    return w


def numbered(w: World) -> Callable[[Identity], RawToken]:
    """Tokens that differ even in one instant."""
    return lambda identity: token(
        exp=w.clock.wall + 1800, identity=identity, jti=f"token {len(w.issuer.calls)}"
    )


@asynccontextmanager
async def filled(w: World, calls: int = 3) -> AsyncIterator[Exchange]:
    """In the background, once so many tokens were minted and no more are on their way."""
    async with w.gate.background():
        with anyio.fail_after(5):
            while len(w.issuer.calls) < calls:
                await anyio.lowlevel.checkpoint()
            await anyio.wait_all_tasks_blocked()
        yield Exchange(w.gate)


async def test_a_full_pool_answers_without_a_mint_and_is_filled_up_again() -> None:
    w = pooled()
    async with filled(w) as exchange:
        assert len(w.issuer.calls) == 3
        issued = await exchange.issue(GUEST, None)
        assert issued.expires_at == NOW + 1800
        assert issued.rotated
        with anyio.fail_after(5):
            while len(w.issuer.calls) < 4:
                await anyio.lowlevel.checkpoint()


async def test_no_two_visitors_get_the_same_token() -> None:
    w = pooled()
    async with filled(w) as exchange:
        issued = [await exchange.issue(GUEST, None) for _ in range(10)]
        assert len({one.token for one in issued}) == 10


@pytest.mark.parametrize(
    "asked",
    [ADA, Identity(name="Guest", email="ada@example.org"), Identity(name="guest", email=GUEST.email)],
)
async def test_nobody_else_is_answered_from_the_pool(asked: Identity) -> None:
    """Nobody gets a token that was minted for someone else."""
    w = pooled()
    async with filled(w) as exchange:
        issued = await exchange.issue(asked, None)
        entry = await w.gate.entry(issued.token)
        assert entry.genuine.claims.minted_for == asked
        assert w.issuer.calls[3:] == [asked]


async def test_a_token_that_is_too_old_is_not_handed_out() -> None:
    tokens = MemoryPool()
    old = token(exp=NOW + 900, identity=GUEST)
    await tokens.push(old, expires_at=UnixTime(NOW + 900))
    w = pooled(tokens)
    issued = await Exchange(w.gate).issue(GUEST, None)
    assert issued.token != old
    assert w.issuer.calls == [GUEST]


async def test_a_token_that_has_become_worthless_in_the_pool_is_passed_over() -> None:
    """Its key was retired; or it never was what it was said to be."""
    tokens = MemoryPool()
    good = token(exp=NOW + 1700, identity=GUEST)
    for number, bad in enumerate([token(exp=NOW + 1600, key="other"), token(exp=NOW + 1600, identity=ADA)]):
        await tokens.push(bad, expires_at=UnixTime(NOW + 1600 + number))
    await tokens.push(good, expires_at=UnixTime(NOW + 1700))
    w = pooled(tokens)
    assert (await Exchange(w.gate).issue(GUEST, None)).token == good
    assert w.issuer.calls == []


async def test_filling_leaves_half_of_the_budget_to_those_who_wait() -> None:
    w = pooled(size=100, clock=(clock := world().clock), budget=MemoryLimiter(10, 60, clock))
    async with filled(w, 5) as exchange:
        assert len(w.issuer.calls) == 5
        for _ in range(10):
            await exchange.issue(GUEST, None)
        assert len(w.issuer.calls) == 10


async def test_an_issuer_that_fails_is_left_alone() -> None:
    w = pooled()
    w.issuer.failure = Unavailable(retry_after=60)
    async with filled(w, 1):
        assert len(w.issuer.calls) == 1


async def test_tokens_that_are_too_short_lived_to_be_kept_are_not_minted_for_ever() -> None:
    w = pooled()
    w.issuer.answer = lambda identity: token(exp=NOW + 900, lifetime=900, identity=identity)
    async with filled(w, 1):
        assert len(w.issuer.calls) == 1


class Broken(MemoryPool):
    async def pop(self, least_exp: UnixTime) -> RawToken | None:
        raise Unavailable


async def test_a_pool_that_is_out_of_reach_is_no_pool() -> None:
    w = pooled(Broken())
    assert (await Exchange(w.gate).issue(GUEST, None)).expires_at == NOW + 1800
    assert w.issuer.calls == [GUEST]
