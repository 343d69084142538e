import pytest
from hypothesis import given
from hypothesis import strategies as st

from guestpass.core.forwarded import Trust, parse_networks
from guestpass.core.framing import NO_BODY, UNKNOWN
from guestpass.core.model import Header
from guestpass.core.request_head import ProxyRules, RequestHead, is_target, request_head
from guestpass.errors import RequestInvalid

RULES = ProxyRules(authority=b"backend:9000")
TRUSTING = ProxyRules(authority=b"backend:9000", trust=Trust(parse_networks(["10.0.0.0/8"], field="f")))
HOST: Header = (b"host", b"a.example")


def head(
    *headers: Header,
    method: str = "GET",
    target: bytes = b"/",
    rules: ProxyRules = RULES,
    http_version: str = "1.1",
    peer: str | None = "192.0.2.1",
) -> RequestHead:
    return request_head(method, target, headers, rules, http_version=http_version, scheme="http", peer=peer)


def lines(written: RequestHead) -> list[bytes]:
    assert written.start.endswith(b"\r\n")
    return written.start.split(b"\r\n")[:-1]


def test_a_head_is_the_request_line_host_end_to_end_fields_and_where_it_came_from() -> None:
    written = head(
        (b"accept", b"*/*"), HOST, (b"x-a", b"1"), (b"te", b"trailers"), (b"x-a", b"2"), target=b"/a%2fb?c"
    )
    assert lines(written) == [
        b"GET /a%2fb?c HTTP/1.1",
        b"host: a.example",
        b"accept: */*",
        b"x-a: 1",
        b"x-a: 2",
        b"forwarded: for=192.0.2.1;host=a.example;proto=http",
        b"x-forwarded-proto: http",
        b"x-forwarded-for: 192.0.2.1",
        b"x-forwarded-host: a.example",
    ]
    assert written.length == NO_BODY


@pytest.mark.parametrize("method", ["CONNECT", "TRACE", "", "GE T", "GET\r\n", "G" * 65, "G\u00c4T"])
def test_a_method_that_is_no_request_is_refused(method: str) -> None:
    with pytest.raises(RequestInvalid):
        head(HOST, method=method)


@pytest.mark.parametrize("method", ["GET", "PROPFIND", "M-SEARCH", "azAZ09!#$%&'*+.^_`|~-"])
def test_other_methods_pass(method: str) -> None:
    assert lines(head(HOST, method=method))[0] == method.encode() + b" / HTTP/1.1"


@pytest.mark.parametrize(
    "target",
    [b"", b"*", b"a", b"http://x/", b"/a b", b"/a\r\nx: y", b"/\x00", b"/\x7f", b"/a#b", b"/?#", b"/\t"],
)
def test_a_target_that_breaks_or_leaves_the_request_line_is_refused(target: bytes) -> None:
    with pytest.raises(RequestInvalid):
        head(HOST, target=target)


@pytest.mark.parametrize("octet", [*range(0x21, 0x23), *range(0x24, 0x7F), *range(0x80, 0x100)])
def test_a_target_may_hold_every_octet_that_neither_ends_nor_cuts_it(octet: int) -> None:
    target = b"/a" + bytes([octet]) + b"b"
    assert is_target(target)
    assert lines(head(HOST, target=target))[0] == b"GET " + target + b" HTTP/1.1"


@pytest.mark.parametrize("target", [b"/a b", b"/a#b", b"/a\x7fb", b"a", b""])
def test_what_a_target_may_not_hold_is_no_target(target: bytes) -> None:
    assert not is_target(target)


@pytest.mark.parametrize(
    ("scheme", "told"), [("http", b"http"), ("https", b"https"), ("ws", b"http"), ("wss", b"https")]
)
def test_a_backend_is_told_whether_the_clients_side_is_encrypted(scheme: str, told: bytes) -> None:
    written = request_head("GET", b"/", [HOST], RULES, http_version="1.1", scheme=scheme, peer="192.0.2.1")
    assert b"x-forwarded-proto: " + told in lines(written)


@given(st.binary(max_size=60))
def test_whatever_the_target_it_stays_one_word_on_one_line(target: bytes) -> None:
    try:
        written = head(HOST, target=target)
    except RequestInvalid:
        return
    assert lines(written)[0].split(b" ") == [b"GET", target, b"HTTP/1.1"]


@pytest.mark.parametrize("octets", [b"\r\nx-guest-subject: root", b"\n", b"\r", b"\0"])
@pytest.mark.parametrize("around", [(b"", b""), (b"a", b"b")])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_value_with_a_line_break_or_nul_is_refused(
    octets: bytes, around: tuple[bytes, bytes], place: int
) -> None:
    fields = [HOST, (b"x-a", b"1"), (b"cookie", b"2"), (b"x-guest-subject", b"3")]
    fields[place + 1] = (fields[place + 1][0], octets.join(around))
    with pytest.raises(RequestInvalid, match="a field holds a line break or NUL"):
        head(*fields)


_BREAKING = st.lists(st.sampled_from([b"a", b":", b" ", b"\r", b"\n", b"\r\n", b"\0"]), max_size=8).map(
    b"".join
)


@given(_BREAKING, _BREAKING)
def test_no_value_becomes_a_line_of_its_own(first: bytes, second: bytes) -> None:
    usual = lines(head(HOST, (b"x-a", b"1"), (b"x-b", b"2")))
    try:
        written = head(HOST, (b"x-a", first), (b"x-b", second))
    except RequestInvalid:
        assert any(char in first + second for char in b"\r\n\0")
        return
    assert len(lines(written)) == len(usual)
    assert lines(written)[2] == b"x-a: " + first


@pytest.mark.parametrize("hosts", [[b"a", b"a"], [b""], [b"a/b"], []])
def test_http_1_1_names_exactly_one_valid_host(hosts: list[bytes]) -> None:
    with pytest.raises(RequestInvalid):
        head(*((b"host", host) for host in hosts))


def test_http_1_0_may_go_without_a_host_and_gets_the_backends() -> None:
    written = lines(head(http_version="1.0"))
    assert written[1] == b"host: backend:9000"
    assert not any(line.startswith(b"x-forwarded-host") for line in written)


def test_a_host_that_is_not_preserved_is_still_told() -> None:
    written = lines(head(HOST, rules=ProxyRules(authority=b"backend:9000", preserve_host=False)))
    assert written[1] == b"host: backend:9000"
    assert b"x-forwarded-host: a.example" in written


def test_connection_drops_what_it_lists_and_nothing_that_we_set() -> None:
    written = lines(
        head(
            HOST,
            (b"connection", b"host, x-a, x-forwarded-for, forwarded"),
            (b"x-a", b"1"),
            (b"x-b", b"2"),
            (b"content-length", b"3"),
            (b"connection", b"content-length"),
        )
    )
    assert b"host: a.example" in written
    assert b"x-forwarded-for: 192.0.2.1" in written
    assert b"x-b: 2" in written
    assert b"x-a: 1" not in written


@pytest.mark.parametrize(
    ("field", "length"), [((b"content-length", b"3"), 3), ((b"transfer-encoding", b"chunked"), UNKNOWN)]
)
def test_framing_is_read_and_not_copied(field: Header, length: int) -> None:
    written = head(HOST, field)
    assert written.length == length
    assert field[0] not in written.start


FROM_A_PROXY: list[Header] = [
    HOST,
    (b"x-forwarded-for", b"6.6.6.6, 203.0.113.9"),
    (b"x-forwarded-proto", b"https"),
    (b"x-forwarded-host", b"public.example"),
    (b"x-forwarded-port", b"443"),
    (b"forwarded", b"for=6.6.6.6"),
]


def test_a_trusted_peer_may_say_where_a_request_came_from() -> None:
    assert lines(head(*FROM_A_PROXY, rules=TRUSTING, peer="10.0.0.1"))[1:] == [
        b"host: a.example",
        b"x-forwarded-port: 443",
        b"forwarded: for=203.0.113.9;host=public.example;proto=https, for=10.0.0.1",
        b"x-forwarded-proto: https",
        b"x-forwarded-for: 203.0.113.9, 10.0.0.1",
        b"x-forwarded-host: public.example",
    ]


def test_a_trusted_peer_that_says_nothing_is_the_client() -> None:
    written = lines(head(HOST, rules=TRUSTING, peer="10.0.0.1"))
    assert b"forwarded: for=10.0.0.1;host=a.example;proto=http" in written


@pytest.mark.parametrize("peer", ["192.0.2.1", None])
def test_a_stranger_may_not(peer: str | None) -> None:
    written = head(*FROM_A_PROXY, rules=TRUSTING, peer=peer)
    for invented in (b"6.6.6.6", b"203.0.113.9", b"https", b"public.example", b"443"):
        assert invented not in written.start
