"""The mint budget: who is served when it is short, and what a refusal says."""

import logging
from collections import Counter

import anyio
import pytest
from kit import ADA, NOW, HeldClock, World, token, world

from guestpass import events
from guestpass.adapters.ratelimit import MemoryLimiter
from guestpass.admission import Admitted, Refused
from guestpass.budget import Budget
from guestpass.core.model import Policy, RawToken
from guestpass.core.shares import Priority
from guestpass.errors import TooManyRequests, Unavailable
from guestpass.exchange import Exchange, Outcome
from guestpass.ports import Quota

pytestmark = pytest.mark.anyio

AHEAD = NOW + 350  # in its prefetch window
NEAR = NOW + 200  # in its rotation window
LAST_MINUTE = NOW + 59
DUE = NOW - 40  # in its grace


def budgeted(limit: int, **kwargs: object) -> World:
    clock = HeldClock()
    return world(clock=clock, budget=MemoryLimiter(limit, 60, clock), **kwargs)  # type: ignore[arg-type]  # forwarded


async def rotated(w: World, raw: RawToken) -> bool:
    """Whether a request with `raw` is admitted with a successor."""
    outcome = await w.admit(raw)
    assert isinstance(outcome, Admitted)
    return outcome.delivery is not None and await outcome.delivery.wait() is not None


async def spend(w: World, calls: int) -> None:
    for _ in range(calls):
        assert await w.gate.rotation.budget.take(Priority.FIRST) is None


async def test_each_kind_is_refused_at_its_share_and_the_rest_still_served() -> None:
    clock = HeldClock()
    budget = Budget(MemoryLimiter(100, 60, clock))
    served: Counter[str] = Counter()
    for _ in range(100):
        for name, priority, left in (
            ("prefetch", Priority.PREFETCH, 350.0),
            ("early", Priority.ROTATION, 900.0),
            ("late", Priority.ROTATION, 61.0),
        ):
            served[name] += await budget.take(priority, left=left) is None
    assert served == {"prefetch": 17, "early": 32, "late": 41}  # by turns up to 50, up to 80, up to 90
    assert [await budget.take(Priority.ROTATION, left=60.0) for _ in range(5)] == [None] * 5
    assert [await budget.take(Priority.FIRST) for _ in range(5)] == [None] * 5
    assert await budget.take(Priority.FIRST) == 60


async def test_without_a_limit_every_call_may_be_made() -> None:
    budget = Budget()
    assert [await budget.take(priority, left=900) for priority in Priority] == [None] * 3


async def test_who_is_over_a_share_is_told_a_second_and_who_is_over_the_limit_the_limiters_word() -> None:
    clock = HeldClock()
    budget = Budget(MemoryLimiter(2, 60, clock))
    assert await budget.take(Priority.PREFETCH) is None
    clock.advance(20)
    assert await budget.take(Priority.PREFETCH) == 1
    assert await budget.take(Priority.FIRST) is None
    assert await budget.take(Priority.PREFETCH) == 40
    assert await budget.take(Priority.FIRST) == 40
    clock.advance(39.9)
    assert await budget.take(Priority.FIRST) == 1


class Slow:
    """A limiter across a network: an answer takes a turn of the event loop, and is old when it is there."""

    def __init__(self, inner: MemoryLimiter) -> None:
        self.inner = inner

    async def hit(self, *key: str, cost: int = 1) -> Quota:
        await anyio.lowlevel.checkpoint()
        return await self.inner.hit(*key, cost=cost)

    async def peek(self, *key: str) -> Quota:
        quota = await self.inner.peek(*key)
        await anyio.lowlevel.checkpoint()
        return quota


async def test_those_who_ask_at_once_do_not_slip_under_one_share_together() -> None:
    budget = Budget(Slow(MemoryLimiter(100, 60, HeldClock())))
    waits: list[float | None] = []

    async def one() -> None:
        waits.append(await budget.take(Priority.PREFETCH, left=350))

    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            for _ in range(200):
                tasks.start_soon(one)
    assert waits.count(None) == 50


async def test_a_cancelled_ask_leaves_no_trace() -> None:
    budget = Budget(Slow(MemoryLimiter(2, 60, HeldClock())))
    with anyio.CancelScope() as scope:
        scope.cancel()
        await budget.take(Priority.PREFETCH)
    assert await budget.take(Priority.PREFETCH) is None


async def test_a_prefetch_stops_at_half_and_says_so_to_nobody_but_a_debugger(
    caplog: pytest.LogCaptureFixture,
) -> None:
    w = budgeted(4)
    await spend(w, 2)
    with caplog.at_level(logging.DEBUG, logger="guestpass"):
        with anyio.fail_after(5):
            async with w.gate.background():
                assert isinstance(await w.admit(token(exp=AHEAD)), Admitted)
                await anyio.wait_all_tasks_blocked()
    deferred = [record for record in caplog.records if getattr(record, "event", "") == events.MINT_DEFERRED]
    assert [(record.levelno, record.fields["priority"]) for record in deferred] == [  # type: ignore[attr-defined]
        (logging.DEBUG, "prefetch")
    ]
    assert not [record for record in caplog.records if record.levelno > logging.DEBUG]
    assert w.issuer.calls == []


async def test_a_prefetch_that_was_refused_keeps_the_later_rotation_from_nothing() -> None:
    w = budgeted(4)
    await spend(w, 2)
    with anyio.fail_after(5):
        async with w.gate.background():
            await w.admit(token(exp=AHEAD))
            await anyio.wait_all_tasks_blocked()
            w.clock.advance(50)
            assert await rotated(w, token(exp=AHEAD))


async def test_when_the_budget_is_short_the_last_minute_comes_before_the_window() -> None:
    w = budgeted(10)
    await spend(w, 9)
    assert not await rotated(w, token(exp=NEAR))
    assert await rotated(w, token(exp=LAST_MINUTE))


async def test_a_refusal_for_budget_is_no_failure_of_the_issuer_and_keeps_its_retry_after() -> None:
    w = budgeted(1)
    await spend(w, 1)
    w.clock.advance(15)
    outcome = await w.admit(token(exp=DUE + 15))
    assert isinstance(outcome, Refused)
    assert isinstance(outcome.error, Unavailable)
    assert (outcome.error.reason, outcome.error.retry_after) == ("mint_budget", 45)
    health = w.gate.rotation.health
    assert (health.failures, health.closed_for()) == (0, 0)


async def test_the_token_endpoint_has_all_of_the_budget_and_then_says_when_to_come_back() -> None:
    w = budgeted(10, policy=Policy(spread=0))
    endpoint = Exchange(w.gate)
    await spend(w, 9)
    assert (await endpoint.issue(ADA, None)).outcome is Outcome.FIRST
    with pytest.raises(TooManyRequests) as caught:
        await endpoint.issue(ADA, None)
    assert caught.value.retry_after == 60


async def test_the_token_endpoint_keeps_a_valid_token_whose_rotation_is_over_its_share() -> None:
    w = budgeted(10, policy=Policy(spread=0))
    await spend(w, 9)
    raw = token(exp=NEAR)
    assert (await Exchange(w.gate).issue(ADA, raw)).outcome is Outcome.SAME
