"""The engine's laws: as if every request were simulated, the same for a seed, every guest accounted for."""

from dataclasses import asdict, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulation.brute import Brute, ScriptedCrowd

from guestpass.core.model import Policy
from guestpass.simulation.crowd import RandomCrowd
from guestpass.simulation.engine import Engine
from guestpass.simulation.scenario import Arrivals, Scenario
from guestpass.simulation.tally import Tally

scenarios = st.builds(
    Scenario,
    guests=st.integers(1, 40),
    duration=st.sampled_from([60.0, 900.0, 3600.0]),
    arrivals=st.sampled_from(Arrivals),
    lifetime=st.sampled_from([20.0, 120.0, 600.0, 1800.0]),
    session=st.none() | st.floats(30, 2000),
    every=st.floats(2, 200),
    limit=st.none() | st.integers(1, 40),
    window=st.sampled_from([10.0, 60.0]),
    held=st.booleans(),
    outage=st.floats(1, 15),
    seed=st.integers(0, 2**32),
)
policies = st.builds(
    Policy,
    leeway=st.sampled_from([0.0, 30.0]),
    grace=st.sampled_from([0.0, 60.0]),
    prefetch=st.sampled_from([0.0, 60.0]),
    spread=st.sampled_from([0.0, 60.0, 2000.0]),
    max_session_age=st.none() | st.sampled_from([300.0, 86_400.0]),
)


def simulate(scenario: Scenario, policy: Policy | None = None, *, naive: bool = False) -> Tally:
    return Engine(scenario, policy or Policy(), RandomCrowd(scenario), naive=naive).run()


@settings(max_examples=200, deadline=None)
@given(scenarios, policies, st.booleans())
def test_skipping_what_does_not_matter_changes_no_count(
    scenario: Scenario, policy: Policy, naive: bool
) -> None:
    """On the same requests, one engine that looks at few of them and one that looks at all agree."""
    crowd = ScriptedCrowd(scenario)
    tally = Engine(scenario, policy, crowd, naive=naive).run()
    skipped = {name: getattr(tally, name) for name in Tally.__slots__ if name != "requests"}
    assert skipped == Brute(scenario, policy, crowd, naive).run()


@settings(max_examples=40, deadline=None)
@given(scenarios, policies, st.booleans())
def test_every_guest_and_every_call_is_accounted_for(scenario: Scenario, policy: Policy, naive: bool) -> None:
    tally = simulate(scenario, policy, naive=naive)
    assert tally.arrived == tally.left + tally.present + tally.turned_away
    assert tally.arrived <= scenario.guests
    assert sum(tally.minted) == tally.mints
    assert sum(tally.calls) == tally.mints + tally.refused
    assert tally.waited == tally.late
    assert (tally.refused if not naive else tally.deferred) == 0
    # A guest holds a token at least once, or was turned away, or left before it was served.
    assert tally.first <= tally.arrived + tally.lost + tally.idle + tally.aged


@settings(max_examples=20, deadline=None)
@given(scenarios)
def test_no_window_ever_holds_more_calls_than_the_limit(scenario: Scenario) -> None:
    limit = scenario.limit_per_minute
    tally = simulate(scenario)
    if limit is not None:
        # A minute of the tally lies within one window of a minute, or holds six whole ones of ten seconds.
        assert tally.peak <= limit
        assert tally.headroom(limit) >= 0


@pytest.mark.parametrize("arrivals", Arrivals)
def test_the_same_seed_gives_the_same_figures_and_another_gives_others(arrivals: Arrivals) -> None:
    scenario = Scenario(guests=300, arrivals=arrivals, seed=4)
    assert asdict(simulate(scenario)) == asdict(simulate(scenario))
    assert asdict(simulate(scenario)) != asdict(simulate(replace(scenario, seed=5)))


def test_the_requests_of_a_crowd_are_as_many_as_their_process_makes() -> None:
    """Only their mean is known, as most are never drawn: 500 guests, a request each 20 s, an hour."""
    scenario = Scenario(
        guests=500, duration=3600, arrivals=Arrivals.BURST, session=None, every=20, held=True, limit=None
    )
    requests = simulate(scenario).requests
    assert 500 * (3600 - 60) / 20 < requests < 500 * 3600 / 20
    crowd = ScriptedCrowd(scenario)
    engine = Engine(scenario, Policy(), crowd).run()
    made = Brute(scenario, Policy(), crowd)
    made.run()
    assert engine.requests == pytest.approx(made.tally.requests, rel=0.02)


def test_nobody_asks_during_an_outage_and_everybody_after_it() -> None:
    scenario = Scenario(guests=500, duration=3600, arrivals=Arrivals.STORM, outage=600, session=None)
    calls = simulate(scenario).calls
    assert sum(calls[30:40]) == 0
    assert calls[40] > 3 * max(calls[:30])


def test_guests_who_are_too_many_for_the_budget_give_up_in_the_end() -> None:
    tally = simulate(Scenario(guests=300, arrivals=Arrivals.BURST, session=None, limit=2))
    assert tally.turned_away > 100


def test_progress_goes_from_nothing_to_all() -> None:
    told: list[float] = []
    scenario = Scenario(guests=5, duration=600)
    Engine(scenario, Policy(), RandomCrowd(scenario)).run(told.append)
    assert told == sorted(told)
    assert (told[0], told[-1]) == (0, 1)
