"""Under which name a client is counted, and whose word on its address counts."""

import pytest

from guestpass.core.forwarded import NOBODY, Trust, parse_networks
from guestpass.core.limit_key import client_key, limit_key
from guestpass.core.model import Header

SIDECAR = Trust(parse_networks(["127.0.0.0/8", "10.0.0.0/8"], field="test"))


def told(*values: bytes) -> list[Header]:
    return [(b"host", b"site"), *((b"x-forwarded-for", value) for value in values)]


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::/64"),
        ("2001:db8::ffff:1", "2001:db8::/64"),
        ("2001:db8:0:1::1", "2001:db8:0:1::/64"),
        (None, "unknown"),
        ("", "unknown"),
        ("a unix socket", "unknown"),
    ],
)
def test_an_address_is_its_own_name_and_an_ipv6_network_is_one_client(address: str | None, key: str) -> None:
    assert limit_key(address) == key


@pytest.mark.parametrize("peer", ["192.0.2.1", "127.0.0.1"])
def test_by_default_nobodys_word_counts(peer: str) -> None:
    """P13: or each request of a flood could name an address of its own."""
    assert client_key(NOBODY, peer, told(b"198.51.100.7")) == peer


def test_a_trusted_peers_word_counts_from_the_right() -> None:
    """P13: what stands further left is what the client itself wrote."""
    assert client_key(SIDECAR, "127.0.0.1", told(b"198.51.100.7")) == "198.51.100.7"
    assert client_key(SIDECAR, "127.0.0.1", told(b"203.0.113.9, 198.51.100.7, 10.1.2.3")) == "198.51.100.7"
    assert client_key(SIDECAR, "127.0.0.1", told(b"203.0.113.9", b"198.51.100.7")) == "198.51.100.7"
    assert client_key(SIDECAR, "127.0.0.1", told(b"2001:db8::1")) == "2001:db8::/64"


def test_a_strangers_word_never_counts_though_others_are_trusted() -> None:
    assert client_key(SIDECAR, "192.0.2.1", told(b"198.51.100.7")) == "192.0.2.1"
    assert client_key(SIDECAR, None, told(b"198.51.100.7")) == "unknown"
