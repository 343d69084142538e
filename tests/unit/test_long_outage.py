"""An issuer that says 429 for ten minutes, in virtual time: who is served, and how often it is asked.

Two workers of one fleet share the store, the pause and the budget, as over Redis; every guest asks each ten
seconds, one worker and then the other, and leaves when it is refused.
"""

from itertools import pairwise

import pytest
from kit import NOW, HeldClock, World, token, world

from guestpass.adapters.memory_store import MemoryStore
from guestpass.adapters.ratelimit import MemoryLimiter
from guestpass.admission import Refused
from guestpass.core.model import Identity, Policy, RawToken
from guestpass.errors import Unavailable

pytestmark = pytest.mark.anyio

GUESTS = 300
EVERY = 10
LIFETIME = 1800
PERIOD = 1500  # from a token's issue to its rotation window
RETRY_AFTER = 20
OUTAGE = 600
BUDGET = 60  # a minute, where the guests need 12
POLICY = Policy(spread=0)


class FleetPause:
    """What the workers tell each other."""

    def __init__(self, clock: HeldClock) -> None:
        self.clock = clock
        self.until = 0.0

    async def start(self, seconds: float, reason: str) -> None:
        self.until = max(self.until, self.clock.steady + seconds)

    async def left(self) -> tuple[float, str]:
        return max(0.0, self.until - self.clock.steady), "unavailable"


class Site:
    """A fleet of two and its guests, second by second."""

    def __init__(self) -> None:
        self.clock = HeldClock()
        store, pause = MemoryStore(self.clock), FleetPause(self.clock)
        budget = MemoryLimiter(BUDGET, 60, self.clock)
        self.workers = [
            world(clock=self.clock, store=store, pause=pause, budget=budget, policy=POLICY) for _ in range(2)
        ]
        for worker in self.workers:
            worker.issuer.answer = self.mint
        self.down = False
        self.calls: list[float] = []
        self.refused_at: dict[int, float] = {}
        # As of guests who came one after the other.
        self.expiry = {number: NOW + 300 + PERIOD * number / GUESTS for number in range(GUESTS)}
        self.held = {
            number: token(exp=expiry, lifetime=LIFETIME, identity=guest(number))
            for number, expiry in self.expiry.items()
        }

    async def mint(self, identity: Identity) -> RawToken:
        self.calls.append(self.clock.wall)
        if self.down:
            raise Unavailable("too many requests", retry_after=RETRY_AFTER)
        return token(exp=self.clock.wall + LIFETIME, lifetime=LIFETIME, identity=identity)

    async def goes_on_for(self, seconds: int) -> None:
        for second in range(seconds):
            for number in range(second % EVERY, GUESTS, EVERY):
                if number not in self.refused_at:
                    await self.ask(number, self.workers[second // EVERY % 2])
            self.clock.advance(1)

    async def ask(self, number: int, worker: World) -> None:
        outcome = await worker.admit(self.held[number])
        if isinstance(outcome, Refused):
            self.refused_at[number] = self.clock.wall
        elif outcome.delivery is not None and (successor := await outcome.delivery.wait()) is not None:
            self.held[number], self.expiry[number] = successor.token, successor.expires_at

    def called_between(self, start: float, end: float) -> list[float]:
        return [instant for instant in self.calls if start <= instant < end]


def guest(number: int) -> Identity:
    return Identity(name=f"Guest{number}", email=f"guest{number}@example.org")


async def test_a_429_of_ten_minutes_costs_no_valid_token_its_request_and_ends_without_a_rush() -> None:
    site = Site()
    await site.goes_on_for(60)
    assert site.calls
    site.down = True
    began = site.clock.wall
    await site.goes_on_for(OUTAGE)
    site.down = False
    ended = site.clock.wall
    await site.goes_on_for(OUTAGE)

    # It opens by itself.
    after = site.called_between(ended, ended + OUTAGE)
    assert after[0] <= ended + RETRY_AFTER + EVERY
    # Served: whoever was refused had a token past its expiry and the leeway, and that before it opened, or
    # within the minute in which the budget was for those who had waited.
    assert site.refused_at
    for number, instant in site.refused_at.items():
        assert site.expiry[number] + POLICY.leeway <= instant <= after[0] + 60
    # The gate holds: one call each Retry-After from the fleet as a whole, for as long as it takes.
    tries = site.called_between(began, ended)
    assert all(later - earlier >= RETRY_AFTER for earlier, later in pairwise(tries))
    assert OUTAGE / (RETRY_AFTER + EVERY) <= len(tries) <= OUTAGE / RETRY_AFTER + 1
    # Those who waited come one by one: never more than the budget in any minute.
    assert len(site.called_between(ended, ended + 60)) >= BUDGET / 2
    assert max(len(site.called_between(start, start + 60)) for start in after) <= BUDGET
