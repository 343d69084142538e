"""CORS for answers that we make ourselves: which origins may read them, and what they may send.

The app's own answers keep the app's CORS. Ours (a 401, 429 or 503 in the app's place, the token endpoint)
would be unreadable to a page of another origin, which could not tell an expired token from a lost network.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from guestpass.core import inject
from guestpass.core.model import Header
from guestpass.errors import ConfigError

ANY: Final = "*"
"""In place of an origin: pages of every origin that has a name. Never together with credentials."""

# An origin as browsers serialize it (RFC 6454 §6.2): lower case, no path, no user, no trailing dot or slash.
# Schemes other than http are for apps in web views, such as `capacitor://localhost`. The host ends in a
# letter, digit or bracket, so no two spellings name one host.
_ORIGIN: Final = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*)://"
    r"(?:[a-z0-9_](?:[a-z0-9._-]*[a-z0-9])?|\[[0-9a-f:.]+\])"
    r"(?::(?P<port>[1-9][0-9]{0,4}))?"
)
_DEFAULT_PORTS: Final = {("http", "80"), ("https", "443")}
_LAST_PORT: Final = 65_535

_VARY: Final[Header] = (b"vary", b"Origin")


def _is_origin(text: str) -> bool:
    match = _ORIGIN.fullmatch(text)
    return (
        match is not None
        and (match["scheme"], match["port"]) not in _DEFAULT_PORTS  # a browser leaves it out
        and int(match["port"] or 0) <= _LAST_PORT
    )


@dataclass(frozen=True, slots=True)
class Cors:
    """Which pages of other origins may read our answers (Fetch, CORS protocol).

    Origins are compared byte for byte, never by prefix, suffix or pattern. `null` is the origin of every
    sandboxed frame and local file, anybody's that is, and is never allowed.

    Attributes:
        origins: Exact origins, such as `https://shop.example` or `http://localhost:3000`; or `ANY`.
        credentials: Whether a browser may send cookies along: needed where the token is a cookie.
        max_age: Seconds for which a browser may remember a preflight's answer.
    """

    origins: frozenset[str]
    credentials: bool = False
    max_age: int = 600
    _exact: frozenset[bytes] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for origin in self.origins - {ANY}:
            if not _is_origin(origin):
                raise ConfigError(
                    "headers.cors_origins", "must be origins as a browser sends them: https://shop.example"
                )
        if self.credentials and ANY in self.origins:
            # Any page on the web could spend, and read, the cookie of whoever visits it.
            raise ConfigError("headers.cors_origins", "must not be * where tokens travel as a cookie")
        if self.max_age < 0:
            raise ConfigError("headers.cors_max_age", "must be zero or more seconds")
        object.__setattr__(self, "_exact", frozenset(origin.encode("ascii") for origin in self.origins))

    def allows(self, origin: bytes) -> bool:
        """Whether pages of this origin may read our answers."""
        if ANY in self.origins:
            return origin.isascii() and _is_origin(origin.decode("ascii"))
        return origin in self._exact

    def shares_page(self, origin: bytes, host: bytes | None) -> bool:
        """Whether a page of this origin may act with the cookies of `host`: its own page, or a named one.

        Browsers ask nobody before they open a WebSocket, and send the cookies along (RFC 6455 §10.2); `ANY`
        never goes with cookies. The scheme is left out, as TLS may end in front of us.

        Args:
            origin: The request's Origin field.
            host: Its Host field; None if there is none.
        """
        return origin in self._exact or (host is not None and origin.partition(b"://")[2] == host.lower())

    def answer_fields(self, origin: bytes | None, expose: Sequence[str] = ()) -> tuple[Header, ...]:
        """The CORS fields of an answer of ours.

        The origin is echoed, never `*`, and every answer varies by it, those without an origin included, so
        that no cache hands one origin's answer to another (Fetch, CORS protocol and HTTP caches).

        Args:
            origin: The request's Origin field; None if there is none.
            expose: Response fields that the page may read.
        """
        if not self.origins:
            return ()
        if origin is None or not self.allows(origin):
            return (_VARY,)
        fields = [_VARY, (b"access-control-allow-origin", origin)]
        if self.credentials:
            fields.append((b"access-control-allow-credentials", b"true"))
        if expose:
            fields.append(inject.expose(*expose))
        return tuple(fields)

    def preflight_fields(
        self, origin: bytes | None, *, methods: Sequence[str], headers: Sequence[str]
    ) -> tuple[Header, ...]:
        """The fields that answer a preflight to an endpoint of ours; to an origin we do not know: nothing.

        Args:
            origin: The request's Origin field; None if there is none.
            methods: What the endpoint serves.
            headers: What a page may send: `Content-Type`, and the token's field.
        """
        fields = self.answer_fields(origin)
        if origin is None or not self.allows(origin):
            return fields
        return (
            *fields,
            (b"access-control-allow-methods", ", ".join(methods).encode("ascii")),
            (b"access-control-allow-headers", ", ".join(headers).encode("ascii")),
            (b"access-control-max-age", str(self.max_age).encode("ascii")),
        )


NO_ORIGINS: Final = Cors(frozenset())
"""No page of another origin may do anything."""
