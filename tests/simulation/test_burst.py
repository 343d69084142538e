"""What the spread and the budget are for: a crowd who came in one minute does not come back in one."""

import pytest

from guestpass.core.model import Policy
from guestpass.simulation.compare import Comparison, compare
from guestpass.simulation.scenario import Arrivals, Scenario

# The shape of 100,000 guests under 6,000 mints a minute, at a twentieth of the size: the default budget.
BURST = Scenario(guests=5_000, arrivals=Arrivals.BURST, session=None, every=30, limit=300, held=True, seed=1)


PARTED = Policy(spread=1200)  # two thirds of a token's life


@pytest.fixture(scope="module")
def burst() -> Comparison:
    return compare(BURST, PARTED)


def test_the_peak_is_at_most_one_and_a_half_times_the_mean_over_the_rotation_period(
    burst: Comparison,
) -> None:
    assert burst.period == 1500
    assert burst.ours.unevenness(burst.period) <= 1.5


def test_no_guest_loses_the_session_and_none_is_refused(burst: Comparison) -> None:
    assert (burst.ours.lost, burst.ours.idle, burst.ours.failed) == (0, 0, 0)
    assert burst.ours.present == BURST.guests


def test_a_naive_proxy_storms_the_issuer_and_loses_its_guests(burst: Comparison) -> None:
    assert burst.naive.peak > 10 * burst.ours.peak
    assert burst.naive.unevenness(burst.period) > 10
    assert burst.naive.lost > BURST.guests / 4
    assert burst.naive.refused > 10_000


def test_the_spread_does_it_without_a_budget_too() -> None:
    free = compare(
        Scenario(guests=5_000, arrivals=Arrivals.BURST, session=None, limit=None, held=True), PARTED
    )
    assert free.ours.unevenness(free.period) <= 1.5
    assert free.naive.unevenness(free.period) > 10


def test_a_spread_of_a_minute_does_not() -> None:
    """Why a crowd asks for a wide one: with the default of a minute, every other guest is lost."""
    narrow = compare(BURST, Policy()).ours
    assert narrow.lost > BURST.guests / 4


def test_under_a_steady_crowd_first_tokens_cost_a_fifth_more_and_no_more() -> None:
    """The price of the wide spread, where half-hour sessions meet half-hour tokens."""
    steady = compare(Scenario(guests=5_000, limit=None), PARTED)
    assert steady.naive.mints < steady.ours.mints < 1.25 * steady.naive.mints


def test_the_default_spread_costs_nearly_nothing() -> None:
    steady = compare(Scenario(guests=5_000, limit=None), Policy())
    assert steady.ours.mints < 1.05 * steady.naive.mints
