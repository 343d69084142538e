"""The head that a backend gets for an ASGI request: raw target, end-to-end fields (RFC 9112 §3)."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from guestpass.core.forwarded import (
    NOBODY,
    Trust,
    direct_fields,
    forwarding_fields,
    is_host,
    told,
    told_scheme,
)
from guestpass.core.framing import body_length
from guestpass.core.hop_by_hop import Kind, RequestKinds, connection_options
from guestpass.core.model import Header
from guestpass.errors import RequestInvalid

# Origin-form without blanks, controls, DEL or a fragment: nothing that could end or move the request line.
_TARGET: Final = re.compile(rb"/[!\"$-~\x80-\xff]*")
_METHOD: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}")
# A backend asks whether the client's side is encrypted, and knows only these two words for it.
_SCHEMES: Final = {"http": b"http", "https": b"https", "ws": b"http", "wss": b"https"}
# A tunnel is no request, and TRACE would show a guest the identity fields that its backend gets.
_REFUSED: Final = frozenset(("CONNECT", "TRACE"))
_COMMON: Final = frozenset(("GET", "POST", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS"))

_kinds: Final = RequestKinds()
# Looked up on its class, a member costs as much as the field that it is asked for.
_DROPPED: Final = Kind.DROPPED
_VOUCHED: Final = Kind.VOUCHED
_CONNECTION: Final = Kind.CONNECTION
_HOST: Final = Kind.HOST
_FORWARDED_FOR: Final = Kind.FORWARDED_FOR
_FORWARDED_PROTO: Final = Kind.FORWARDED_PROTO
_FORWARDED_HOST: Final = Kind.FORWARDED_HOST
_CONTENT_LENGTH: Final = Kind.CONTENT_LENGTH
_TRANSFER_ENCODING: Final = Kind.TRANSFER_ENCODING


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyRules:
    """What a deployment decides about request heads.

    Attributes:
        authority: The backend's own `host:port`, for requests that name no host.
        preserve_host: Whether the backend sees the client's `Host` or its own.
        trust: Whose `X-Forwarded-*` counts.
    """

    authority: bytes
    preserve_host: bool = True
    trust: Trust = NOBODY


class RequestHead(NamedTuple):
    """What goes first over the wire, and what has to follow it.

    Attributes:
        start: Request line and field lines, each ended by CRLF; framing and the empty line are still to come.
        length: The body's length in bytes, or `framing.UNKNOWN`, or `framing.NO_BODY`.
    """

    start: bytes
    length: int


def is_target(target: bytes) -> bool:
    """Whether it may stand in a request line as path and query (origin-form, RFC 9112 §3.2.1)."""
    return _TARGET.fullmatch(target) is not None


def _host(values: Sequence[bytes], http_version: str) -> bytes | None:
    """The one host that a request names (RFC 9112 §3.2); None where it may go without."""
    if len(values) == 1 and is_host(values[0]):
        return values[0]
    if values or http_version == "1.1":
        raise RequestInvalid("Host must name one host")
    return None


def request_head(
    method: str,
    target: bytes,
    headers: Sequence[Header],
    rules: ProxyRules,
    *,
    http_version: str,
    scheme: str,
    peer: str | None,
) -> RequestHead:
    """Write the head that a backend gets, and read how its body is delimited.

    Args:
        method: The method as it came.
        target: Raw path and query, byte for byte; never parsed, decoded or normalised.
        headers: Field lines with lower-case names, in order.
        rules: What the deployment decides.
        http_version: As ASGI has it: "1.0", "1.1", "2".
        scheme: The scheme of the client's connection.
        peer: The address at the other end of the client's socket; None: it has none.

    Raises:
        RequestInvalid: Target, method, host or framing could be read in more than one way.
    """
    if method not in _COMMON and (method in _REFUSED or _METHOD.fullmatch(method) is None):
        raise RequestInvalid("this method is not forwarded")
    if _TARGET.fullmatch(target) is None:
        raise RequestInvalid("the target must be a path without blanks, controls or a fragment")
    kept: list[Header] = []
    read: dict[Kind, list[bytes]] = {}
    vouched: list[Header] = []
    for field in headers:
        kind = _kinds[field[0]]
        if kind is None:
            kept.append(field)
        elif kind is _VOUCHED:
            vouched.append(field)
        elif kind is not _DROPPED:
            read.setdefault(kind, []).append(field[1])
    if _CONNECTION in read and (listed := connection_options(read[_CONNECTION])):
        kept = [field for field in kept if field[0] not in listed]
    host = _host(read.get(_HOST, ()), http_version)
    if rules.trust.networks and rules.trust.believes(peer):
        kept += vouched
        fields = forwarding_fields(
            rules.trust.chain(peer, read.get(_FORWARDED_FOR, ())),
            told_scheme(read.get(_FORWARDED_PROTO, ())) or _SCHEMES[scheme],
            told(read.get(_FORWARDED_HOST, ())) or host,
        )
    else:
        fields = direct_fields(peer, _SCHEMES[scheme], host)
    sent_host = host if rules.preserve_host and host is not None else rules.authority
    lines = [b"%b %b HTTP/1.1" % (method.encode(), target), b"host: " + sent_host]
    lines += [b": ".join(field) for field in kept]
    # One look at all of it, whoever made the fields: a value with a line break would be a field, or a
    # request, of its own. Before the lines have our breaks, as to count those takes three times as long.
    written = b"".join(lines)
    if b"\n" in written or b"\r" in written or b"\0" in written:
        raise RequestInvalid("a field holds a line break or NUL")
    lines.append(fields)
    length = body_length(read.get(_CONTENT_LENGTH, ()), read.get(_TRANSFER_ENCODING, ()), http_version)
    return RequestHead(b"\r\n".join(lines), length)
