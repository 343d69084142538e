"""The parts around the engine: what may be asked, the window of calls, the figures, the curve."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guestpass.core.model import Policy
from guestpass.errors import ConfigError
from guestpass.simulation.compare import compare, rotation_period
from guestpass.simulation.curve import curve
from guestpass.simulation.scenario import Arrivals, Scenario
from guestpass.simulation.tally import Tally
from guestpass.simulation.window import MovingWindow


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("guests", {"guests": 0}),
        ("guests", {"guests": 10_000_001}),
        ("duration", {"duration": 59.0}),
        ("duration", {"duration": math.inf}),
        ("lifetime", {"lifetime": 9.0}),
        ("session", {"session": 0.5}),
        ("session", {"session": math.nan}),
        ("every", {"every": 0.09}),
        ("every", {"every": math.inf}),
        ("budget", {"limit": 0}),
        ("budget", {"window": 0.0}),
        ("outage", {"arrivals": Arrivals.STORM, "outage": 0.0}),
        ("outage", {"arrivals": Arrivals.STORM, "outage": 1801.0}),
    ],
)
def test_a_question_that_makes_no_sense_names_its_field(field: str, values: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as caught:
        Scenario(**values)
    assert caught.value.field == field


def test_only_a_storm_has_an_outage() -> None:
    assert Scenario().down == (3600, 3600)
    assert Scenario(arrivals=Arrivals.STORM).down == (3600, 4200)


@given(st.lists(st.integers(0, 300), min_size=1, max_size=60).map(sorted), st.integers(1, 5))
def test_no_moving_window_holds_more_than_the_limit_and_it_says_when_there_is_room_again(
    instants: list[int], limit: int
) -> None:
    window, counted = MovingWindow(limit, 60), list[int]()
    for now in instants:
        if window.remaining(now) > 0:
            window.count(now)
            counted.append(now)
        else:
            assert now + window.reset_after(now) == counted[-limit] + 60 > now
    for start in counted:
        assert sum(start <= instant < start + 60 for instant in counted) <= limit


def test_a_window_in_which_nothing_was_counted_need_not_be_waited_for() -> None:
    assert MovingWindow(1, 60).reset_after(5) == 0


def tally(*calls: int) -> Tally:
    run = Tally(minutes=len(calls))
    run.calls = run.minted = list(calls)
    return run


def test_the_figures_of_a_run() -> None:
    run = tally(0, 10, 30, 20, 0)
    assert (run.mean, run.peak) == (12, 30)
    assert run.mean_over(120) == 25
    assert run.mean_over(90) == 25  # whole minutes, rounded up
    assert run.mean_over(1e9) == 12
    assert run.unevenness(120) == 1.2
    assert run.headroom(40) == 0.25
    assert run.headroom(20) == -0.5


def test_no_calls_at_all_are_as_even_as_can_be() -> None:
    assert tally(0, 0).unevenness(60) == 1


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=100), st.floats(1, 10_000))
def test_a_peak_is_never_below_the_mean_of_its_period(calls: list[int], period: float) -> None:
    run = tally(*calls)
    assert run.peak >= run.mean_over(period) - 1e-9
    assert run.mean_over(period) >= run.mean - 1e-9


def test_the_rotation_period_is_the_life_before_the_window() -> None:
    assert rotation_period(Scenario(), Policy()) == 1500
    assert rotation_period(Scenario(lifetime=40), Policy()) == 30
    assert rotation_period(Scenario(), Policy(rotate_before=5000)) == 0


def test_both_runs_report_their_progress_as_one() -> None:
    told: list[float] = []
    compare(Scenario(guests=3, duration=600), Policy(), told.append)
    assert told == sorted(told)
    assert (told[0], told[-1]) == (0, 1)
    assert 0.5 in told


def test_a_curve_rises_from_the_ground() -> None:
    assert curve([0, 1, 4, 8, 16], top=16, width=10, height=2) == ["    █", " ▁▄██"]


def test_a_narrow_curve_hides_no_peak() -> None:
    assert curve([0, 9, 0, 0, 0, 1], top=8, width=2, height=1) == ["█▁"]


@given(
    st.lists(st.floats(0, 1e6), min_size=1, max_size=300),
    st.floats(0, 1e6),
    st.integers(1, 80),
    st.integers(1, 8),
)
def test_a_curve_fits_its_frame_and_draws_something_for_whatever_is_there(
    values: list[float], top: float, width: int, height: int
) -> None:
    lines = curve(values, top=top, width=width, height=height)
    assert [len(line) for line in lines] == [min(width, len(values))] * height
    if top > 0 and len(values) <= width:
        assert [character != " " for character in lines[-1]] == [value > 0 for value in values]
