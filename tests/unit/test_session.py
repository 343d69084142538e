"""What a recorded token says: its own words where it can be read, and the record's where it cannot."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guestpass.core import base64url
from guestpass.core.model import RawToken, UnixTime
from guestpass.core.session import (
    LONGEST,
    Grant,
    Recorded,
    Session,
    expiry,
    recorded_claims,
    unverified_members,
)

NOW = UnixTime(1_800_000_000.0)
RECORDED = Recorded(session="s", subject="recorded", issued_at=NOW, expires_at=UnixTime(NOW + 900))


def jwt(members: object) -> RawToken:
    return RawToken(b"e30." + base64url.encode(json.dumps(members).encode()) + b".c2ln")


@pytest.mark.parametrize(
    "compact", [b"", b"opaque", b"a.b", b"a.b.c", b"e30.W10.c2ln", b"e30.e30.c2ln.x", b"e30.e30=.c2ln"]
)
def test_what_is_no_readable_jwt_says_nothing(compact: bytes) -> None:
    assert unverified_members(RawToken(compact)) == {}


def test_a_jwt_says_what_stands_in_it() -> None:
    assert unverified_members(jwt({"sub": "a", "exp": 1})) == {"sub": "a", "exp": 1}


@pytest.mark.parametrize("exp", [None, True, "1800000100", -1, 1e300, [1], {}])
def test_without_a_readable_exp_a_token_lives_as_long_as_the_vendor_lets_any(exp: object) -> None:
    assert expiry({"exp": exp}, now=NOW) == expiry({}, now=NOW) == NOW + LONGEST


@pytest.mark.parametrize(("left", "lives"), [(-1, -1), (0, 0), (899, 899), (900, 900), (901, 900)])
def test_an_exp_shortens_a_life_and_never_lengthens_it(left: float, lives: float) -> None:
    assert expiry({"exp": NOW + left}, now=NOW) == NOW + lives


@given(st.one_of(st.none(), st.booleans(), st.floats(), st.integers(), st.text()))
def test_no_token_outlives_the_vendors_limit(exp: object) -> None:
    assert expiry({"exp": exp}, now=NOW) <= NOW + LONGEST


def test_the_claims_are_the_tokens_own_but_for_the_instants() -> None:
    token = jwt({"iss": "i", "sub": "a", "who": "Ada", "mail": "a@b.cd", "exp": 1, "extra": [1]})
    claims = recorded_claims(token, RECORDED, name_claim="who", email_claim="mail")
    assert (claims.issuer, claims.subject, claims.name, claims.email) == ("i", "a", "Ada", "a@b.cd")
    assert (claims.issued_at, claims.expires_at) == (NOW, NOW + 900)
    assert claims.claims["extra"] == [1]


@pytest.mark.parametrize("token", [RawToken(b"opaque"), jwt({"sub": 1, "name": 2}), jwt({"sub": ""})])
def test_a_guest_whom_the_token_does_not_name_is_the_records(token: RawToken) -> None:
    claims = recorded_claims(token, RECORDED, name_claim="name", email_claim="email")
    assert (claims.subject, claims.claims["sub"], claims.name) == ("recorded", "recorded", "")


def test_a_session_is_remembered_until_its_last_token_is_past_everything() -> None:
    tokens = {RawToken(b"a").id: UnixTime(5.0), RawToken(b"b").id: UnixTime(9.0)}
    session = Session(name="s", subject="a", refresh_token="r3fresh", tokens=tokens)
    assert session.until == 9.0


def gone_on(name: bytes, ends: float, refresh_token: str) -> Session:
    token = RawToken(name)
    tokens = {token.id: UnixTime(ends + 60)}
    return Session(
        name="s",
        subject="a",
        refresh_token=refresh_token,
        tokens=tokens,
        latest=token,
        latest_ends=UnixTime(ends),
    )


@pytest.mark.parametrize(
    ("ends", "now", "later"),
    [(899, 0, False), (900, 0, False), (901, 0, True), (901, 900, True), (901, 901, False)],
)
def test_an_earlier_token_is_followed_by_the_youngest_that_is_alive(
    ends: float, now: float, later: bool
) -> None:
    session = gone_on(b"young", NOW + ends, "r")
    follower = session.later_than(RECORDED, now=UnixTime(NOW + now))
    assert follower == (RawToken(b"young") if later else None)


def test_before_its_first_token_a_session_has_none_that_follows() -> None:
    session = Session(name="s", subject="a", refresh_token="r", tokens={})
    ended = Recorded(session="s", subject="a", issued_at=UnixTime(-900), expires_at=UnixTime(0))
    assert session.later_than(ended, now=UnixTime(0)) is None


@pytest.mark.parametrize("swapped", [False, True])
def test_of_two_that_went_on_the_one_with_the_youngest_token_is_ahead(swapped: bool) -> None:
    old, young = gone_on(b"old", NOW + 100, "r1"), gone_on(b"young", NOW + 900, "r2")
    both = young.merged(old, now=NOW) if swapped else old.merged(young, now=NOW)
    assert (both.refresh_token, both.latest, both.latest_ends) == ("r2", young.latest, young.latest_ends)
    assert both.tokens == {**old.tokens, **young.tokens}


def test_where_both_end_at_once_the_one_that_is_asked_stays_ahead() -> None:
    mine, other = gone_on(b"mine", NOW + 900, "r1"), gone_on(b"other", NOW + 900, "r2")
    assert mine.merged(other, now=NOW).refresh_token == "r1"


@pytest.mark.parametrize(("later", "left"), [(159, 2), (160, 1), (161, 1)])
def test_a_token_that_nobody_has_to_remember_is_left_out(later: float, left: int) -> None:
    old, young = gone_on(b"old", NOW + 100, "r1"), gone_on(b"young", NOW + 900, "r2")
    assert len(young.merged(old, now=UnixTime(NOW + later)).tokens) == left


def test_no_secret_of_a_login_has_a_repr() -> None:
    grant = Grant(code="c0de", redirect_uri="https://shop.example", code_verifier="ver1fier", nonce="n0nce")
    session = Session(name="s", subject="a", refresh_token="r3fresh", tokens={})
    for secret in ("c0de", "ver1fier", "n0nce", "r3fresh"):
        assert secret not in f"{grant!r} {session!r}"
