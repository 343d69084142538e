"""Where a request came from: `X-Forwarded-*` and `Forwarded` (RFC 7239), and whose word on it counts.

Only `X-Forwarded-*` is ever read, and only from a trusted peer. `Forwarded` is always written anew: most
proxies that append to one of the two pass the other on as the client sent it, so believing both is believing
the client.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

from guestpass.errors import ConfigError

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_HOST: Final = re.compile(rb"(?:[A-Za-z0-9._~!$&'()*+,;=%-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{0,5})?")
_LONGEST_HOST: Final = 261  # a DNS name of 255, a colon, five digits
_TOKEN: Final = re.compile(rb"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_WITH_PORT: Final = re.compile(r"\[([0-9A-Fa-f:.]+)\](?::[0-9]{1,5})?|([0-9.]+):[0-9]{1,5}")


@lru_cache(maxsize=1024)
def is_host(value: bytes) -> bool:
    """Whether `value` is a `Host` that no reader can take for more: no blank, path, query or user."""
    return len(value) <= _LONGEST_HOST and _HOST.fullmatch(value) is not None


def parse_networks(networks: Iterable[str], *, field: str) -> tuple[Network, ...]:
    """Read addresses and CIDR networks.

    Raises:
        ConfigError: One of them is neither, or has host bits set; `field` is the setting to name.
    """
    try:
        return tuple(ip_network(network) for network in networks)
    except ValueError as exc:
        raise ConfigError(field, "must be IP addresses or CIDR networks such as 10.0.0.0/8") from exc


@lru_cache(maxsize=4096)
def parse_address(text: str) -> Address | None:
    """Read one address as proxies write them, a port and brackets aside; None for everything else.

    An IPv4 address mapped into IPv6 is the IPv4 address, so that one client has one spelling.
    """
    if matched := _WITH_PORT.fullmatch(text):
        text = matched[1] or matched[2]
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address):
        if address.scope_id is not None:
            return None  # a zone means nothing beyond the host that wrote it
        return address.ipv4_mapped or address
    return address


@dataclass(frozen=True, slots=True)
class Trust:
    """Which peers may say where a request came from; by default nobody."""

    networks: tuple[Network, ...] = ()

    def __contains__(self, address: Address) -> bool:
        return any(address in network for network in self.networks)

    def believes(self, peer: str | None) -> bool:
        """Whether the peer at the other end of the socket is trusted; None: it has no address."""
        if not self.networks or peer is None:
            return False
        address = parse_address(peer)
        return address is not None and address in self

    def chain(self, peer: str | None, forwarded_for: Sequence[bytes]) -> list[str]:
        """The addresses that are vouched for, from the client to the peer; the first is the client.

        Hops count from the right: each is on the word of the one after it. The first that is not trusted is
        the client, and what stands left of it is the client's own invention. An entry that is not an address
        ends the chain, as nobody knows what stands before it.

        Args:
            peer: The address at the other end of the socket.
            forwarded_for: Values of every `X-Forwarded-For` line, in order.
        """
        if peer is None:
            return []
        address = parse_address(peer)
        if address is None:
            return []
        chain = [str(address)]
        entries = b",".join(forwarded_for).decode("latin-1").split(",") if self.networks else []
        while entries and address in self:
            address = parse_address(entries.pop().strip(" \t"))
            if address is None:
                break
            chain.append(str(address))
        chain.reverse()
        return chain

    def client(self, peer: str | None, forwarded_for: Sequence[bytes]) -> str | None:
        """The client's address, for limits by address; None if it has none (a Unix socket)."""
        chain = self.chain(peer, forwarded_for)
        return chain[0] if chain else None


NOBODY: Final = Trust()
"""Only the socket's own address counts."""


def _quoted(value: bytes) -> bytes:
    """A token as it is, anything else as a quoted string (RFC 7239 §4); a host holds nothing to escape."""
    return value if _TOKEN.fullmatch(value) else b'"' + value + b'"'


def _node(address: str) -> bytes:
    """A node identifier (RFC 7239 §6): IPv6 in brackets, and therefore quoted."""
    return b'"[%b]"' % address.encode() if ":" in address else address.encode()


def forwarding_fields(chain: Sequence[str], scheme: bytes, host: bytes | None) -> bytes:
    """The field lines that tell a backend where a request came from, each ended by CRLF.

    Args:
        chain: `Trust.chain`; empty when the peer has no address.
        scheme: The scheme that the client used.
        host: The `Host` that the client asked for, already checked by `is_host`; None: it named none.
    """
    first = b"for=" + (_node(chain[0]) if chain else b"unknown")
    if host is not None:
        first += b";host=" + _quoted(host)
    elements = [first + b";proto=" + scheme, *(b"for=" + _node(address) for address in chain[1:])]
    lines = [b"forwarded: ", b", ".join(elements), b"\r\nx-forwarded-proto: ", scheme, b"\r\n"]
    if chain:
        lines += (b"x-forwarded-for: ", ", ".join(chain).encode(), b"\r\n")
    if host is not None:
        lines += (b"x-forwarded-host: ", host, b"\r\n")
    return b"".join(lines)


@lru_cache(maxsize=4096)
def direct_fields(peer: str | None, scheme: bytes, host: bytes | None) -> bytes:
    """`forwarding_fields` for a peer on whose word nothing counts: the same for each of its requests."""
    return forwarding_fields(NOBODY.chain(peer, ()), scheme, host)


def told(values: Sequence[bytes]) -> bytes | None:
    """What a trusted peer says in `X-Forwarded-Host`, if it is one value that can be a host."""
    return values[0] if len(values) == 1 and is_host(values[0]) else None


def told_scheme(values: Sequence[bytes]) -> bytes | None:
    """What a trusted peer says in `X-Forwarded-Proto`, if it is one of the schemes that we know."""
    known = (b"http", b"https", b"ws", b"wss")
    return values[0].lower() if len(values) == 1 and values[0].lower() in known else None
