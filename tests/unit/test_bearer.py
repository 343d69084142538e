"""One token per request, from one pass over its fields; what only we may set never gets through."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guestpass.core.bearer import (
    SUBPROTOCOL_NAME,
    SUBPROTOCOL_PREFIX,
    Sieve,
    Sources,
    split_query,
    split_subprotocols,
)
from guestpass.core.identity import fold
from guestpass.core.model import Header
from guestpass.errors import ConfigError, TokenAmbiguous

OWNED = frozenset({fold(b"x-guest-subject"), fold(b"x-guest-token-expires-at")})
EVERYWHERE = Sources(bearer=True, cookie="guest", query="guest_token")
TOKEN = b"aaa.bbb.ccc"
HEADER = (b"x-guest-token", TOKEN)
OTHER = (b"accept", b"*/*")


def sieve(sources: Sources = EVERYWHERE, *, forward_token: bool = False) -> Sieve:
    return Sieve(sources, owned=OWNED, forward_token=forward_token)


def token_of(
    *headers: Header, sources: Sources = EVERYWHERE, elsewhere: tuple[bytes, ...] = ()
) -> bytes | None:
    token = sieve(sources).sift(headers).token(*elsewhere)
    return None if token is None else token.compact


def left_of(*headers: Header, sources: Sources = EVERYWHERE, forward_token: bool = False) -> list[Header]:
    return sieve(sources, forward_token=forward_token).sift(headers).headers


@pytest.mark.parametrize(
    "header",
    [
        HEADER,
        (b"X-Guest-Token", TOKEN),
        (b"authorization", b"Bearer " + TOKEN),
        (b"authorization", b"bEARER   " + TOKEN),
        (b"cookie", b"a=1; guest=" + TOKEN + b"; b=2"),
        (b"cookie", b'guest="' + TOKEN + b'"'),
        (b"cookie", b" guest=" + TOKEN + b" ;b=2"),
        (b"sec-websocket-protocol", b"chat, guestpass.token." + TOKEN),
    ],
)
def test_a_token_is_found_in_each_source(header: Header) -> None:
    assert token_of(OTHER, header) == TOKEN


@pytest.mark.parametrize("before", [b"Authorization: Bearer ", b'Cookie: guest="', b"Cookie: guest="])
def test_only_blanks_and_quotes_around_a_token_are_not_part_of_it(before: bytes) -> None:
    name, _, value = before.partition(b": ")
    assert token_of((name, value + b"x.y.x" + value[7:])) == b"x.y.x" + value[7:].strip(b' "')


@pytest.mark.parametrize(
    "header",
    [
        HEADER,
        (b"authorization", b"Bearer " + TOKEN),
        (b"cookie", b"guest=" + TOKEN),
        (b"sec-websocket-protocol", b"guestpass.token." + TOKEN),
    ],
)
def test_a_source_that_is_off_is_not_read_and_its_token_goes_on_as_any_field(header: Header) -> None:
    nowhere = Sources(header=None, subprotocol=False)
    assert token_of(header, sources=nowhere) is None
    assert left_of(header, sources=nowhere) == [header]


def test_by_default_only_the_header_and_the_subprotocol_are_read() -> None:
    default = Sources()
    assert token_of(HEADER, sources=default) == TOKEN
    assert token_of((b"authorization", b"Bearer " + TOKEN), sources=default) is None
    assert token_of((b"cookie", b"guest=" + TOKEN), sources=default) is None


@pytest.mark.parametrize(
    ("header", "left"),
    [
        (HEADER, []),
        ((b"authorization", b"Bearer " + TOKEN), []),
        ((b"cookie", b"a=1; guest=" + TOKEN + b";b=2"), [(b"cookie", b"a=1; b=2")]),
        ((b"cookie", b"guest=" + TOKEN), []),
        (
            (b"sec-websocket-protocol", b"chat,guestpass.token." + TOKEN),
            [(b"sec-websocket-protocol", b"chat")],
        ),
        ((b"sec-websocket-protocol", b"guestpass.token." + TOKEN), []),
        (
            (b"sec-websocket-protocol", b"a, guestpass.token." + TOKEN + b",b"),
            [(b"sec-websocket-protocol", b"a, b")],
        ),
    ],
)
def test_the_token_is_taken_out_and_nothing_else(header: Header, left: list[Header]) -> None:
    assert left_of(OTHER, header) == [OTHER, *left]
    assert left_of(OTHER, header, forward_token=True) == [OTHER, header]


@pytest.mark.parametrize(
    "header",
    [
        (b"authorization", b"Basic dXNlcjpwYXNz"),
        (b"cookie", b"a=1;  b=2"),
        (b"cookie", b"xguest=1; guestx=2"),
        (b"sec-websocket-protocol", b"chat,  superchat"),
        (b"connection", b"keep-alive, X-Other"),
        (b"connection", b""),
        (b"origin", b"https://shop.example"),
    ],
)
def test_a_field_without_a_token_goes_on_byte_for_byte(header: Header) -> None:
    assert left_of(header) == [header]


@pytest.mark.parametrize(
    "headers",
    [
        [HEADER, HEADER],
        [HEADER, (b"x-guest-token", b"ddd.eee.fff")],
        [HEADER, (b"authorization", b"Bearer ddd.eee.fff")],
        [HEADER, (b"cookie", b"guest=ddd.eee.fff")],
        [(b"cookie", b"guest=" + TOKEN), (b"cookie", b"guest=" + TOKEN)],
        [(b"cookie", b"guest=a; guest=b")],
        [(b"authorization", b"Bearer a"), (b"authorization", b"Bearer a")],
        [(b"sec-websocket-protocol", b"guestpass.token.a, guestpass.token.b")],
    ],
)
def test_two_tokens_are_an_error_and_never_a_choice(headers: list[Header]) -> None:
    with pytest.raises(TokenAmbiguous):
        token_of(*headers)


def test_one_token_in_two_sources_is_one_token() -> None:
    assert token_of(HEADER, (b"cookie", b"guest=" + TOKEN)) == TOKEN
    assert token_of(HEADER, elsewhere=(TOKEN,)) == TOKEN
    assert token_of(elsewhere=(TOKEN,)) == TOKEN


def test_a_token_outside_the_fields_that_differs_is_ambiguous() -> None:
    with pytest.raises(TokenAmbiguous):
        token_of(HEADER, elsewhere=(b"other",))


def test_no_token_is_none_and_an_empty_one_is_a_token() -> None:
    assert token_of(OTHER) is None
    assert token_of((b"x-guest-token", b"")) == b""


@pytest.mark.parametrize(
    "name",
    [
        b"x-guest-subject",
        b"X-Guest-Subject",
        b"x_guest_subject",
        b"X-Guest_SUBJECT",
        b"x.guest.subject",
        b"xguestsubject",
        b"x-guest-subject ",
        b"x~guest!subject",
        b"x_guest_token",
        b"x-guest-token_expires-at",
    ],
)
def test_a_name_that_some_reader_takes_for_ours_never_passes(name: bytes) -> None:
    """P1: WSGI, CGI and PHP fold names, so `X_Guest_Subject` is `X-Guest-Subject` to them."""
    assert left_of((name, b"forged"), OTHER, (name, b"twice")) == [OTHER]


def test_only_the_exact_field_is_a_source() -> None:
    assert token_of((b"x_guest_token", TOKEN)) is None


@pytest.mark.parametrize(
    ("value", "left"),
    [
        (b"x-guest-subject", []),
        (b"keep-alive, X_Guest-Subject", [(b"connection", b"keep-alive")]),
        (b"x-guest-token,close", [(b"connection", b"close")]),
        (b"a, X-GUEST-SUBJECT,\x0bx-guest-token, b", [(b"connection", b"a, b")]),
    ],
)
def test_a_client_cannot_have_our_fields_removed_as_hop_by_hop(value: bytes, left: list[Header]) -> None:
    """P4: a proxy drops what `Connection` names, so our names are taken out of it first."""
    assert left_of((b"connection", value)) == left


def test_what_a_cross_origin_request_needs_is_seen_on_the_way() -> None:
    sifted = sieve().sift([(b"origin", b"https://a.example"), (b"access-control-request-method", b"PUT")])
    assert sifted.origin == b"https://a.example"
    assert sifted.preflight_method
    assert len(sifted.headers) == 2
    assert not sieve().sift([OTHER]).preflight_method


def test_names_that_a_client_invents_are_not_remembered_without_end() -> None:
    one = sieve()
    one.sift([(b"y" * length, b"") for length in (64, 65, 5000)])
    assert list(map(len, one._kinds)) == [64]
    one.sift([(b"x-%d" % n, b"") for n in range(5000)])
    assert len(one._kinds) == 512
    assert one.sift([(b"x-guest-subject", b"forged")]).headers == []


USUAL = [
    OTHER,
    HEADER,
    (b"X-Guest-Token", b"another"),
    (b"origin", b"https://a.example"),
    (b"connection", b"keep-alive"),
    (b"connection", b"Keep-Alive"),
    (b"connection", b"close"),
    (b"x_guest_subject", b"forged"),
    (b"x_guest_subject", b"close"),  # a value that is harmless elsewhere
    (b"via", b"x-guest-token"),  # a value that is a name elsewhere
]
UNUSUAL = [
    (b"connection", b"x-guest-subject"),
    (b"authorization", b"Bearer " + TOKEN),
    (b"cookie", b"guest=" + TOKEN),
    (b"access-control-request-method", b"PUT"),
    (b"sec-websocket-protocol", b"guestpass.token." + TOKEN),
]
UNUSUAL_SET = frozenset(UNUSUAL)


@pytest.mark.parametrize("forward", [False, True])
@pytest.mark.parametrize("count", range(4))
def test_the_short_way_finds_what_the_long_one_does_or_nothing(count: int, forward: bool) -> None:
    """What it gives up is only what it was not made for: two tokens, another source, a forwarded token."""
    for headers in product(USUAL + UNUSUAL, repeat=count):
        one = sieve(forward_token=forward)
        short, sifted = one.sift_usual(headers), one.sift(headers)
        usual = len(sifted.tokens) == 1 and not forward and UNUSUAL_SET.isdisjoint(headers)
        assert (short is not None) == usual
        if short is not None:
            assert short == (sifted.headers, sifted.tokens[0][1], sifted.origin)


def test_a_token_is_not_forwarded_unless_asked_for() -> None:
    assert Sieve(Sources(), owned=()).sift([HEADER]).headers == []


def test_the_list_of_fields_is_the_callers_own() -> None:
    headers = [OTHER]
    sieve().sift(headers).headers.append((b"x-guest-subject", b"ours"))
    assert headers == [OTHER]


@given(st.lists(st.tuples(st.binary(max_size=30), st.binary(max_size=40)), max_size=20))
def test_whatever_comes_in_nothing_owned_comes_out(headers: list[Header]) -> None:
    for name, _ in left_of(*headers):
        assert fold(name.lower()) not in OWNED


@given(st.lists(st.sampled_from([OTHER, HEADER, (b"a", b"1"), (b"b", b"2")]), max_size=12))
def test_what_is_kept_keeps_its_order(headers: list[Header]) -> None:
    assert left_of(*headers) == [header for header in headers if header != HEADER]


def test_subprotocols_and_queries_give_up_their_tokens() -> None:
    assert split_subprotocols(["chat", " guestpass.token.a.b.c "]) == ([b"a.b.c"], ["chat"])
    assert split_query(b"x=1&guest_token=a.b.c&y=%20", "guest_token") == ([b"a.b.c"], b"x=1&y=%20")
    assert split_query(b"guest_token=a&guest_token=b", "guest_token") == ([b"a", b"b"], b"")
    assert split_query(b"xguest_token=a", "guest_token") == ([], b"xguest_token=a")


def test_the_names_that_the_browsers_script_offers() -> None:
    assert (SUBPROTOCOL_NAME, SUBPROTOCOL_PREFIX) == ("guestpass", "guestpass.token.")


@pytest.mark.parametrize("character", "!#$%&'*+-.^_`|~09azAZ")
def test_every_character_of_a_token_may_stand_in_a_name(character: str) -> None:
    """RFC 9110 §5.6.2: a false refusal is a fault too."""
    assert Sources(cookie=character).cookie == character


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("header", "X Guest"),
        ("header", ""),
        ("header", "Authorization"),
        ("header", "Cookie"),
        ("cookie", "a;b"),
        ("query", "a=b"),
    ],
)
def test_a_source_that_cannot_be_is_refused_at_start(field: str, value: str) -> None:
    with pytest.raises(ConfigError, match=f"headers.{field}"):
        Sources(**{field: value})  # type: ignore[arg-type]  # that is the point


@pytest.mark.parametrize(
    ("fields", "ambient"),
    [
        ([(b"cookie", b"guest=" + TOKEN)], True),
        ([(b"x-guest-token", TOKEN)], False),
        ([(b"cookie", b"guest=" + TOKEN), (b"x-guest-token", TOKEN)], False),
    ],
    ids=["a cookie alone", "a field", "both"],
)
def test_a_token_is_ambient_where_a_cookie_alone_holds_it(fields: list[Header], ambient: bool) -> None:
    """A browser sends a cookie for any page; whoever also says the token in a field knows it (CSWSH)."""
    sieve = Sieve(Sources(cookie="guest"), owned=OWNED)
    assert sieve.sift(fields).ambient is ambient
