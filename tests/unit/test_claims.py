import json
import math
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guestpass.core.claims import LAST_INSTANT, ClaimRules, read
from guestpass.core.jws import VerifiedPayload
from guestpass.core.model import Claims, UnixTime
from guestpass.errors import ClaimInvalid, ConfigError

NOW = UnixTime(1_800_000_000)
RULES = ClaimRules(issuer="https://issuer.example", audience=frozenset({"web", "app"}))
GOOD: dict[str, Any] = {
    "iss": "https://issuer.example",
    "aud": "web",
    "sub": "guest-1",
    "name": "Ada",
    "email": "ada@example.com",
    "iat": 1_799_999_990,
    "exp": 1_800_000_600,
}


def claims_of(members: dict[str, Any], rules: ClaimRules = RULES) -> Claims:
    return read(VerifiedPayload(json.dumps(members).encode(), members), rules, now=NOW)


def refused(members: dict[str, Any], rules: ClaimRules = RULES) -> str:
    with pytest.raises(ClaimInvalid) as caught:
        claims_of(members, rules)
    return caught.value.claim


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in GOOD.items() if key != name}


def test_every_claim_is_where_it_belongs() -> None:
    claims = claims_of(GOOD)
    assert (claims.issuer, claims.subject) == ("https://issuer.example", "guest-1")
    assert (claims.issued_at, claims.expires_at) == (UnixTime(1_799_999_990), UnixTime(1_800_000_600))
    assert (claims.name, claims.email) == ("Ada", "ada@example.com")
    assert claims.claims == GOOD


def test_what_an_issuer_need_not_say_is_empty() -> None:
    claims = claims_of({"iss": RULES.issuer, "aud": "web", "exp": 1_800_000_600})
    assert (claims.subject, claims.name, claims.email, claims.issued_at) == ("", "", "", None)


def test_expiry_is_another_question() -> None:
    assert claims_of({**GOOD, "exp": 1_000}).expires_at == UnixTime(1_000)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)
names = st.sampled_from([*GOOD, "nbf"])


@given(st.dictionaries(names, json_values | st.integers(0, 2 * 10**9)))
def test_any_claims_set_is_read_or_refused(members: dict[str, Any]) -> None:
    """Nothing but `ClaimInvalid` comes out, and what is read can be written as a date."""
    try:
        claims = claims_of({**GOOD, **members})
    except ClaimInvalid:
        return
    datetime.fromtimestamp(claims.expires_at, tz=UTC)


# --- iss ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "issuer",
    [
        "",
        "https://issuer.exampl",
        "https://issuer.example/",
        "https://issuer.example.evil",
        "ttps://issuer.example",
        "issuer",
        "HTTPS://issuer.example",
        "https://issuer.example\0",
        ["https://issuer.example"],
        {"https://issuer.example": 1},
        None,
        True,
        0,
    ],
)
def test_the_issuer_is_equal_or_wrong(issuer: object) -> None:
    assert refused({**GOOD, "iss": issuer}) == "iss"


def test_the_issuer_is_required() -> None:
    assert refused(without("iss")) == "iss"


# --- aud ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("audience", ["web", "app", ["web"], ["other", "app"], ["web", "app"]])
def test_an_audience_with_us_in_it_passes(audience: object) -> None:
    claims_of({**GOOD, "aud": audience})


@pytest.mark.parametrize("audience", ["", "we", "webb", "WEB", "other", [], ["other"], ["we", "b"]])
def test_an_audience_without_us_is_refused(audience: object) -> None:
    assert refused({**GOOD, "aud": audience}) == "aud"


@pytest.mark.parametrize("audience", [None, True, 1, {"web": 1}, ["web", 1], [["web"]], ["web", None]])
@pytest.mark.parametrize("asked_for", [frozenset({"web"}), None])
def test_an_audience_is_text_or_a_list_of_it_even_if_nobody_asks(
    audience: object, asked_for: frozenset[str] | None
) -> None:
    assert refused({**GOOD, "aud": audience}, ClaimRules(issuer=RULES.issuer, audience=asked_for)) == "aud"


def test_an_audience_may_be_absent_only_if_none_is_asked_for() -> None:
    assert refused(without("aud")) == "aud"
    claims_of(without("aud"), ClaimRules(issuer=RULES.issuer))
    claims_of({**GOOD, "aud": ["x", "y"]}, ClaimRules(issuer=RULES.issuer))


# --- exp, nbf, iat ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        False,
        "1800000600",
        "",
        [1_800_000_600],
        {},
        math.nan,
        math.inf,
        -math.inf,
        -1,
        -0.5,
        LAST_INSTANT + 1,
        1e15,
        10**60,
    ],
)
@pytest.mark.parametrize("claim", ["exp", "nbf", "iat"])
def test_an_instant_is_a_number_that_is_a_date(claim: str, value: object) -> None:
    assert refused({**GOOD, claim: value}) == claim


@pytest.mark.parametrize("value", [0, 0.5, 1_800_000_600, 1_800_000_600.25, LAST_INSTANT])
def test_an_expiry_in_range_passes_and_can_be_written(value: float) -> None:
    expires_at = claims_of({**GOOD, "exp": value}).expires_at
    assert expires_at == value
    datetime.fromtimestamp(expires_at, tz=UTC)


def test_the_last_instant_is_the_last_second_of_the_last_year() -> None:
    assert datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp() == LAST_INSTANT


def test_expiry_is_required() -> None:
    assert refused(without("exp")) == "exp"


@pytest.mark.parametrize("claim", ["nbf", "iat"])
@pytest.mark.parametrize(("ahead", "passes"), [(29.9, True), (30, True), (30.1, False), (1e6, False)])
def test_a_start_may_lie_ahead_by_the_leeway(claim: str, ahead: float, passes: bool) -> None:
    members = {**GOOD, claim: NOW + ahead}
    if passes:
        claims_of(members)
    else:
        assert refused(members) == claim


@pytest.mark.parametrize(("lifetime", "passes"), [(599, True), (600, True), (601, False)])
def test_a_lifetime_may_be_limited(lifetime: int, passes: bool) -> None:
    rules = ClaimRules(issuer=RULES.issuer, max_lifetime=600)
    members = {**GOOD, "exp": GOOD["iat"] + lifetime}
    if passes:
        claims_of(members, rules)
    else:
        assert refused(members, rules) == "exp"


def test_a_limit_may_be_less_than_a_second() -> None:
    rules = ClaimRules(issuer=RULES.issuer, max_lifetime=0.5)
    claims_of({**GOOD, "exp": GOOD["iat"] + 0.5}, rules)


def test_a_limited_lifetime_needs_a_start() -> None:
    claims_of(without("iat"))
    assert refused(without("iat"), ClaimRules(issuer=RULES.issuer, max_lifetime=600)) == "iat"


# --- the guest ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("claim", ["sub", "name", "email"])
@pytest.mark.parametrize("value", [None, 1, True, ["x"], {"x": "y"}])
def test_what_names_the_guest_is_text(claim: str, value: object) -> None:
    assert refused({**GOOD, claim: value}) == claim


def test_name_and_email_stand_where_the_operator_says() -> None:
    rules = ClaimRules(issuer=RULES.issuer, name_claim="https://x/name", email_claim="upn")
    claims = claims_of({**GOOD, "https://x/name": "Grace", "upn": "g@example.com"}, rules)
    assert (claims.name, claims.email) == ("Grace", "g@example.com")
    assert (
        refused({**GOOD, "upn": 1}, rules) == "email"
    )  # our word for it: an operator's never becomes a label


def test_no_message_quotes_a_value() -> None:
    for name in (*GOOD, "nbf"):
        for value in (["s3cret"], {"s3cret": "s3cret"}):
            with pytest.raises(ClaimInvalid) as caught:
                claims_of({**GOOD, name: value})
            assert "s3cret" not in str(caught.value)
            assert caught.value.reason == f"claim_{name}"


# --- configuration ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "setting"),
    [
        ("verify.issuer", {"issuer": ""}),
        ("verify.audience", {"audience": frozenset()}),
        ("verify.audience", {"audience": frozenset({"web", ""})}),
        ("verify.leeway", {"leeway": -1}),
        ("verify.leeway", {"leeway": math.inf}),
        ("verify.leeway", {"leeway": math.nan}),
        ("verify.max_lifetime", {"max_lifetime": 0}),
        ("verify.max_lifetime", {"max_lifetime": -1}),
        ("verify.max_lifetime", {"max_lifetime": math.inf}),
        ("verify.max_lifetime", {"max_lifetime": math.nan}),
        ("verify.name_claim", {"name_claim": ""}),
        ("verify.email_claim", {"email_claim": ""}),
    ],
)
def test_a_rule_that_cannot_hold_is_a_configuration_error(field: str, setting: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as caught:
        ClaimRules(**{"issuer": RULES.issuer, **setting})
    assert caught.value.field == field


def test_a_leeway_may_be_nothing() -> None:
    assert refused({**GOOD, "nbf": NOW + 1}, ClaimRules(issuer=RULES.issuer, leeway=0)) == "nbf"
