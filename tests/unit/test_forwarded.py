import pytest
from hypothesis import given
from hypothesis import strategies as st

from guestpass.core.forwarded import (
    NOBODY,
    Trust,
    direct_fields,
    forwarding_fields,
    is_host,
    parse_address,
    parse_networks,
    told,
    told_scheme,
)
from guestpass.errors import ConfigError

TRUST = Trust(parse_networks(["10.0.0.0/8", "2001:db8:ffff::/48"], field="f"))


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("203.0.113.9:4711", "203.0.113.9"),
        ("2001:DB8::1", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("[2001:db8::1]:443", "2001:db8::1"),
        ("[2001:DB8::A]:443", "2001:db8::a"),
        ("[::ffff:203.0.113.9]:443", "203.0.113.9"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
    ],
)
def test_one_address_has_one_spelling(text: str, address: str) -> None:
    assert str(parse_address(text)) == address


@pytest.mark.parametrize(
    "text",
    [
        "",
        "unknown",
        "_hidden",
        "1.2.3",
        "1.2.3.4.5",
        "01.2.3.4",
        "1.2.3.4:",
        "1.2.3.4:x",
        "[1.2.3.4",
        "fe80::1%eth0",
        "[::1]]",
        "1.2.3.4 ",
        "\u0661.2.3.4",
        "1.2.3.4\r\nx: y",
        "2001:db8::1:99999",
        "0x7f.1",
    ],
)
def test_what_is_no_address_is_none(text: str) -> None:
    assert parse_address(text) is None


def test_by_default_only_the_socket_counts() -> None:
    assert NOBODY.chain("192.0.2.1", [b"1.2.3.4"]) == ["192.0.2.1"]
    assert not NOBODY.believes("192.0.2.1")


@pytest.mark.parametrize(
    ("peer", "forwarded_for", "chain"),
    [
        ("192.0.2.1", [b"1.2.3.4"], ["192.0.2.1"]),
        ("10.0.0.1", [], ["10.0.0.1"]),
        ("10.0.0.1", [b"203.0.113.9"], ["203.0.113.9", "10.0.0.1"]),
        ("10.0.0.1", [b"6.6.6.6, 203.0.113.9"], ["203.0.113.9", "10.0.0.1"]),
        ("10.0.0.1", [b"6.6.6.6", b"203.0.113.9"], ["203.0.113.9", "10.0.0.1"]),
        ("10.0.0.1", [b"203.0.113.9, 10.0.0.2"], ["203.0.113.9", "10.0.0.2", "10.0.0.1"]),
        ("10.0.0.1", [b"203.0.113.9, junk, 10.0.0.2"], ["10.0.0.2", "10.0.0.1"]),
        ("10.0.0.1", [b"203.0.113.9,"], ["10.0.0.1"]),
        ("10.0.0.1", [b"[2001:db8::7]:9, 2001:db8:ffff::1"], ["2001:db8::7", "2001:db8:ffff::1", "10.0.0.1"]),
        ("::ffff:10.0.0.1", [b"203.0.113.9:99"], ["203.0.113.9", "10.0.0.1"]),
        ("10.0.0.1", [b", ".join([b"6.6.6.6"] * 200)], ["6.6.6.6", "10.0.0.1"]),
        ("10.0.0.1", [b", ".join([b"10.9.9.9"] * 200)], ["10.9.9.9"] * 200 + ["10.0.0.1"]),
        ("not an address", [b"1.2.3.4"], []),
        (None, [b"1.2.3.4"], []),
    ],
)
def test_hops_count_from_the_right_and_each_is_vouched_for(
    peer: str | None, forwarded_for: list[bytes], chain: list[str]
) -> None:
    """P13."""
    assert TRUST.chain(peer, forwarded_for) == chain
    assert TRUST.client(peer, forwarded_for) == (chain[0] if chain else None)


@given(st.ip_addresses().map(str), st.lists(st.binary(max_size=40), max_size=4))
def test_a_stranger_cannot_change_its_address(peer: str, forwarded_for: list[bytes]) -> None:
    if not TRUST.believes(peer):
        assert TRUST.chain(peer, forwarded_for) == TRUST.chain(peer, [])


@pytest.mark.parametrize(
    ("peer", "believed"), [("10.1.2.3", True), ("11.0.0.1", False), (None, False), ("x", False)]
)
def test_only_peers_in_a_trusted_network_are_believed(peer: str | None, *, believed: bool) -> None:
    assert TRUST.believes(peer) is believed


@pytest.mark.parametrize("network", ["10.0.0.1/8", "example.com", "", "300.0.0.0/8"])
def test_a_network_that_is_none_stops_the_start_up(network: str) -> None:
    with pytest.raises(ConfigError) as raised:
        parse_networks([network], field="upstream.trusted_proxies")
    assert raised.value.field == "upstream.trusted_proxies"


HOST_CHARACTERS = b"AZaz09._~!$&'()*+,;=%-"


@pytest.mark.parametrize("host", [bytes((octet,)) for octet in HOST_CHARACTERS])
def test_every_character_of_a_name_may_stand_in_a_host(host: bytes) -> None:
    """RFC 3986 §3.2.2: a false refusal is a fault too."""
    assert is_host(host)


@pytest.mark.parametrize("host", [bytes((octet,)) for octet in HOST_CHARACTERS])
def test_a_host_is_quoted_only_where_it_is_no_token(host: bytes) -> None:
    """RFC 7239 §4."""
    told_as = b'"' + host + b'"' if host in b"(),;=" else host
    assert b";host=" + told_as + b";" in forwarding_fields(["192.0.2.1"], b"http", host)


@pytest.mark.parametrize(
    "host", [b"[2001:DB8::A]", b"[2001:db8::a]", b"[::ffff:192.0.2.1]", b"[::1]:", b"a" * 261]
)
def test_a_host_may_be_an_address_in_brackets_and_as_long_as_a_name(host: bytes) -> None:
    assert is_host(host)


@pytest.mark.parametrize("host", [b"a", b"a.example:80", b"[::1]:8080", b"1.2.3.4", b"a_b", b"a:"])
def test_a_host_is_a_name_or_address_and_perhaps_a_port(host: bytes) -> None:
    assert is_host(host)


@pytest.mark.parametrize(
    "host",
    [
        b"",
        b"a/b",
        b"a?b",
        b"a#b",
        b"u@a",
        b"a b",
        b"a\r\nb",
        b"a:b",
        b"a:123456",
        b"\xc3\xa4",
        b"[::1",
        b'a"b',
        b"a\\b",
        b"a" * 262,
        b"::1",
    ],
)
def test_a_host_that_a_reader_could_take_for_more_is_none(host: bytes) -> None:
    """P11."""
    assert not is_host(host)


@pytest.mark.parametrize(
    ("chain", "scheme", "host", "lines"),
    [
        (
            ["203.0.113.9"],
            b"https",
            b"a.example",
            [
                b"forwarded: for=203.0.113.9;host=a.example;proto=https",
                b"x-forwarded-proto: https",
                b"x-forwarded-for: 203.0.113.9",
                b"x-forwarded-host: a.example",
            ],
        ),
        (
            ["2001:db8::7", "10.0.0.1"],
            b"http",
            b"a.example:8080",
            [
                b'forwarded: for="[2001:db8::7]";host="a.example:8080";proto=http, for=10.0.0.1',
                b"x-forwarded-proto: http",
                b"x-forwarded-for: 2001:db8::7, 10.0.0.1",
                b"x-forwarded-host: a.example:8080",
            ],
        ),
        ([], b"http", None, [b"forwarded: for=unknown;proto=http", b"x-forwarded-proto: http"]),
    ],
)
def test_forwarded_and_its_older_cousins_say_the_same(
    chain: list[str], scheme: bytes, host: bytes | None, lines: list[bytes]
) -> None:
    assert forwarding_fields(chain, scheme, host) == b"".join(line + b"\r\n" for line in lines)


def test_a_direct_peer_is_a_chain_of_one() -> None:
    assert direct_fields("192.0.2.1", b"http", b"a") == forwarding_fields(["192.0.2.1"], b"http", b"a")


@pytest.mark.parametrize(
    ("values", "host"), [([b"a:1"], b"a:1"), ([], None), ([b"a", b"b"], None), ([b"a, b"], None)]
)
def test_a_trusted_peer_tells_one_host_or_none(values: list[bytes], host: bytes | None) -> None:
    assert told(values) == host


@pytest.mark.parametrize(
    ("values", "scheme"),
    [
        ([b"HTTPS"], b"https"),
        ([b"http"], b"http"),
        ([b"ws"], b"ws"),
        ([b"wss"], b"wss"),
        ([], None),
        ([b"ftp"], None),
        ([b"http"] * 2, None),
    ],
)
def test_a_trusted_peer_tells_one_known_scheme_or_none(values: list[bytes], scheme: bytes | None) -> None:
    assert told_scheme(values) == scheme
