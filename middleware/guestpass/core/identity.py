"""Who the guest is, for a backend: its field lines, and the names no client may send."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import quote

from guestpass.core.inject import Fields
from guestpass.core.model import Guest, Header
from guestpass.errors import ConfigError

ASSERTION: Final = "X-Guest-Assertion"
"""The field of the short-lived JWT that we sign for a backend."""

# --- names ------------------------------------------------------------------------------------------------

_TO_LOWER: Final = bytes.maketrans(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ", b"abcdefghijklmnopqrstuvwxyz")
_NEITHER_LETTER_NOR_DIGIT: Final = bytes(octet for octet in range(256) if not bytes((octet,)).isalnum())


def fold(name: bytes) -> bytes:
    """Reduce a field name to what every reader keeps of it: its letters, in lower case, and its digits.

    WSGI, CGI and PHP read `X-Guest-Id`, `X_Guest_Id` and `x.guest.id` as one variable; lighttpd's FastCGI
    reads `X~Guest!Id` as that too. So a name that is not ours to us may be ours to the backend. Idempotent.
    """
    return name.translate(_TO_LOWER, _NEITHER_LETTER_NOR_DIGIT)


_NAME: Final = re.compile(r"[A-Za-z0-9-]*[A-Za-z0-9][A-Za-z0-9-]*").fullmatch

# Fields that frame, route, negotiate or authenticate a message: an identity in one of them would break the
# request or, as client-sent copies are removed, take from it what it needs (RFC 9110 §7.6.1, §7.2, §8, §11).
_NOT_FOR_IDENTITY: Final = frozenset(
    fold(name)
    for name in (
        b"Connection",
        b"Content-Encoding",
        b"Content-Length",
        b"Content-Type",
        b"Authorization",
        b"Cookie",
        b"Date",
        b"Expect",
        b"Forwarded",
        b"Host",
        b"HTTP2-Settings",
        b"Keep-Alive",
        b"Origin",
        b"Proxy-Authenticate",
        b"Proxy-Authorization",
        b"Proxy-Connection",
        b"Set-Cookie",
        b"TE",
        b"Trailer",
        b"Transfer-Encoding",
        b"Upgrade",
        b"Via",
        b"X-Forwarded-For",
        b"X-Forwarded-Host",
        b"X-Forwarded-Port",
        b"X-Forwarded-Proto",
    )
)

_DEFAULT_HEADERS: Final = MappingProxyType(
    {"sub": "X-Guest-Subject", "name": "X-Guest-Name", "email": "X-Guest-Email"}
)


@dataclass(frozen=True, slots=True)
class IdentityMap:
    """Which claim a backend gets in which field.

    Attributes:
        headers: Name of the member of the claims set -> field name, of letters, digits and hyphens. Other
            characters are legal in a field name, but not every backend takes them for what they are.
    """

    headers: Mapping[str, str] = field(default_factory=lambda: _DEFAULT_HEADERS)
    pairs: tuple[tuple[str, bytes], ...] = field(init=False, repr=False, compare=False)
    """Claim and lower-case field name, ready for use."""

    def __post_init__(self) -> None:
        seen: set[bytes] = set()
        for header in self.headers.values():
            if not _NAME(header):
                raise ConfigError("headers.identity", "must name fields of letters, digits and hyphens")
            folded = fold(header.encode("ascii"))
            if folded in _NOT_FOR_IDENTITY:
                raise ConfigError(
                    "headers.identity", f"must not use {header}, which has a meaning of its own"
                )
            if folded in seen:
                raise ConfigError("headers.identity", f"names {header} twice, as some backends read it")
            seen.add(folded)
        headers = MappingProxyType(dict(self.headers))  # a copy of ours: the caller's may change
        object.__setattr__(self, "headers", headers)
        object.__setattr__(
            self, "pairs", tuple((claim, name.lower().encode()) for claim, name in headers.items())
        )


def owned(identity_map: IdentityMap, fields: Fields, extra: Iterable[str] = ()) -> frozenset[bytes]:
    """The folded names that we alone set, so that no client may send them.

    The field that carries the request's own token is not among them: whoever reads the token removes it.

    Args:
        identity_map: The identity's fields.
        fields: The successor's fields.
        extra: Further field names.

    Raises:
        ConfigError: An identity field folds to one that carries a token or our assertion.
    """
    identity = {fold(name) for _, name in identity_map.pairs}
    ours = {fold(name.encode("ascii")) for name in (*fields.names, ASSERTION)}
    if not identity.isdisjoint(ours):
        raise ConfigError("headers.identity", "must not use a field that carries a token")
    token = fold(fields.token.encode("ascii"))
    return frozenset((identity | ours | {fold(name.encode("ascii")) for name in extra}) - {token})


# --- values -----------------------------------------------------------------------------------------------

# Besides the unreserved characters (RFC 3986 §2.3): what is common in subjects and addresses, and means the
# same in a field value and to every URL decoder. `+` is encoded, as form decoders take it for a blank.
_SAFE: Final = "@:/"


def identity_headers(guest: Guest, identity_map: IdentityMap) -> tuple[Header, ...]:
    """The field lines that tell a backend who the guest is.

    Text is UTF-8, percent-encoded; any other value is its compact JSON text, percent-encoded too. So a claim
    can never end its field line (P19), and any URL decoder gives it back. A claim that is absent or null
    gives no field.
    """
    claims = guest.claims
    return tuple(
        (name, _encoded(claims[claim])) for claim, name in identity_map.pairs if claims.get(claim) is not None
    )


def _encoded(value: Any) -> bytes:
    text = value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
    # A lone surrogate has no UTF-8. Strict parsing refuses it; should one come all the same, two that differ
    # stay different, which a replacement character would not see to.
    return quote(text, safe=_SAFE, errors="surrogatepass").encode("ascii")
