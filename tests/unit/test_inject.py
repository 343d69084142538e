"""What a response carries besides the app's own fields, and what it no longer carries."""

import re
from collections.abc import Callable
from datetime import datetime
from http.cookies import SimpleCookie
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guestpass.core.inject import (
    CookieDelivery,
    Fields,
    expose,
    is_deliverable,
    set_cookie_field,
    token_fields,
    vary,
    with_token,
)
from guestpass.core.model import Header, RawToken, Successor, UnixTime
from guestpass.errors import ConfigError

NOW = UnixTime(1_700_000_000.0)
FIELDS = Fields()
COOKIE = CookieDelivery("__Host-guest")
NOT_VALUES = [
    b"",
    b"a.b.c\r\nSet-Cookie: x=y",
    b"a.b.c\n",
    b"\ra.b.c",
    b"a\x00b",
    b"a\x7fb",
    b"a\x1bb",
    "café".encode(),
    b"a\xff",
    b" a.b.c",
    b"a.b.c ",
    b"a.b.c\t",
]


def successor(compact: bytes = b"a.b.c", expires_in: float = 1800.0) -> Successor:
    return Successor(RawToken(compact), UnixTime(NOW + expires_in), NOW)


INJECTED = token_fields(successor(), fields=FIELDS, now=NOW)


def names(headers: list[Header]) -> list[bytes]:
    return [name.lower() for name, _ in headers]


# --- names ------------------------------------------------------------------------------------------------


def test_the_three_names_derive_from_one() -> None:
    fields = Fields("X-Chat")
    assert fields.names == ("X-Chat", "X-Chat-Expires-At", "X-Chat-Expires-In")
    assert fields.lower == (b"x-chat", b"x-chat-expires-at", b"x-chat-expires-in")


@pytest.mark.parametrize(
    "name", ["", "X Guest", "X-Guest:", "X-Gäst", "X-Guest\r\n", "X-Guest\n", "(x)", "a,b"]
)
def test_a_name_that_is_no_field_name_is_a_config_error(name: str) -> None:
    with pytest.raises(ConfigError, match=r"headers\.token"):
        Fields(name)


@pytest.mark.parametrize("character", "!#$%&'*+-.^_`|~09azAZ")
def test_every_character_of_a_token_may_stand_in_a_name(character: str) -> None:
    """RFC 9110 §5.6.2: a false refusal is a fault too."""
    assert Fields(character).token == CookieDelivery(character).name == character


def test_the_repr_of_the_names_is_what_was_given() -> None:
    assert repr(Fields("X-Chat")) == "Fields(token='X-Chat')"


# --- the successor's fields -------------------------------------------------------------------------------


def test_a_successor_is_three_field_lines() -> None:
    assert INJECTED == (
        (b"x-guest-token", b"a.b.c"),
        (b"x-guest-token-expires-at", b"2023-11-14T22:43:20Z"),
        (b"x-guest-token-expires-in", b"1800"),
    )


@pytest.mark.parametrize(
    ("expires_in", "at", "seconds"),
    [
        (1.0, b"2023-11-14T22:13:21Z", b"1"),
        (1.999, b"2023-11-14T22:13:21Z", b"1"),
        (0.999, b"2023-11-14T22:13:20Z", b"0"),
        (0.0, b"2023-11-14T22:13:20Z", b"0"),
        (-5.0, b"2023-11-14T22:13:15Z", b"0"),
    ],
)
def test_times_are_rounded_down_and_never_negative(expires_in: float, at: bytes, seconds: bytes) -> None:
    _, (_, expires_at), (_, left) = token_fields(successor(expires_in=expires_in), fields=FIELDS, now=NOW)
    assert (expires_at, left) == (at, seconds)


@given(st.floats(0, 4e9), st.floats(0, 4e9))
def test_no_client_is_promised_time_that_is_not_there(exp: float, now: float) -> None:
    given_out = Successor(RawToken(b"a.b.c"), UnixTime(exp), NOW)
    _, (_, at), (_, left) = token_fields(given_out, fields=FIELDS, now=UnixTime(now))
    assert exp - 1 < datetime.fromisoformat(at.decode()).timestamp() <= exp
    assert int(left) <= max(0.0, exp - now)


@pytest.mark.parametrize("compact", NOT_VALUES)
def test_a_token_that_is_no_field_value_never_leaves(compact: bytes) -> None:
    """P19: it could end its line and begin another."""
    with pytest.raises(ValueError, match="not a field value"):
        token_fields(successor(compact), fields=FIELDS, now=NOW)


@pytest.mark.parametrize("octet", range(256))
def test_an_octet_is_a_value_a_cookie_both_or_neither(octet: int) -> None:
    """RFC 9110 §5.5 and RFC 6265 §4.1.1, octet by octet, in the midst of a token."""
    visible = 0x21 <= octet <= 0x7E
    for compact in (b"ab%cab" % octet, b"a%c%ca%cb" % (octet, octet, octet)):
        assert _passes(compact, token_fields, fields=FIELDS) == (visible or octet in b" \t")
        for_cookie = visible and octet not in b'",;\\'
        assert _passes(compact, set_cookie_field, delivery=COOKIE) == for_cookie
        assert is_deliverable(compact) == for_cookie


def _passes(compact: bytes, write: Callable[..., object], **options: object) -> bool:
    try:
        write(successor(compact), now=NOW, **options)
    except ValueError:
        return False
    return True


@given(st.binary(max_size=30))
def test_whatever_passes_stands_on_one_line(compact: bytes) -> None:
    try:
        (_, value), *_ = token_fields(successor(compact), fields=FIELDS, now=NOW)
    except ValueError:
        return
    assert value == compact == compact.strip()
    assert re.fullmatch(rb"[\t\x20-\x7e]+", value)


@pytest.mark.parametrize("exp", [float("inf"), float("nan"), 1e18, 1e12, -1e12])
def test_an_expiry_that_is_no_date_is_a_value_error(exp: float) -> None:
    with pytest.raises(ValueError, match=r".+"):
        token_fields(Successor(RawToken(b"a"), UnixTime(exp), NOW), fields=FIELDS, now=NOW)


# --- the response around it -------------------------------------------------------------------------------


def test_the_apps_token_fields_give_way_to_ours_whatever_their_case() -> None:
    """R15: from a backend that sets them, in mixed case and twice, exactly one line of each is left."""
    app = [
        (b"X-Guest-Token", b"spoof"),
        (b"x-GUEST-token", b"spoof"),
        (b"x-guest-token-expires-at", b"never"),
        (b"X-Guest-Token-Expires-In", b"9999999"),
    ]
    assert with_token(app, INJECTED) == [*INJECTED, (b"cache-control", b"private, no-store")]


@pytest.mark.parametrize(
    "name",
    [
        b"Cache-Control",
        b"ETag",
        b"Last-Modified",
        b"Expires",
        b"Pragma",
        b"Surrogate-Control",
        b"CDN-Cache-Control",
        b"Cloudflare-CDN-Cache-Control",
        b"Netlify-CDN-Cache-Control",
        b"X-Accel-Expires",
        b"Edge-Control",
    ],
)
def test_no_cache_may_keep_a_response_with_a_token(name: bytes) -> None:
    """P17: each of these allows or helps some cache to keep it."""
    for spelling in (name, name.lower(), name.upper()):
        headers = with_token([(spelling, b"public, max-age=3600")], INJECTED)
        assert headers == [*INJECTED, (b"cache-control", b"private, no-store")]


def test_everything_else_stays_in_order_and_line_by_line() -> None:
    app = [
        (b"Content-Type", b"text/html"),
        (b"set-cookie", b"a=1"),
        (b"ETag", b'"x"'),
        (b"set-cookie", b"b=2"),
        (b"X-Guest-Tokens", b"ours only by half"),
        (b"vary", b"accept"),
        (b"x-cache-controls", b"not one"),
        (b"xcache-control", b"nor this"),
    ]
    extra = (vary("X-Guest-Token"),)
    kept = [header for header in app if header[0] != b"ETag"]
    assert with_token(app, INJECTED, extra) == [
        *kept,
        *INJECTED,
        (b"cache-control", b"private, no-store"),
        (b"vary", b"X-Guest-Token"),
    ]


_names = st.sampled_from([b"ETag", b"X-Guest-Token", b"vary", b"Set-Cookie", b"x-a", b"a-cache-control"])


@given(st.lists(st.tuples(_names, st.binary(max_size=3)), max_size=8))
def test_injecting_twice_is_injecting_once(app: list[Header]) -> None:
    once = with_token(app, INJECTED)
    assert with_token(once, INJECTED) == once
    assert all(names(once).count(name) == 1 for name in (*FIELDS.lower, b"cache-control"))


def test_the_apps_headers_are_left_as_they_are() -> None:
    app = [(b"etag", b"x")]
    with_token(app, INJECTED)
    assert app == [(b"etag", b"x")]


def test_vary_and_expose_name_their_fields_one_by_one() -> None:
    assert vary("X-Guest-Token", "Authorization") == (b"vary", b"X-Guest-Token, Authorization")
    assert expose(*FIELDS.names) == (
        b"access-control-expose-headers",
        b"X-Guest-Token, X-Guest-Token-Expires-At, X-Guest-Token-Expires-In",
    )


# --- delivery by cookie -----------------------------------------------------------------------------------


def test_the_cookie_lives_as_long_as_the_token_and_its_grace() -> None:
    delivery = CookieDelivery("guest", same_site="None", path="/chat")
    assert set_cookie_field(successor(), delivery, now=NOW, grace=60.0) == (
        b"set-cookie",
        b"guest=a.b.c; Path=/chat; Max-Age=1860; HttpOnly; Secure; SameSite=None",
    )


@pytest.mark.parametrize("same_site", ["Lax", "Strict", "None"])
def test_each_of_the_three_same_sites_is_written(same_site: Literal["Lax", "Strict", "None"]) -> None:
    _, value = set_cookie_field(successor(), CookieDelivery("a", same_site), now=NOW)
    assert value.endswith(b"; SameSite=" + same_site.encode())


@pytest.mark.parametrize("octet", range(256))
def test_a_cookies_path_is_visible_and_ends_at_a_semicolon(octet: int) -> None:
    path = f"/a{chr(octet)}b"
    if 0x21 <= octet <= 0x7E and path != "/a;b":
        assert CookieDelivery("a", path=path).path == path
    else:
        with pytest.raises(ConfigError):
            CookieDelivery("a", path=path)


def test_a_cookie_reads_back_as_it_was_set() -> None:
    cookie = SimpleCookie(set_cookie_field(successor(), COOKIE, now=NOW)[1].decode())["__Host-guest"]
    assert (cookie.value, cookie["path"], cookie["max-age"]) == ("a.b.c", "/", "1800")
    assert cookie["httponly"]
    assert cookie["secure"]
    assert cookie["samesite"] == "Lax"
    assert not cookie["domain"]


@pytest.mark.parametrize(("expires_in", "max_age"), [(-1.0, b"0"), (float("inf"), b"34560000")])
def test_a_cookies_age_stays_within_what_browsers_keep(expires_in: float, max_age: bytes) -> None:
    _, value = set_cookie_field(successor(expires_in=expires_in), COOKIE, now=NOW)
    assert b"; Max-Age=%s;" % max_age in value


@pytest.mark.parametrize("compact", [*NOT_VALUES, b"a; Domain=evil.example", b"a,b", b'"a"', b"a b", b"a\\b"])
def test_a_token_that_is_no_cookie_value_never_leaves(compact: bytes) -> None:
    with pytest.raises(ValueError, match="not a cookie value"):
        set_cookie_field(successor(compact), COOKIE, now=NOW)


@pytest.mark.parametrize(
    ("name", "same_site", "path", "field"),
    [
        ("", "Lax", "/", "headers.set_cookie"),
        ("a=b", "Lax", "/", "headers.set_cookie"),
        ("a;b", "Lax", "/", "headers.set_cookie"),
        ("a", "lax", "/", "headers.same_site"),
        ("a", "Lax; Domain=x", "/", "headers.same_site"),
        ("a", "Lax", "", "headers.cookie_path"),
        ("a", "Lax", "chat", "headers.cookie_path"),
        ("a", "Lax", "/; Domain=x", "headers.cookie_path"),
        ("a", "Lax", "/\n", "headers.cookie_path"),
        ("__Host-a", "Lax", "/chat", "headers.cookie_path"),
    ],
)
def test_a_cookie_that_browsers_would_not_take_is_a_config_error(
    name: str, same_site: str, path: str, field: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        CookieDelivery(name, same_site, path)  # type: ignore[arg-type]  # as an untyped caller may
    assert caught.value.field == field
