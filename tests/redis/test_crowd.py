"""A crowd whose tokens were minted in one second does not mint in one second, where the spread is wide."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import anyio
import pytest
from fleet import Fleet, Outcomes, fleet, request
from redis_server import RedisServer

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

GUESTS = 40
LIFETIME = 20
MINTING = "/api/v2/webchat/v1/guesttokens"
BURST = {
    "GUESTPASS_POLICY__ROTATE_BEFORE": str(LIFETIME / 4),
    "GUESTPASS_LIMITS__MINT_BUDGET": "off",
}
# It shrinks with the window, to twenty seconds: enough for the most, three quarters of the life before it.
WIDE = {"GUESTPASS_POLICY__SPREAD": "1200"}


@dataclass
class Guest:
    """One who asks for something every second, and leaves once the token was replaced and the new one passed.

    To leave on a fresh token means that nothing was minted ahead that is never delivered, so that mints
    can be counted against tokens.
    """

    url: str
    token: str
    successor: str | None = None
    outcomes: Outcomes = field(default_factory=Outcomes)

    async def stay(self, arrival: float) -> None:
        """Ask at `arrival`, an instant of the event loop, and once a second from then on."""
        while self.successor is None:
            await anyio.sleep_until(arrival)
            arrival = max(arrival + 1, anyio.current_time())
            await request(self.url, self.token, self.outcomes)
            self.successor = next(iter(self.outcomes.successors), None)
        await request(self.url, self.successor, self.outcomes)


def crowd(running: Fleet) -> list[Guest]:
    """Guests whose tokens are all of this second."""
    running.vendor.guests.lifetime = LIFETIME
    return [
        Guest(running.url, running.token(f"Guest{n}", left=LIFETIME, lifetime=LIFETIME))
        for n in range(GUESTS)
    ]


def peak(running: Fleet) -> int:
    """The most mints in any one second."""
    times = [entry.time for entry in running.vendor.journal if entry.path == MINTING]
    return max(sum(start <= time < start + 1 for time in times) for start in times)


async def stay(crowds: Sequence[list[Guest]]) -> None:
    began = anyio.current_time()
    with anyio.fail_after(2 * LIFETIME):
        async with anyio.create_task_group() as tasks:
            for guests in crowds:
                for index, guest in enumerate(guests):
                    tasks.start_soon(guest.stay, began + index / GUESTS)


async def test_a_wide_spread_flattens_the_mints_of_a_crowd_and_costs_no_one_the_session(
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
            assert all(set(guest.outcomes.statuses) == {200} for guest in guests)
            assert len({guest.successor for guest in guests}) == GUESTS
            assert running.mints == GUESTS
        # Five times and more on a machine that is free.
        assert 2 * peak(spread) < peak(naive)
