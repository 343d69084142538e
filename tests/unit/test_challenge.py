import pytest
from hypothesis import given
from hypothesis import strategies as st

from guestpass.core.challenge import challenge
from guestpass.errors import (
    ClaimInvalid,
    ConfigError,
    SignatureInvalid,
    TokenAmbiguous,
    TokenError,
    TokenExpired,
    TokenMissing,
)


@pytest.mark.parametrize(
    "error", [SignatureInvalid(), ClaimInvalid("aud", "does not name us"), TokenExpired("why")]
)
def test_every_bad_token_gets_the_same_challenge(error: TokenError) -> None:
    assert challenge(error, realm="guest") == b'Bearer realm="guest", error="invalid_token"'


def test_a_missing_token_is_no_error() -> None:
    """RFC 6750 §3.1: without authentication information no error code should be said."""
    assert challenge(TokenMissing(), realm="guest") == b'Bearer realm="guest"'


def test_two_tokens_are_a_bad_request() -> None:
    assert challenge(TokenAmbiguous(), realm="guest") == b'Bearer realm="guest", error="invalid_request"'


def test_quotes_and_backslashes_are_escaped() -> None:
    assert challenge(TokenMissing(), realm='a "b" \\c') == rb'Bearer realm="a \"b\" \\c"'


@given(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1))
def test_a_realm_is_read_back_as_it_was_written(realm: str) -> None:
    """RFC 9110 §5.6.4: a quoted string ends at the first quote that no backslash stands before."""
    value = challenge(TokenMissing(), realm=realm).decode("ascii")
    quoted = iter(value.removeprefix('Bearer realm="'))
    read = []
    for character in quoted:
        if character == '"':
            break
        read.append(next(quoted) if character == "\\" else character)
    assert "".join(read) == realm
    assert next(quoted, None) is None


@pytest.mark.parametrize("realm", ["", "a\r\nSet-Cookie: b", "a\n", "\0", "\t", "\x7f", "zoë", "名"])
def test_a_realm_that_is_no_quoted_string_is_a_configuration_error(realm: str) -> None:
    with pytest.raises(ConfigError):
        challenge(TokenMissing(), realm=realm)
