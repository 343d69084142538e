from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guestpass.core.freshness import NEVER, Freshness, State, Upkeep, stated_max_age
from guestpass.core.model import MonotonicTime
from guestpass.errors import ConfigError

RULES = Freshness()
FETCHED = Upkeep(rules=RULES).succeeded(MonotonicTime(0.0), max_age=None)
RANK = list(State)

instants = st.floats(0, 10_000).map(MonotonicTime)
jitters = st.floats(0.5, 1.0)


def at(seconds: float) -> MonotonicTime:
    return MonotonicTime(seconds)


@pytest.mark.parametrize(
    ("now", "state"),
    [
        (0.0, State.FRESH),
        (479.9, State.FRESH),
        (480.0, State.DUE),
        (599.9, State.DUE),
        (600.0, State.STALE),
        (3_599.9, State.STALE),
        (3_600.0, State.DEAD),
    ],
)
def test_each_state_begins_on_its_instant(now: float, state: State) -> None:
    assert FETCHED.state(at(now)) is state
    assert FETCHED.usable(at(now)) is (state is not State.DEAD)


@given(st.lists(instants, min_size=2).map(sorted))
def test_a_copy_never_gets_better_with_age(moments: list[MonotonicTime]) -> None:
    ranks = [RANK.index(FETCHED.state(now)) for now in moments]
    assert ranks == sorted(ranks)


def test_before_the_first_success_nothing_is_usable_and_an_attempt_is_due_at_once() -> None:
    blank = Upkeep(rules=RULES)
    assert blank.state(at(0.0)) is State.DEAD
    assert blank.recheck_at == blank.refresh_at == NEVER
    assert blank.may_ask_for_key(at(0.0))


def test_the_background_refreshes_ahead_and_a_request_only_once_stale() -> None:
    assert FETCHED.refresh_at == 480.0
    assert FETCHED.recheck_at == 600.0


@pytest.mark.parametrize(
    ("stated", "lifetime"),
    [
        (None, 600),
        (0.0, 60),
        (59.0, 60),
        (60.0, 60),
        (61.0, 61),
        (600.0, 600),
        (601.0, 600),
        (1e13, 600),
        (inf, 600),
    ],
)
def test_an_answer_names_its_lifetime_within_bounds(stated: float | None, lifetime: float) -> None:
    assert RULES.lifetime(stated) == lifetime


def test_a_configured_max_age_below_the_minimum_wins() -> None:
    rules = Freshness(max_age=5)
    assert rules.lifetime(0.0) == rules.lifetime(None) == rules.lifetime(1e13) == 5


@given(st.none() | st.floats(0, allow_nan=False), st.floats(0.1, 3_600), st.floats(0, 3_600))
def test_every_lifetime_is_above_zero_and_at_most_max_age(
    stated: float | None, max_age: float, min_age: float
) -> None:
    assert min(min_age, max_age) <= Freshness(max_age=max_age, min_age=min_age).lifetime(stated) <= max_age


def test_the_pause_doubles_with_each_failure_up_to_its_most() -> None:
    upkeep, pauses = FETCHED, []
    for _ in range(9):
        upkeep = upkeep.failed(at(600.0), jitter=1.0)
        pauses.append(upkeep.retry_at - 600.0)
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60]


@given(instants, jitters, st.integers(0, 5_000))
def test_a_pause_is_never_shorter_than_jitter_allows_nor_longer_than_its_most(
    now: MonotonicTime, jitter: float, failures: int
) -> None:
    failed = Upkeep(rules=RULES, fetched_at=NEVER, failures=failures).failed(now, jitter=jitter)
    assert failed.retry_at == now + RULES.retry * jitter  # nothing to serve: as eager as the first time
    failed = Upkeep(rules=RULES, fetched_at=now, lifetime=600, failures=failures).failed(now, jitter=jitter)
    assert now + RULES.retry * jitter <= failed.retry_at <= now + RULES.max_retry * jitter


def test_a_copy_that_dies_during_a_pause_ends_it() -> None:
    upkeep = FETCHED
    for _ in range(10):
        upkeep = upkeep.failed(at(3_590.0), jitter=1.0)
    assert upkeep.retry_at == upkeep.dead_at == 3_600.0


def test_a_retry_longer_than_the_most_stands() -> None:
    rules = Freshness(retry=10.0, max_retry=5.0)
    failed = Upkeep(rules=rules).succeeded(at(0.0), max_age=None).failed(at(1.0), jitter=1.0)
    assert failed.retry_at == 11.0


def test_while_backing_off_no_request_is_asked_to_recheck() -> None:
    failed = FETCHED.failed(at(700.0), jitter=1.0)
    assert failed.recheck_at == failed.refresh_at == 701.0


def test_a_failed_refresh_ahead_leaves_a_fresh_copy_to_requests() -> None:
    failed = FETCHED.failed(at(480.0), jitter=1.0)
    assert failed.refresh_at == 481.0
    assert failed.recheck_at == 600.0


@given(instants, jitters, st.integers(0, 100))
def test_a_dead_copy_is_never_relied_on_whatever_the_pause(
    now: MonotonicTime, jitter: float, failures: int
) -> None:
    upkeep = Upkeep(rules=RULES, fetched_at=at(0.0), lifetime=600.0, failures=failures)
    assert upkeep.failed(now, jitter=jitter).recheck_at <= 3_600.0


def test_a_success_ends_the_pause_and_forgets_the_failures() -> None:
    upkeep = FETCHED.failed(at(700.0), jitter=1.0).succeeded(at(700.5), max_age=120.0)
    assert (upkeep.failures, upkeep.retry_at, upkeep.recheck_at) == (0, NEVER, 820.5)


ASKED = FETCHED.asking(at(0.0))


@pytest.mark.parametrize(("now", "allowed"), [(29.9, False), (30.0, True), (30.1, True)])
@pytest.mark.parametrize(
    "upkeep",
    [ASKED, ASKED.failed(at(0.0), jitter=1.0), ASKED.succeeded(at(0.1), max_age=None)],
)
def test_a_missing_key_is_asked_for_once_the_cooldown_since_the_last_question_is_over(
    upkeep: Upkeep, now: float, *, allowed: bool
) -> None:
    assert upkeep.may_ask_for_key(at(now)) is allowed


def test_a_scheduled_refresh_starts_no_cooldown() -> None:
    assert FETCHED.may_ask_for_key(at(0.0))


def test_a_missing_key_is_not_asked_for_while_backing_off() -> None:
    failed = Upkeep(rules=Freshness(cooldown=0.0)).failed(at(0.0), jitter=1.0)
    assert not failed.may_ask_for_key(at(0.9))
    assert failed.may_ask_for_key(at(1.0))


@pytest.mark.parametrize(
    ("cache_control", "stated"),
    [
        ("", None),
        ("public", None),
        ("max-age=300", 300),
        ("public, Max-Age=300 , must-revalidate", 300),
        ('max-age="300"', 300),
        ("max-age=0", 0),
        ("max-age=10000000000000", 1e13),
        ("max-age=" + "9" * 5_000, inf),
        ("max-age=1, max-age=2", 1),
        ("s-maxage=5", None),
        ("x-max-age=5", None),
        ("max-age", None),
        ("max-age=", None),
        ("max-age=-1", None),
        ("max-age=1.5", None),
        ("max-age=1e3", None),
        ("max-age=٣", None),  # a digit, but none of HTTP
        ("max-age=²", None),
        ("max-age=x, max-age=7", 7),
        ("max-age=300, no-store", 0),
        ("no-cache, max-age=300", 0),
    ],
)
def test_max_age_is_read_as_rfc_9111_writes_it(cache_control: str, stated: float | None) -> None:
    assert stated_max_age(cache_control) == stated


@given(st.text())
def test_any_cache_control_is_read_without_an_error(text: str) -> None:
    stated = stated_max_age(text)
    assert stated is None or stated >= 0


@pytest.mark.parametrize("name", ["max_age", "max_stale", "retry", "max_retry"])
@pytest.mark.parametrize("value", [0.0, -1.0, inf, float("nan")])
def test_a_duration_that_must_pass_is_refused_otherwise(name: str, value: float) -> None:
    with pytest.raises(ConfigError) as caught:
        Freshness(**{name: value})
    assert caught.value.field == f"verify.{name}"


@pytest.mark.parametrize("name", ["min_age", "cooldown"])
@pytest.mark.parametrize("value", [-1.0, inf, float("nan")])
def test_a_duration_that_may_be_zero_is_refused_otherwise(name: str, value: float) -> None:
    assert getattr(Freshness(**{name: 0.0}), name) == 0.0
    with pytest.raises(ConfigError) as caught:
        Freshness(**{name: value})
    assert caught.value.field == f"verify.{name}"


@pytest.mark.parametrize("value", [0.0, -0.1, 1.1, float("nan")])
def test_refresh_ahead_is_a_fraction(value: float) -> None:
    with pytest.raises(ConfigError, match="refresh_ahead"):
        Freshness(refresh_ahead=value)


def test_a_copy_cannot_die_before_it_is_stale() -> None:
    with pytest.raises(ConfigError, match="max_stale"):
        Freshness(max_age=3_601)
    assert Freshness(max_age=3_600).max_stale == 3_600
