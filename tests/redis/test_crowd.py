"""A crowd whose tokens were minted in one second does not mint in one second, where the spread is wide.

Neither does it at the second rotation, nor at the third: what was parted once stays apart.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import anyio
import pytest
from fleet import Fleet, Outcomes, fleet, request
from redis_server import RedisServer

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

GUESTS = 30
LIFETIME = 6
ROTATIONS = 3
EVERY = 0.5
MINTING = "/api/v2/webchat/v1/guesttokens"
BURST = {
    "GUESTPASS_POLICY__ROTATE_BEFORE": str(LIFETIME / 4),
    "GUESTPASS_LIMITS__MINT_BUDGET": "off",
}
# It shrinks with the window, to six seconds: enough for the most, three quarters of the life before it.
WIDE = {"GUESTPASS_POLICY__SPREAD": "1200"}


@dataclass
class Guest:
    """One who asks for something twice a second, and leaves once its third successor passed.

    To leave on a fresh token means that nothing was minted ahead that is never delivered, so that mints
    can be counted against tokens.
    """

    url: str
    token: str
    statuses: Counter[int] = field(default_factory=Counter)
    held: list[str] = field(default_factory=list)

    async def stay(self, arrival: float) -> None:
        """Ask at `arrival`, an instant of the event loop, and every half second from then on."""
        while len(self.held) < ROTATIONS:
            await anyio.sleep_until(arrival)
            arrival = max(arrival + EVERY, anyio.current_time())
            self.held.extend(await self.ask())
        await self.ask()

    async def ask(self) -> list[str]:
        outcomes = Outcomes()
        await request(self.url, self.held[-1] if self.held else self.token, outcomes)
        self.statuses += outcomes.statuses
        return list(outcomes.successors)


def crowd(running: Fleet) -> list[Guest]:
    """Guests whose tokens are all of this second."""
    running.vendor.guests.lifetime = LIFETIME
    return [
        Guest(running.url, running.token(f"Guest{n}", left=LIFETIME, lifetime=LIFETIME))
        for n in range(GUESTS)
    ]


def peaks(running: Fleet) -> list[int]:
    """The most mints in any one second of each rotation: the first as many mints as guests, and so on."""
    times = sorted(entry.time for entry in running.vendor.journal if entry.path == MINTING)
    rounds = [times[number * GUESTS : (number + 1) * GUESTS] for number in range(ROTATIONS)]
    return [max(sum(start <= time < start + 1 for time in mints) for start in mints) for mints in rounds]


async def stay(crowds: Sequence[list[Guest]]) -> None:
    began = anyio.current_time()
    with anyio.fail_after(2 * ROTATIONS * LIFETIME):
        async with anyio.create_task_group() as tasks:
            for guests in crowds:
                for index, guest in enumerate(guests):
                    tasks.start_soon(guest.stay, began + EVERY * index / GUESTS)


async def test_a_wide_spread_flattens_every_rotation_of_a_crowd_and_costs_no_one_the_session(
    server: RedisServer,
) -> None:
    # Both at once, so that a busy machine slows both; each in a database of its own, as the fakes sign alike.
    other = server.url.removesuffix("/0") + "/1"
    with (
        fleet(server.url, workers=2, env=BURST) as naive,
        fleet(other, workers=2, env=BURST | WIDE) as spread,
    ):
        sides = (naive, spread)
        crowds = [crowd(running) for running in sides]
        await stay(crowds)
        for running, guests in zip(sides, crowds, strict=True):
            assert all(set(guest.statuses) == {200} for guest in guests)
            assert len({token for guest in guests for token in guest.held}) == ROTATIONS * GUESTS
            assert running.mints == ROTATIONS * GUESTS
        # Three times on a machine that is free.
        for flat, steep in zip(peaks(spread), peaks(naive), strict=True):
            assert 1.5 * flat < steep
