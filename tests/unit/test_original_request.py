"""The request that a proxy asks about: read by that proxy's convention, or not at all."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guestpass.core.identity import fold
from guestpass.core.model import Header
from guestpass.core.original_request import CONVENTIONS, Original, OwnedNames, original
from guestpass.core.paths import unambiguous
from guestpass.errors import RequestInvalid

NGINX, CADDY, ENVOY = (CONVENTIONS[name] for name in ("nginx", "caddy", "envoy"))


def asked(method: bytes = b"POST", target: bytes = b"/chat?room=1") -> list[Header]:
    return [(b"x-original-method", method), (b"x-original-uri", target)]


def test_each_proxy_is_read_by_its_own_fields_only() -> None:
    """A field that this proxy does not set is the client's own."""
    both = [*asked(), (b"x-forwarded-method", b"OPTIONS"), (b"x-forwarded-uri", b"/public/x")]
    assert original(NGINX, both, method="GET", behind=b"") == Original("POST", b"/chat", "/chat", b"room=1")
    assert original(CADDY, both, method="GET", behind=b"") == Original(
        "OPTIONS", b"/public/x", "/public/x", b""
    )
    assert original(ENVOY, both, method="PUT", behind=b"/x?y=1") == Original("PUT", b"/x", "/x", b"y=1")


@pytest.mark.parametrize(
    "headers",
    [
        [],
        asked()[:1],
        asked()[1:],
        [*asked(), *asked()[:1]],
        [*asked(), *asked()[1:]],
        [*asked(), (b"X-Original-URI", b"/chat?room=1")],
        asked(method=b""),
        asked(method=b"GET /"),
        asked(method=b"G\xc9T"),
        asked(method=b"G" * 33),
    ],
)
def test_what_is_missing_or_said_twice_or_no_method_is_refused(headers: list[Header]) -> None:
    with pytest.raises(RequestInvalid):
        original(NGINX, headers, method="GET", behind=b"")


def test_names_are_compared_without_case() -> None:
    headers = [(name.upper(), value) for name, value in asked()]
    assert original(NGINX, headers, method="GET", behind=b"").raw_path == b"/chat"


def test_a_longer_path_of_ours_is_not_taken_for_the_original() -> None:
    with pytest.raises(RequestInvalid):
        original(NGINX, asked(), method="GET", behind=b"/public/x")
    assert original(NGINX, asked(), method="GET", behind=b"?x").path == "/chat"


@pytest.mark.parametrize(
    "target", [b"", b"*", b"chat", b"http://evil.example/public/x", b"/%ff", b"/%2e%2e/x"]
)
def test_what_is_no_path_or_no_utf8_is_left_to_be_refused_as_ambiguous(target: bytes) -> None:
    found = original(NGINX, asked(target=target), method="GET", behind=b"")
    assert not unambiguous(found.raw_path, found.path)


@given(st.binary(max_size=200))
def test_any_target_is_read_or_refused(target: bytes) -> None:
    found = original(ENVOY, [], method="GET", behind=target)
    assert found.raw_path + (b"?" + found.query if b"?" in target else b"") == target


NAMES = OwnedNames(
    [fold(b"x-guest-subject"), fold(b"x-guest-token-expires-at")],
    overwritten=[b"x-guest-subject"],
    token="X-Guest-Token",
)


@pytest.mark.parametrize(
    "name", [b"x-guest-subject", b"X-Guest-Subject", b"X-GUEST-TOKEN", b"x-guest", b"accept"]
)
def test_a_name_that_the_proxy_overwrites_or_that_is_not_ours_may_stand(name: bytes) -> None:
    NAMES.check([(name, b"")])


@pytest.mark.parametrize(
    "name",
    [
        b"X_Guest_Subject",
        b"x-guest_subject",
        b"x.guest.subject",
        b"X_GUEST-TOKEN",
        b"x-guest-token-expires-at",
    ],
)
def test_a_name_that_only_the_proxy_could_take_out_is_refused(name: bytes) -> None:
    with pytest.raises(RequestInvalid) as refused:
        NAMES.check([(b"host", b"x"), (name, b"")])
    assert name.decode() not in str(refused.value)


def test_without_a_token_field_of_its_own_none_is_ours() -> None:
    OwnedNames([], overwritten=[], token=None).check([(b"x-guest-token", b"")])
