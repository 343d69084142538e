"""The shares' laws: nearer to expiry never has less, and nobody ever has more than there is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guestpass.core.shares import Priority, fits, share

lefts = st.floats(-100_000, 100_000)
priorities = st.sampled_from(Priority)
limits = st.integers(1, 100_000)


@given(priorities, lefts, lefts)
def test_nearer_to_expiry_never_has_less(priority: Priority, one: float, other: float) -> None:
    near, far = sorted((one, other))
    assert share(priority, left=near) >= share(priority, left=far)


@given(lefts)
def test_who_cannot_wait_never_has_less_than_who_can(left: float) -> None:
    prefetch, rotation, first = (share(priority, left=left) for priority in Priority)
    assert 0 < prefetch <= rotation <= first == 1


@pytest.mark.parametrize(
    ("left", "expected"),
    [
        (1800, 0.8),
        (600, 0.8),
        (599, 0.8 + 0.1 / 540),
        (330, 0.85),
        (60.001, 0.9),
        (60, 1.0),
        (59.9, 1.0),
        (0, 1.0),
        (-60, 1.0),
    ],
)
def test_a_rotation_gains_its_share_as_its_token_ages(left: float, expected: float) -> None:
    assert share(Priority.ROTATION, left=left) == pytest.approx(expected, abs=1e-5)


@given(priorities, lefts, limits, st.data())
def test_what_fits_is_never_over_the_limit(
    priority: Priority, left: float, limit: int, data: st.DataObject
) -> None:
    remaining = data.draw(st.integers(-10, limit))
    if fits(priority, left=left, remaining=remaining, limit=limit):
        assert remaining >= 1


@given(priorities, lefts, limits, st.data())
def test_what_fits_into_a_full_window_fits_into_an_emptier_one(
    priority: Priority, left: float, limit: int, data: st.DataObject
) -> None:
    remaining = data.draw(st.integers(0, limit - 1))
    if fits(priority, left=left, remaining=remaining, limit=limit):
        assert fits(priority, left=left, remaining=remaining + 1, limit=limit)


@given(priorities, lefts, limits)
def test_every_kind_is_served_while_nothing_is_spent(priority: Priority, left: float, limit: int) -> None:
    """A share is rounded up, so that a budget of one call starves nobody for ever."""
    assert fits(priority, left=left, remaining=limit, limit=limit)


@pytest.mark.parametrize(
    ("priority", "left", "most"),
    [
        (Priority.PREFETCH, 360.0, 150),
        (Priority.ROTATION, 1000.0, 240),
        (Priority.ROTATION, 465.0, 248),
        (Priority.ROTATION, 61.0, 270),
        (Priority.ROTATION, 60.0, 300),
        (Priority.ROTATION, -10.0, 300),
        (Priority.FIRST, 0.0, 300),
    ],
)
def test_calls_of_one_kind_fill_the_default_budget_up_to_their_share(
    priority: Priority, left: float, most: int
) -> None:
    used = 0
    while fits(priority, left=left, remaining=300 - used, limit=300):
        used += 1
    assert used == most
