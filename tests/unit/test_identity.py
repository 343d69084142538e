"""Who the guest is, for the app and for a backend, and which names are ours."""

import json
from typing import Any
from urllib.parse import unquote, unquote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guestpass.core.identity import (
    IdentityMap,
    fold,
    identity_headers,
    owned,
)
from guestpass.core.inject import Fields
from guestpass.core.model import ANONYMOUS, Claims, UnixTime
from guestpass.errors import ConfigError


def claims(**members: Any) -> Claims:
    return Claims(
        issuer="issuer",
        subject=str(members.get("sub", "")),
        expires_at=UnixTime(2_000.0),
        issued_at=None,
        name=str(members.get("name", "")),
        email=str(members.get("email", "")),
        payload=json.dumps(members).encode(),
    )


ADA = claims(sub="guest-1", name="Ada Løvelace", email="ada+chat@example.org", exp=2000)

# --- the guest --------------------------------------------------------------------------------------------


def test_a_guest_is_what_the_claims_say() -> None:
    guest = ADA
    assert (guest.subject, guest.name, guest.email) == ("guest-1", "Ada Løvelace", "ada+chat@example.org")
    assert guest.expires_at == 2000.0
    assert not guest.anonymous
    assert guest.claims["exp"] == 2000


def test_a_guest_answers_what_starlette_asks_of_a_user() -> None:
    guest = ADA
    assert (guest.is_authenticated, guest.display_name, guest.identity) == (True, "Ada Løvelace", "guest-1")
    assert not ANONYMOUS.is_authenticated


def test_nobody_is_anonymous_with_a_name_or_a_claim() -> None:
    assert ANONYMOUS.anonymous
    assert (ANONYMOUS.subject, ANONYMOUS.name, ANONYMOUS.email) == ("", "", "")
    assert ANONYMOUS.claims == {}
    assert ANONYMOUS.expires_at == float("inf")


def test_changing_the_claims_one_was_given_changes_nothing() -> None:
    guest = ADA
    taken: Any = guest.claims
    taken["sub"] = "somebody else"
    assert guest.claims["sub"] == "guest-1"


def test_a_repr_holds_no_personal_data() -> None:
    text = f"{ADA!r} {ADA}"
    for secret in ("guest-1", "Ada", "ada", "example"):
        assert secret not in text
    assert "anonymous" in repr(ANONYMOUS)


# --- names ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        b"X-Guest-Name",
        b"x_guest_name",
        b"X.Guest-NAME",
        b"xguestname",
        b"x-guest-name ",
        b"X Guest\tName",
        b"X~Guest!Name",
        b"#x|guest+name`",
    ],
)
def test_every_spelling_that_a_backend_may_merge_folds_alike(name: bytes) -> None:
    """CVE-2025-64484: WSGI, CGI and PHP readers make one variable of all of these."""
    assert fold(name) == b"xguestname"


@given(st.binary(max_size=20))
def test_folding_is_idempotent_and_blind_to_case_and_separators(name: bytes) -> None:
    folded = fold(name)
    assert fold(folded) == folded == fold(name.upper()) == fold(name.replace(b"-", b"_"))


@given(st.text("abcXYZ019-", max_size=8), st.text("abcXYZ019-", max_size=8))
def test_names_that_a_cgi_reader_keeps_apart_are_kept_apart(one: str, other: str) -> None:
    if one.upper().replace("-", "") != other.upper().replace("-", ""):
        assert fold(one.encode()) != fold(other.encode())


def test_no_client_may_send_what_we_set() -> None:
    assert owned(IdentityMap(), Fields(), extra=("X-Tenant",)) == {
        b"xguestsubject",
        b"xguestname",
        b"xguestemail",
        b"xguestassertion",
        b"xguesttokenexpiresat",
        b"xguesttokenexpiresin",
        b"xtenant",
    }


def test_the_field_that_carries_the_requests_token_is_not_removed_with_the_others() -> None:
    assert fold(b"X-Guest-Token") not in owned(IdentityMap(), Fields(), extra=("X-Guest-Token",))


@pytest.mark.parametrize(
    "header", ["X-Guest-Token", "XGuest-Token", "x-guest-assertion", "X-Guest-Token-Expires-In"]
)
def test_an_identity_field_may_not_carry_a_token(header: str) -> None:
    with pytest.raises(ConfigError, match=r"headers\.identity"):
        owned(IdentityMap({"sub": header}), Fields())


@pytest.mark.parametrize(
    "header",
    [
        "",
        "-",
        "X Guest",
        "X_Guest",
        "X.Guest",
        "X-Gäst",
        "X-Guest\n",
        "X-Guest:",
        "Host",
        "connection",
        "Content-Length",
        "ContentLength",
        "Transfer-Encoding",
        "Proxy-Connection",
        "Cookie",
        "Authorization",
        "X-Forwarded-For",
    ],
)
def test_a_field_that_cannot_carry_an_identity_is_a_config_error(header: str) -> None:
    with pytest.raises(ConfigError, match=r"headers\.identity"):
        IdentityMap({"sub": header})


def test_two_fields_that_a_backend_reads_as_one_are_a_config_error() -> None:
    with pytest.raises(ConfigError, match="twice"):
        IdentityMap({"sub": "X-Guest-Id", "name": "XGuest-ID"})


def test_a_map_does_not_follow_its_callers_dict() -> None:
    mine = {"sub": "X-User"}
    identity_map = IdentityMap(mine)
    mine["name"] = "Host"
    assert identity_map.headers == {"sub": "X-User"}
    assert identity_map.pairs == (("sub", b"x-user"),)
    assert identity_map == IdentityMap({"sub": "X-User"})


# --- values -----------------------------------------------------------------------------------------------


def test_a_backend_is_told_who_the_guest_is() -> None:
    assert identity_headers(ADA, IdentityMap()) == (
        (b"x-guest-subject", b"guest-1"),
        (b"x-guest-name", b"Ada%20L%C3%B8velace"),
        (b"x-guest-email", b"ada%2Bchat@example.org"),
    )


def test_a_claim_that_is_absent_or_null_gives_no_field() -> None:
    """An empty one does: the issuer said it."""
    assert identity_headers(claims(sub=None, email=""), IdentityMap()) == ((b"x-guest-email", b""),)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, b"true"),
        (False, b"false"),
        (0, b"0"),
        (1.5, b"1.5"),
        ([1, "a"], b"%5B1%2C%22a%22%5D"),
        ({"a": {}}, b"%7B%22a%22:%7B%7D%7D"),
        ("100% a+b;c,d", b"100%25%20a%2Bb%3Bc%2Cd"),
        ("a\r\nSet-Cookie: x", b"a%0D%0ASet-Cookie:%20x"),
        ("\x00", b"%00"),
        ("\ud800", b"%ED%A0%80"),
    ],
)
def test_values_are_percent_encoded_text_or_json(value: Any, text: bytes) -> None:
    assert identity_headers(claims(x=value), IdentityMap({"x": "X-Claim"})) == ((b"x-claim", text),)


_json = st.recursive(
    st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@given(_json)
def test_any_url_decoder_gives_the_claim_back(value: Any) -> None:
    """P19: and until then it is visible ASCII on one line, whatever the guest calls itself."""
    ((_, encoded),) = identity_headers(claims(x=value), IdentityMap({"x": "X-Claim"}))
    text = encoded.decode("ascii")
    assert text.isprintable()
    assert " " not in text
    assert unquote(text) == unquote_plus(text)
    assert (unquote(text) if isinstance(value, str) else json.loads(unquote(text))) == value
