"""The decision's laws: total, monotone in time, and every boundary just before, on, and just after."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guestpass.core.decision import (
    Absent,
    Decision,
    Forward,
    Genuine,
    Invalid,
    Reject,
    Rotate,
    Schedule,
    decide,
    schedule,
)
from guestpass.core.model import Claims, Policy, TokenId, UnixTime
from guestpass.errors import ConfigError, SessionExpired, SignatureInvalid, TokenExpired, TokenMissing

EXP = 10_000.0
MIDDLE = TokenId(b"\x80" + bytes(31))  # moves the rotation point by half the spread
LATEST = TokenId(bytes(32))  # and this one not at all


def genuine(
    *, lifetime: float | None = 1800, token_id: TokenId = LATEST, started: float | None = None
) -> Genuine:
    claims = Claims(
        issuer="iss",
        subject="s",
        expires_at=UnixTime(EXP),
        issued_at=None if lifetime is None else UnixTime(EXP - lifetime),
        name="",
        email="",
        payload=b"{}",
    )
    return Genuine(claims, token_id, None, None if started is None else UnixTime(started))


def at(instant: float, policy: Policy | None = None, **kwargs: object) -> Decision:
    verdict = genuine(**kwargs)  # type: ignore[arg-type]  # forwarded as they are
    return decide(verdict, policy or Policy(), anonymous=False, now=UnixTime(instant))


def rank(decision: Decision) -> int:
    match decision:
        case Forward(_, prefetch):
            return int(prefetch)
        case Rotate(_, required):
            return 2 + int(required)
        case Reject():
            return 4


policies = st.builds(
    Policy,
    leeway=st.floats(0, 120),
    grace=st.floats(0, 600),
    rotate_before=st.none() | st.floats(0, 4000),
    prefetch=st.floats(0, 300),
    spread=st.floats(0, 3000),
    max_session_age=st.none() | st.floats(1, 100_000),
)
tokens = st.builds(
    genuine,
    lifetime=st.none() | st.floats(0, 5000),
    token_id=st.binary(min_size=32, max_size=32).map(TokenId),
    started=st.none() | st.floats(0, EXP),
)


@given(tokens, policies, st.lists(st.floats(0, 20_000), min_size=2).map(sorted))
def test_a_token_never_gets_better_with_age(verdict: Genuine, policy: Policy, instants: list[float]) -> None:
    """As the clock advances a decision only moves forward -> prefetch -> rotate -> must rotate -> reject."""
    ranks = [rank(decide(verdict, policy, anonymous=False, now=UnixTime(t))) for t in instants]
    assert ranks == sorted(ranks)


@given(tokens, policies)
def test_the_instants_of_a_token_are_in_order(verdict: Genuine, policy: Policy) -> None:
    when = schedule(verdict, policy)
    assert when.prefetch_at <= when.rotate_at <= EXP <= when.expires_at <= when.refused_at


@given(tokens, policies, st.floats(0, 20_000))
def test_a_token_that_is_past_its_leeway_never_passes_by_itself(
    verdict: Genuine, policy: Policy, now: float
) -> None:
    decision = decide(verdict, policy, anonymous=True, now=UnixTime(now))
    if now >= EXP + policy.leeway:
        assert isinstance(decision, Reject) or (isinstance(decision, Rotate) and decision.required)


@pytest.mark.parametrize(
    ("instant", "expected"),
    [
        (EXP - 360.5, 0),  # window 300 s, prefetch a fifth of it: 60 s
        (EXP - 360, 1),
        (EXP - 359.5, 1),
        (EXP - 300.5, 1),
        (EXP - 300, 2),
        (EXP - 299.5, 2),
        (EXP + 29.5, 2),
        (EXP + 30, 3),
        (EXP + 30.5, 3),
        (EXP + 59.5, 3),
        (EXP + 60, 4),
        (EXP + 60.5, 4),
    ],
)
def test_the_windows_of_a_half_hour_token_are_those_of_the_design(instant: float, expected: int) -> None:
    assert rank(at(instant)) == expected


@pytest.mark.parametrize(
    ("lifetime", "window"), [(1800, 300), (1200, 300), (1196, 299), (40, 10), (0, 0), (None, 300)]
)
def test_the_window_is_a_quarter_of_the_lifetime_but_at_most_five_minutes(
    lifetime: float | None, window: float
) -> None:
    assert schedule(genuine(lifetime=lifetime), Policy()).rotate_at == EXP - window


def test_a_window_that_is_set_is_taken_as_it_stands() -> None:
    assert schedule(genuine(lifetime=40), Policy(rotate_before=35)).rotate_at == EXP - 35


LONG_AGO = EXP - 5000  # a chain that began before this token: it is a successor
ALL_BUT_NONE = TokenId(b"\xff" * 32)  # moved by all of the spread


def test_the_spread_moves_each_successor_by_its_own_part_and_earlier_only() -> None:
    assert schedule(genuine(token_id=MIDDLE, started=LONG_AGO), Policy()).rotate_at == EXP - 300 - 30
    assert schedule(genuine(token_id=ALL_BUT_NONE, started=LONG_AGO), Policy()).rotate_at > EXP - 360


def test_a_first_token_moves_by_as_much_as_is_set_within_three_quarters_of_its_life() -> None:
    """So that a crowd who came in one minute need not rotate in one minute."""
    assert schedule(genuine(token_id=MIDDLE), Policy()).rotate_at == EXP - 300 - 30
    assert schedule(genuine(token_id=MIDDLE), Policy(spread=600)).rotate_at == EXP - 300 - 300
    wide = Policy(spread=5000)
    assert schedule(genuine(token_id=MIDDLE), wide).rotate_at == EXP - 300 - 1125 / 2
    assert EXP - 1425 < schedule(genuine(token_id=ALL_BUT_NONE), wide).rotate_at < EXP - 1424.9
    assert schedule(genuine(token_id=MIDDLE), Policy(spread=0)).rotate_at == EXP - 300


def test_a_successor_moves_by_at_most_a_fifth_of_the_window_however_wide_the_spread() -> None:
    successor = genuine(token_id=MIDDLE, started=LONG_AGO)
    assert schedule(successor, Policy(spread=5000)).rotate_at == EXP - 330


def test_a_short_token_moves_in_proportion_to_its_window() -> None:
    assert schedule(genuine(lifetime=40, token_id=MIDDLE), Policy()).rotate_at == EXP - 10 - 1


def test_without_an_iat_nobody_knows_how_long_a_first_token_lives_so_it_moves_as_little_as_a_successor() -> (
    None
):
    assert schedule(genuine(lifetime=None, token_id=MIDDLE), Policy()).rotate_at == EXP - 330


@given(tokens, policies)
def test_a_first_token_is_never_rotated_in_the_first_quarter_of_its_life_before_the_window(
    verdict: Genuine, policy: Policy
) -> None:
    """R17: what rotates at once would rotate again at once."""
    issued = verdict.claims.issued_at
    if issued is None:
        return
    ends = schedule(verdict, replace(policy, spread=0)).rotate_at
    assert schedule(verdict, policy).rotate_at >= min(ends, issued + (ends - issued) / 4) - max(
        1e-6, 0.2 * (EXP - ends)
    )


def test_prefetch_and_spread_take_at_most_a_fifth_of_a_short_window() -> None:
    when = schedule(genuine(lifetime=40, token_id=MIDDLE, started=LONG_AGO), Policy())
    assert when.rotate_at == EXP - 10 - 1
    assert when.prefetch_at == when.rotate_at - 2


@pytest.mark.parametrize("offset", [-0.5, 0, 0.5])
def test_a_chain_ends_at_its_maximum_age_however_fresh_the_token(offset: float) -> None:
    policy = Policy(max_session_age=5000)
    decision = at(EXP - 1000 + offset, policy, started=EXP - 6000)
    if offset < 0:
        assert isinstance(decision, Forward)
    else:
        assert isinstance(decision, Reject)
        assert isinstance(decision.error, SessionExpired)


def test_a_token_of_unknown_chain_and_unknown_issue_counts_as_its_own_first() -> None:
    when: Schedule = schedule(genuine(lifetime=None), Policy(max_session_age=1))
    assert when.session_ends_at == EXP - 1800 + 1


def test_no_maximum_age_means_for_ever() -> None:
    assert schedule(genuine(), Policy(max_session_age=None)).session_ends_at == float("inf")


def test_past_the_grace_a_token_is_expired() -> None:
    decision = at(EXP + 60)
    assert isinstance(decision, Reject)
    assert isinstance(decision.error, TokenExpired)


def test_a_grace_shorter_than_the_leeway_takes_nothing_from_the_leeway() -> None:
    policy = Policy(grace=0)
    assert rank(at(EXP + 29, policy)) == 2
    assert rank(at(EXP + 30, policy)) == 4


@pytest.mark.parametrize("anonymous", [True, False])
def test_a_bad_token_is_refused_even_where_none_is_needed(anonymous: bool) -> None:
    error = SignatureInvalid()
    assert decide(Invalid(error), Policy(), anonymous=anonymous, now=UnixTime(0)) == Reject(error)


def test_without_a_token_the_route_decides() -> None:
    assert decide(Absent(), Policy(), anonymous=True, now=UnixTime(0)) == Forward(None)
    decision = decide(Absent(), Policy(), anonymous=False, now=UnixTime(0))
    assert isinstance(decision, Reject)
    assert isinstance(decision.error, TokenMissing)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("leeway", -1),
        ("grace", float("inf")),
        ("rotate_before", float("nan")),
        ("prefetch", -0.1),
        ("spread", -1),
        ("rotation_wait", -1),
        ("backoff", -1),
        ("mint_deadline", 0),
        ("max_session_age", 0),
        ("max_lifetime", -5),
        ("on_subject_change", "ignore"),
    ],
)
def test_a_window_that_makes_no_sense_is_named_at_start(field: str, value: object) -> None:
    with pytest.raises(ConfigError, match=f"policy.{field}: must be"):
        Policy(**{field: value})  # type: ignore[arg-type]  # that is the point
