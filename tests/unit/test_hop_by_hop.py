import pytest
from hypothesis import given
from hypothesis import strategies as st

from guestpass.core.hop_by_hop import (
    Kind,
    RequestKinds,
    ResponseNames,
    connection_options,
    fold,
    request_kind,
    response_kind,
)

HOP_BY_HOP = [
    b"connection",
    b"keep-alive",
    b"proxy-authenticate",
    b"proxy-authorization",
    b"proxy-connection",
    b"te",
    b"trailer",
    b"transfer-encoding",
    b"upgrade",
    b"http2-settings",
]


@pytest.mark.parametrize("name", HOP_BY_HOP)
def test_no_hop_by_hop_field_goes_end_to_end(name: bytes) -> None:
    assert request_kind(name) is not None
    assert response_kind(name) is not None


@pytest.mark.parametrize(
    "name",
    [
        *HOP_BY_HOP,
        b"host",
        b"content-length",
        b"forwarded",
        b"expect",
        b"proxy",
        b"x-forwarded-for",
        b"x-forwarded-proto",
        b"x-forwarded-anything",
        b"x-real-ip",
        b"x-original-url",
        b"x-rewrite-url",
        b"x-http-method-override",
    ],
)
@pytest.mark.parametrize("instead", [bytes((octet,)) for octet in b"_. ~!+#|"])
def test_a_disguise_of_a_field_that_ends_here_is_dropped(name: bytes, instead: bytes) -> None:
    """A WSGI or PHP backend reads `x_forwarded_for` as `x-forwarded-for`; lighttpd `x~forwarded!for`, too."""
    disguise = name.replace(b"-", instead)
    assert disguise == name or request_kind(disguise) is Kind.DROPPED


@pytest.mark.parametrize("name", [b"x-http-method-override", b"x-http-method", b"x-method-override"])
def test_no_field_tells_a_backend_of_another_method_than_the_rules_saw(name: bytes) -> None:
    """P11: a backend that heeds it would take for DELETE what passed a rule for POST."""
    assert request_kind(name) is Kind.DROPPED


@pytest.mark.parametrize(
    "name",
    [b"x-guest-subject:root", b"a b", b"a\tb", b"a:", b"", b"caf\xc3\xa9", b"a\x00", b"a\r\nb", b"a(b)"],
)
def test_a_name_that_is_none_goes_to_no_backend(name: bytes) -> None:
    """HTTP/2 can carry it; in HTTP/1.1 the colon would end the name, and forge a field of ours (P1)."""
    assert request_kind(name) is Kind.DROPPED


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        (b"host", Kind.HOST),
        (b"connection", Kind.CONNECTION),
        (b"content-length", Kind.CONTENT_LENGTH),
        (b"transfer-encoding", Kind.TRANSFER_ENCODING),
        (b"x-forwarded-for", Kind.FORWARDED_FOR),
        (b"x-forwarded-host", Kind.FORWARDED_HOST),
        (b"x-forwarded-proto", Kind.FORWARDED_PROTO),
        (b"x-forwarded-port", Kind.VOUCHED),
        (b"x-real-ip", Kind.VOUCHED),
        (b"x-original-url", Kind.VOUCHED),
        (b"forwarded", Kind.DROPPED),
        (b"expect", Kind.DROPPED),
        (b"proxy", Kind.DROPPED),
    ],
)
def test_fields_that_the_head_is_written_from_have_their_own_kind(name: bytes, kind: Kind) -> None:
    assert request_kind(name) is kind


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        (b"connection", Kind.CONNECTION),
        (b"content-length", Kind.CONTENT_LENGTH),
        (b"transfer-encoding", Kind.TRANSFER_ENCODING),
        (b"keep-alive", Kind.DROPPED),
        (b"host", None),
    ],
)
def test_what_a_response_is_framed_by_has_its_own_kind(name: bytes, kind: Kind | None) -> None:
    assert response_kind(name) is kind


@pytest.mark.parametrize(
    "name", [b"accept", b"authorization", b"cookie", b"x-guest-subject", b"proxied", b"x-forwarded", b"tea"]
)
def test_every_other_field_goes_end_to_end(name: bytes) -> None:
    assert request_kind(name) is None
    assert response_kind(name) is None


def test_a_fold_is_lower_case_with_hyphens() -> None:
    assert fold(b"X_Real.Ip A-b") == b"x-real-ip-a-b"


@given(st.binary(max_size=30))
def test_folding_twice_changes_nothing_more(name: bytes) -> None:
    assert fold(fold(name)) == fold(name)


@pytest.mark.parametrize(
    ("values", "listed"),
    [
        ([], set()),
        ([b"keep-alive"], set()),
        ([b"Keep-Alive"], set()),
        ([b"close"], set()),
        ([b"Close"], set()),
        ([b"upgrade"], set()),
        ([b"Upgrade"], set()),
        ([b"X-A"], {b"x-a"}),
        ([b" x-a ,\tX-B"], {b"x-a", b"x-b"}),
        ([b"close, x-a", b"x-b"], {b"close", b"x-a", b"x-b"}),
        ([b"connection, x-a"], {b"x-a"}),
        ([b"host, Content-Length, transfer-encoding, x-a"], {b"x-a"}),
    ],
)
def test_connection_lists_fields_but_never_host_or_framing(values: list[bytes], listed: set[bytes]) -> None:
    assert connection_options(values) == listed


def test_remembered_kinds_are_the_kinds_and_bounded() -> None:
    kinds = RequestKinds()
    names = [b"host", b"te", *(b"x-%d" % number for number in range(2 * kinds.most))]
    for _ in range(2):
        assert [kinds[name] for name in names] == [request_kind(name) for name in names]
    assert len(kinds) == kinds.most == 1024


def test_remembered_response_names_are_lower_case_and_bounded() -> None:
    names = ResponseNames()
    assert names[b"Content-Type"] == b"content-type"
    assert names[b"Transfer-Encoding"] is None
    assert names[b"CONTENT-LENGTH"] is None
    for number in range(2 * names.most):
        assert names[b"X-%d" % number] == b"x-%d" % number
    assert len(names) == names.most == 1024


@pytest.mark.parametrize("character", "!#$%&'*+.^_`|~-09azAZ")
def test_every_character_of_a_field_name_may_stand_in_one(character: str) -> None:
    """RFC 9110 §5.1: what is legal and none of ours goes end to end."""
    assert request_kind(b"legal" + character.encode()) is None
