"""Which origins may read our answers: the configured ones, byte for byte."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guestpass.core.cors import ANY, Cors
from guestpass.errors import ConfigError

GOOD = b"https://good.example"
CORS = Cors(frozenset({"https://good.example", "http://localhost:3000"}))
OPEN = Cors(frozenset({ANY}))
STRANGERS = [
    b"",
    b"null",
    b"*",
    b"https://good.example.evil",
    b"https://evil.good.example",
    b"https://evilgood.example",
    b"https://goodXexample",
    b"https://good.example:444",
    b"https://good.example:443",
    b"https://good.example/",
    b"https://good.example.",
    b"https://GOOD.example",
    b"http://good.example",
    b"https://good.example@evil.example",
    b"https://good.example, https://evil.example",
    b" https://good.example",
    b"https://good.example\n",
    b"https://good.example\x00.evil.example",
    b"http://localhost",
    b"http://localhost:30000",
    "https://góod.example".encode(),
    b"\xff",
]


def value(fields: tuple[tuple[bytes, bytes], ...], name: bytes) -> bytes:
    (only,) = (text for key, text in fields if key == name)
    return only


# --- configuration ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "origin",
    [
        "https://good.example",
        "https://a-b.good.example:8443",
        "http://127.0.0.1:3000",
        "http://[::1]:3000",
        "https://xn--gd-5ja.example",
        "https://under_score.example",
        "capacitor://localhost",
        "chrome-extension://abcdefghijklmnop",
        "https://good.example:80",
        "http://good.example:65535",
    ],
)
def test_an_origin_as_browsers_send_it_is_taken(origin: str) -> None:
    assert Cors(frozenset({origin})).allows(origin.encode())
    assert OPEN.allows(origin.encode())


@pytest.mark.parametrize(
    "origin",
    [
        "",
        "null",
        "good.example",
        "//good.example",
        "https://",
        "https://good.example/",
        "https://good.example/chat",
        "https://good.example?x",
        "https://good.example#x",
        "https://user@good.example",
        "https://Good.example",
        "HTTPS://good.example",
        "https://good.example:443",
        "http://good.example:80",
        "https://good.example:0",
        "https://good.example:65536",
        "https://good.example:",
        "https://good.example.",
        "https://.good.example",
        "https://*.good.example",
        "https://góod.example",
        "https://good.example\n",
        " https://good.example",
        "https://good.example,https://b.example",
    ],
)
def test_an_origin_that_no_browser_sends_is_a_config_error(origin: str) -> None:
    """It would never match, and the operator would look for the reason in the browser."""
    with pytest.raises(ConfigError, match=r"headers\.cors_origins"):
        Cors(frozenset({origin}))


def test_any_origin_and_credentials_do_not_go_together() -> None:
    with pytest.raises(ConfigError, match="cookie"):
        Cors(frozenset({ANY}), credentials=True)


def test_a_preflight_is_not_remembered_for_less_than_no_time() -> None:
    with pytest.raises(ConfigError, match=r"headers\.cors_max_age"):
        Cors(frozenset(), max_age=-1)


# --- origins ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("origin", STRANGERS)
def test_no_trick_makes_a_stranger_an_allowed_origin(origin: bytes) -> None:
    """P16."""
    assert not CORS.allows(origin)


@given(st.binary(max_size=30) | st.sampled_from(STRANGERS), st.binary(max_size=5))
def test_only_the_configured_bytes_are_allowed(origin: bytes, tail: bytes) -> None:
    configured = {b"https://good.example", b"http://localhost:3000"}
    assert CORS.allows(origin) is (origin in configured)
    assert CORS.allows(GOOD + tail) is (tail == b"")


@pytest.mark.parametrize("origin", [b"null", b"*", b"", b"\xff", b"https://a\r\nX: y", b"https://a b"])
def test_even_any_origin_has_a_name(origin: bytes) -> None:
    """What is echoed is an origin, never a line break; and `null` is anybody in a sandboxed frame."""
    assert not OPEN.allows(origin)


# --- our own answers --------------------------------------------------------------------------------------


def test_an_allowed_origin_is_echoed_and_may_read_what_it_needs() -> None:
    """P15: a page must be able to tell a 401 from a lost network."""
    assert CORS.answer_fields(GOOD, ("X-Guest-Token", "Retry-After")) == (
        (b"vary", b"Origin"),
        (b"access-control-allow-origin", GOOD),
        (b"access-control-expose-headers", b"X-Guest-Token, Retry-After"),
    )


def test_any_origin_is_echoed_too() -> None:
    assert value(OPEN.answer_fields(GOOD), b"access-control-allow-origin") == GOOD


def test_credentials_are_allowed_where_they_are_configured() -> None:
    cors = Cors(frozenset({GOOD.decode()}), credentials=True)
    assert value(cors.answer_fields(GOOD), b"access-control-allow-credentials") == b"true"
    assert b"access-control-allow-credentials" not in dict(CORS.answer_fields(GOOD))


@pytest.mark.parametrize("origin", [None, *STRANGERS])
def test_an_answer_varies_by_origin_even_for_a_stranger(origin: bytes | None) -> None:
    """Else a cache would hand the stranger's answer, without CORS fields, to a page that may read it."""
    assert CORS.answer_fields(origin, ("X-Guest-Token",)) == ((b"vary", b"Origin"),)


def test_without_origins_there_are_no_fields() -> None:
    none = Cors(frozenset())
    assert none.answer_fields(GOOD, ("X-Guest-Token",)) == ()
    assert none.preflight_fields(GOOD, methods=("POST",), headers=()) == ()


# --- preflights -------------------------------------------------------------------------------------------


def test_a_preflight_is_told_what_the_endpoint_takes() -> None:
    fields = CORS.preflight_fields(GOOD, methods=("POST",), headers=("Content-Type", "X-Guest-Token"))
    assert fields == (
        (b"vary", b"Origin"),
        (b"access-control-allow-origin", GOOD),
        (b"access-control-allow-methods", b"POST"),
        (b"access-control-allow-headers", b"Content-Type, X-Guest-Token"),
        (b"access-control-max-age", b"600"),
    )


@pytest.mark.parametrize("origin", [None, b"null", b"https://good.example.evil"])
def test_a_strangers_preflight_is_told_nothing(origin: bytes | None) -> None:
    assert CORS.preflight_fields(origin, methods=("POST",), headers=()) == ((b"vary", b"Origin"),)
