"""Back-off: what closes the issuer and what opens it, for this process and for the fleet."""

import pytest
from kit import HeldClock

from guestpass.backoff import IssuerHealth
from guestpass.errors import Fault, IssuerMisconfigured, StoreUnavailable, TokenRefused, Unavailable

pytestmark = pytest.mark.anyio


class FleetPause:
    """What the workers of a fleet have told each other."""

    def __init__(self, clock: HeldClock) -> None:
        self.clock = clock
        self.until = 0.0
        self.reason = ""
        self.told = 0

    async def start(self, seconds: float, reason: str) -> None:
        self.told += 1
        self.until, self.reason = self.clock.steady + seconds, reason

    async def left(self) -> tuple[float, str]:
        left = self.until - self.clock.steady
        return (left, self.reason) if left > 0 else (0.0, "")


@pytest.mark.parametrize("told", [0.001, 5.0, 21_600.0])
def test_what_the_issuer_asks_for_is_kept_to(told: float) -> None:
    clock = HeldClock()
    health = IssuerHealth(clock)
    fault = health.failed(Unavailable(retry_after=told))
    assert fault.retry_after == told
    assert health.closed_for() == pytest.approx(told)
    clock.advance(told)
    assert health.closed_for() == 0
    health.check()


@pytest.mark.parametrize("told", [None, 0.0])
def test_without_a_word_or_with_one_that_is_over_the_pause_is_ours_and_is_told_on(told: float | None) -> None:
    fault = IssuerHealth(HeldClock()).failed(Unavailable(retry_after=told))
    assert fault.retry_after is not None
    assert 0.5 <= fault.retry_after <= 1


@pytest.mark.parametrize("kind", [Unavailable, IssuerMisconfigured])
def test_while_closed_everyone_gets_the_kind_of_fault_that_closed_it(kind: type[Fault]) -> None:
    clock = HeldClock()
    health = IssuerHealth(clock)
    health.failed(kind(retry_after=30))
    clock.advance(10)
    with pytest.raises(kind) as caught:
        health.check()
    assert caught.value.retry_after == pytest.approx(20)


def test_an_answer_of_any_kind_forgets_the_failures_and_a_fault_counts_one() -> None:
    health = IssuerHealth(HeldClock())
    for _ in range(3):
        with pytest.raises(Unavailable), health.observing():
            raise Unavailable
    assert health.failures == 3
    with pytest.raises(TokenRefused), health.observing():
        raise TokenRefused
    assert health.failures == 0


async def test_alone_there_is_nobody_to_tell_or_to_learn_from() -> None:
    health = IssuerHealth(HeldClock())
    await health.learn()
    health.failed(Unavailable(retry_after=5))
    await health.tell()
    assert health.closed_for() == pytest.approx(5)


@pytest.mark.parametrize("kind", [Unavailable, IssuerMisconfigured])
async def test_what_one_worker_meets_every_worker_keeps_to(kind: type[Fault]) -> None:
    """R5: a fleet of ten must not ask ten times."""
    clock = HeldClock()
    fleet = FleetPause(clock)
    first, second = IssuerHealth(clock, fleet), IssuerHealth(clock, fleet)
    first.failed(kind(retry_after=30))
    await first.tell()
    clock.advance(5)
    await second.learn()
    with pytest.raises(kind) as caught:
        second.check()
    assert caught.value.retry_after == pytest.approx(25)
    clock.advance(25)
    await second.learn()
    second.check()


async def test_a_pause_is_told_once_and_never_by_those_who_were_told() -> None:
    """Or two workers would keep each other waiting for ever."""
    clock = HeldClock()
    fleet = FleetPause(clock)
    first, second = IssuerHealth(clock, fleet), IssuerHealth(clock, fleet)
    first.failed(Unavailable(retry_after=30))
    for _ in range(3):
        await first.tell()
        await second.learn()
        await second.tell()
    assert fleet.told == 1
    await second.learn()  # a shorter pause of the fleet does not shorten our own
    second.failed(Unavailable(retry_after=60))
    await second.learn()
    assert second.closed_for() == pytest.approx(60)


def test_a_store_that_is_away_is_no_fault_of_the_issuers_and_forgets_none() -> None:
    clock = HeldClock()
    health = IssuerHealth(clock)
    with pytest.raises(Unavailable), health.observing():
        raise Unavailable
    clock.advance(2)
    with pytest.raises(StoreUnavailable), health.observing():
        raise StoreUnavailable
    assert (health.failures, health.closed_for()) == (1, 0)
