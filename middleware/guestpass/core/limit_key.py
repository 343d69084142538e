"""The key under which a client is counted: its address, or for IPv6 the network that one client can own."""

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv6Address, ip_network
from typing import Final

from guestpass.core.forwarded import Trust, parse_address
from guestpass.core.model import Header

_SITE: Final = 64  # the least that one customer gets (RFC 6177), so addresses within it are one client's


@lru_cache(maxsize=4096)
def limit_key(address: str | None) -> str:
    """Name the client behind `address`; one name for all clients whose address is not known.

    Args:
        address: As `Trust.client` gives it: textual, without a port.
    """
    parsed = None if address is None else parse_address(address)
    if parsed is None:
        return "unknown"
    if isinstance(parsed, IPv6Address):
        return str(ip_network((parsed, _SITE), strict=False))
    return str(parsed)


def client_key(trust: Trust, peer: str | None, headers: Iterable[Header]) -> str:
    """Name the client behind a connection; what its fields say of it counts only on a trusted peer's word.

    Args:
        trust: Whose word counts.
        peer: The address at the other end of the socket; None if it has none.
        headers: The request's field lines.
    """
    if not trust.networks:
        return limit_key(peer)
    told = [value for name, value in headers if name == b"x-forwarded-for"]
    return limit_key(trust.client(peer, told))
