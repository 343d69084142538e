"""One crowd twice: under our policy, and under the one that a first version of such a proxy has."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from guestpass.core.decision import place
from guestpass.core.model import Policy, UnixTime
from guestpass.simulation.crowd import RandomCrowd
from guestpass.simulation.engine import Engine
from guestpass.simulation.scenario import Scenario
from guestpass.simulation.tally import Tally


@dataclass(frozen=True, slots=True)
class Comparison:
    """The two runs.

    Attributes:
        ours: With spread, prefetch, and the budget spent by priority.
        naive: Without any of them: every token is rotated exactly at the start of its window, and only the
            issuer's own 429 holds calls back.
        period: The rotation period in seconds: the most that passes between two rotations of one guest.
    """

    ours: Tally
    naive: Tally
    period: float


def compare(
    scenario: Scenario, policy: Policy, progress: Callable[[float], None] = lambda _: None
) -> Comparison:
    """Run both; `progress` is told which part of all the work is done, 0 to 1."""
    plain = replace(policy, spread=0.0, prefetch=0.0)
    ours = Engine(scenario, policy, RandomCrowd(scenario)).run(lambda part: progress(part / 2))
    naive = Engine(scenario, plain, RandomCrowd(scenario), naive=True).run(
        lambda part: progress((1 + part) / 2)
    )
    return Comparison(ours, naive, rotation_period(scenario, policy))


def rotation_period(scenario: Scenario, policy: Policy) -> float:
    """Seconds from the issue of a token that no spread moves to the start of its rotation window."""
    at = place(
        expires_at=UnixTime(scenario.lifetime),
        issued_at=UnixTime(0.0),
        chain_started_at=UnixTime(0.0),
        part=0.0,
        policy=policy,
    )
    return max(0.0, at.rotate_at)
