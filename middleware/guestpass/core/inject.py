"""What we add to a response: the successor's fields, and what they ask of caches and browsers.

Everything here gives field lines; the shell appends them. Appending a second line of a list field is merging
it: recipients join the lines (RFC 9110 §5.3), and so do browsers (Fetch, "extract header list values").
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import floor
from typing import Final, Literal

from guestpass.core.model import Header, Successor, UnixTime
from guestpass.errors import ConfigError

_is_token: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+").fullmatch  # RFC 9110 §5.6.2
# RFC 9110 §5.5, less obs-text: visible ASCII, blanks only inside.
_is_value: Final = re.compile(rb"[\x21-\x7e]+(?:[ \t]+[\x21-\x7e]+)*").fullmatch
# RFC 6265 §4.1.1, cookie-octet: no blank, quote, comma, semicolon or backslash.
_is_cookie_value: Final = re.compile(rb"[\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]+").fullmatch
_COOKIE_LIFE: Final = 400 * 86_400  # RFC 6265bis §5.5: browsers cap Max-Age there
_is_cookie_path: Final = re.compile(r"/[\x21-\x3a\x3c-\x7e]*").fullmatch


@dataclass(frozen=True, slots=True)
class Fields:
    """The names of the response fields that carry a successor.

    Attributes:
        token: The successor itself; the names of the other two derive from it.
    """

    token: str = "X-Guest-Token"  # noqa: S105  a field's name
    names: tuple[str, str, str] = field(init=False, repr=False, compare=False)
    """Token, instant of expiry, seconds until then: as an operator writes them."""
    lower: tuple[bytes, bytes, bytes] = field(init=False, repr=False, compare=False)
    """The same, as ASGI has them."""

    def __post_init__(self) -> None:
        if not _is_token(self.token):
            raise ConfigError("headers.token", "must be a field name (RFC 9110 §5.1)")
        names = (self.token, f"{self.token}-Expires-At", f"{self.token}-Expires-In")
        object.__setattr__(self, "names", names)
        object.__setattr__(self, "lower", tuple(name.lower().encode("ascii") for name in names))


def is_deliverable(compact: bytes) -> bool:
    """Say whether a token can be sent raw, in a field and in a cookie: no control, blank, quote or comma.

    A compact JWS always can; an opaque token is whatever its issuer made it (P19).
    """
    return _is_cookie_value(compact) is not None


def token_fields(successor: Successor, *, fields: Fields, now: UnixTime) -> tuple[Header, ...]:
    """The three field lines of a successor: the token, when it expires, and in how many seconds.

    Both times are whole seconds rounded down, and never below zero seconds: a client may refresh early, but
    must never be told of time that is not there.

    Raises:
        ValueError: The token is no field value (RFC 9110 §5.5), or its expiry is no date. Sent raw it could
            end its line and begin another (response splitting).
    """
    compact = successor.token.compact
    if not _is_value(compact):
        raise ValueError("the successor is not a field value")
    token, expires_at, expires_in = fields.lower
    return (
        (token, compact),
        (expires_at, _iso8601(successor.expires_at)),
        (expires_in, str(_seconds_left(successor.expires_at, now)).encode()),
    )


def _seconds_left(instant: UnixTime, now: UnixTime) -> int:
    return max(0, floor(instant - now))


def _iso8601(instant: UnixTime) -> bytes:
    try:
        moment = datetime.fromtimestamp(floor(instant), UTC)
    except (OverflowError, OSError) as exc:
        raise ValueError("the successor's expiry is not a date") from exc
    return f"{moment.isoformat()[:19]}Z".encode()  # five times as fast as strftime


# --- the response around it -------------------------------------------------------------------------------

_NO_STORE: Final[Header] = (b"cache-control", b"private, no-store")

# What lets a cache keep, revalidate or re-date a response in spite of Cache-Control: validators and dates
# (RFC 9111 §4.2, §4.3), targeted fields, which override it for the caches they address (RFC 9213, Edge
# Architecture, nginx, Akamai), and the obsolete Pragma, which could only contradict.
_FOR_CACHES: Final = frozenset(
    {
        b"cache-control",
        b"edge-control",
        b"etag",
        b"expires",
        b"last-modified",
        b"pragma",
        b"surrogate-control",
        b"x-accel-expires",
    }
)
_TARGETED: Final = b"-cache-control"  # CDN-Cache-Control, Cloudflare-CDN-Cache-Control, ... (RFC 9213 §2.1)


def with_token(
    headers: Iterable[Header], injected: Iterable[Header], appended: Iterable[Header] = ()
) -> list[Header]:
    """The fields of a response that carries a token.

    Ours replace the app's of the same names, however often and in whatever case it set them; no cache may
    keep the response, whatever the app allowed. Everything else stays, in order, line by line.

    Args:
        headers: The app's field lines; names in any case.
        injected: What stands in place of the app's fields of these names, such as `token_fields` gives.
        appended: What is added to the app's: `vary`, `expose`, `set_cookie_field`.
    """
    ours = [*injected, _NO_STORE]
    names = [name for name, _ in ours]
    kept = [
        header
        for header in headers
        if (name := header[0].lower()) not in _FOR_CACHES
        and name not in names
        and not name.endswith(_TARGETED)
    ]
    return [*kept, *ours, *appended]


def vary(*names: str) -> Header:
    """A `Vary` line for the request fields that decide on the response: made once, appended to each.

    `Vary: *` of the app keeps its meaning, as a list with `*` among its members still varies on everything
    (RFC 9110 §12.5.5).

    Args:
        *names: The request's token field, and others that may carry the token.
    """
    return (b"vary", ", ".join(names).encode("ascii"))


def expose(*names: str) -> Header:
    """A line that lets a page of another origin read these response fields.

    They are named one by one, as `*` means nothing on a credentialed request (Fetch, CORS protocol).

    Args:
        *names: `Fields.names`, and whatever else our own answers carry.
    """
    return (b"access-control-expose-headers", ", ".join(names).encode("ascii"))


# --- delivery by cookie -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CookieDelivery:
    """A cookie that carries the successor besides the field: always HttpOnly and Secure.

    Attributes:
        name: The cookie's name; the prefix `__Host-` asks for the path `/`.
        same_site: When a browser sends it along; `None` also from pages of other sites.
        path: Below which path a browser sends it.
    """

    name: str
    same_site: Literal["Lax", "Strict", "None"] = "Lax"
    path: str = "/"

    def __post_init__(self) -> None:
        if not _is_token(self.name):
            raise ConfigError("headers.set_cookie", "must be a cookie name (RFC 6265 §4.1.1)")
        if self.same_site not in ("Lax", "Strict", "None"):
            raise ConfigError("headers.same_site", "must be 'Lax', 'Strict' or 'None'")
        if not _is_cookie_path(self.path):
            raise ConfigError("headers.cookie_path", "must start with / and hold no ; or blank")
        if self.name.lower().startswith("__host-") and self.path != "/":
            raise ConfigError("headers.cookie_path", "must be / for a cookie whose name starts with __Host-")


def set_cookie_field(
    successor: Successor, delivery: CookieDelivery, *, now: UnixTime, grace: float = 0.0
) -> Header:
    """The `Set-Cookie` line of a successor. Append it: the app's own cookies are other fields.

    Args:
        successor: What the cookie holds.
        delivery: The cookie's name and attributes.
        now: Wall-clock seconds since the epoch.
        grace: Seconds past "exp" for which the cookie stays, as the token can still be exchanged.

    Raises:
        ValueError: The token is no cookie value, so that it could add attributes or end the line.
    """
    compact = successor.token.compact
    if not _is_cookie_value(compact):
        raise ValueError("the successor is not a cookie value")
    until = UnixTime(min(successor.expires_at + grace, now + _COOKIE_LIFE))
    max_age = _seconds_left(until, now)
    attributes = f"; Path={delivery.path}; Max-Age={max_age}; HttpOnly; Secure; SameSite={delivery.same_site}"
    return (b"set-cookie", b"%s=%s%s" % (delivery.name.encode("ascii"), compact, attributes.encode("ascii")))
