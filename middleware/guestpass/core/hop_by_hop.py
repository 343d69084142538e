"""Which fields go end to end, and which end at this hop (RFC 9110 §7.6.1).

Names are judged by their *fold*: WSGI, CGI and PHP backends read `Transfer_Encoding` and `transfer-encoding`
as one variable, so a disguised name of a field that ends here ends here too.
"""

import re
from collections.abc import Iterable
from enum import IntEnum, auto
from typing import Final

_FOLDED: Final = bytes(octet if bytes((octet,)).isalnum() else ord("-") for octet in range(256))
_is_name: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+").fullmatch  # RFC 9110 §5.1


class Kind(IntEnum):
    """What a proxy has to do with a field; one without a kind goes end to end as it is."""

    DROPPED = auto()
    """Ends at this hop, or is a disguise of a field that does."""
    CONNECTION = auto()
    """Ends here and names others that do."""
    HOST = auto()
    CONTENT_LENGTH = auto()
    TRANSFER_ENCODING = auto()
    FORWARDED_FOR = auto()
    FORWARDED_HOST = auto()
    FORWARDED_PROTO = auto()
    """Set by us; what a client says is read only if its peer is trusted."""
    VOUCHED = auto()
    """Says where a request came from or was meant for: passes from a trusted peer, else it is dropped."""


_READ: Final = {
    b"connection": Kind.CONNECTION,
    b"host": Kind.HOST,
    b"content-length": Kind.CONTENT_LENGTH,
    b"transfer-encoding": Kind.TRANSFER_ENCODING,
    b"x-forwarded-for": Kind.FORWARDED_FOR,
    b"x-forwarded-host": Kind.FORWARDED_HOST,
    b"x-forwarded-proto": Kind.FORWARDED_PROTO,
}

_HOP_BY_HOP: Final = frozenset(
    (b"connection", b"keep-alive", b"te", b"trailer", b"transfer-encoding", b"upgrade", b"http2-settings")
)

# Frameworks (Symfony, IIS rewriting) take the path from these in place of the request line, so a guest could
# pass the policy with one path and reach the backend with another (CVE-2018-14773).
_PATH_OVERRIDES: Final = (b"x-original-", b"x-rewrite-")

# And the method from these (Rails, Symfony, Express): a rule for DELETE alone would be passed by a POST.
_METHOD_OVERRIDES: Final = frozenset((b"x-http-method-override", b"x-http-method", b"x-method-override"))


def fold(name: bytes) -> bytes:
    """The one name that a lax reader may take `name` for: lower case, `-` for all but letters and digits."""
    return name.lower().translate(_FOLDED)


def request_kind(name: bytes) -> Kind | None:
    """What to do with a request field; None: it goes end to end.

    Args:
        name: In lower case, as ASGI has it.
    """
    if name in _READ:
        return _READ[name]
    folded = fold(name)
    if folded in _READ or folded in _HOP_BY_HOP or folded in _METHOD_OVERRIDES:
        return Kind.DROPPED
    # HTTP/2 has room for any octet in a name. A backend takes the name to end at a colon, so
    # `x-guest-subject:root` would become a field that only we may set.
    if _is_name(name) is None:
        return Kind.DROPPED
    # "Expect" was answered by our own server; "Proxy" becomes HTTP_PROXY in CGI (httpoxy, CVE-2016-5385).
    if folded in (b"expect", b"forwarded", b"proxy") or folded.startswith(b"proxy-"):
        return Kind.DROPPED
    if folded.startswith((b"x-forwarded-", *_PATH_OVERRIDES)) or folded == b"x-real-ip":
        return Kind.VOUCHED if folded == name else Kind.DROPPED
    return None


def response_kind(name: bytes) -> Kind | None:
    """What to do with a response field; None: it goes end to end.

    Args:
        name: In lower case.
    """
    if name in (b"connection", b"content-length", b"transfer-encoding"):
        return _READ[name]
    if name in _HOP_BY_HOP or name.startswith(b"proxy-"):
        return Kind.DROPPED
    return None


# What nearly every `Connection` field says; none of it names a field that is there.
_PLAIN: Final = frozenset((b"keep-alive", b"Keep-Alive", b"close", b"Close", b"upgrade", b"Upgrade"))

# Framing and routing are ours: a sender must not be able to list them away (CVE-2021-32813).
_NOT_LISTABLE: Final = frozenset((b"host", b"content-length", b"transfer-encoding", b"connection"))


def connection_options(values: Iterable[bytes]) -> frozenset[bytes]:
    """The fields that `Connection` says end at this hop, as lower-case names."""
    named: set[bytes] = set()
    for value in values:
        if value not in _PLAIN:
            named.update(option.strip(b" \t").lower() for option in value.split(b","))
    return frozenset(named - _NOT_LISTABLE)


class RequestKinds(dict[bytes, Kind | None]):
    """`request_kind`, remembered: one dict look-up for a name that was seen before.

    Bounded, as names are the client's to choose: beyond `most` a new name is judged anew each time.
    """

    most: Final = 1024

    def __missing__(self, name: bytes) -> Kind | None:
        """Judge a name that is not remembered, and remember it while there is room."""
        kind = request_kind(name)
        if len(self) < self.most:
            self[name] = kind
        return kind


class ResponseNames(dict[bytes, bytes | None]):
    """A response field's lower-case name if it goes end to end, else None; remembered and bounded.

    Keys are names as the backend spells them, so a known one costs no call and no new bytes.
    """

    most: Final = 1024

    def __missing__(self, name: bytes) -> bytes | None:
        """Judge a name that is not remembered, and remember it while there is room."""
        lower = name.lower()
        known = lower if response_kind(lower) is None else None
        if len(self) < self.most:
            self[name] = known
        return known
