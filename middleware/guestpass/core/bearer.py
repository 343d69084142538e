"""The one token of a request, and the fields that are left once it is taken out.

RFC 6750 §2 lets a client use one method in one request; two tokens are an error here, never a choice.
One pass over the fields does all that a request's fields need: it runs for every request, so names are
classified once and remembered.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from guestpass.core.identity import fold
from guestpass.core.model import Header, RawToken
from guestpass.errors import ConfigError, TokenAmbiguous

SUBPROTOCOL_PREFIX: Final = "guestpass.token."
"""A browser cannot set fields on a WebSocket, so it offers its token as a subprotocol."""

SUBPROTOCOL_NAME: Final = "guestpass"
"""What a browser offers beside it, to be selected where the app selects nothing."""

_TCHAR: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # RFC 9110 §5.6.2
_BEARER: Final = b"bearer "
_HARMLESS: Final = frozenset({b"keep-alive", b"close", b"Keep-Alive"})
_REMEMBERED_NAMES: Final = 512
_REMEMBERED_LENGTH: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Where a token may stand in a request; None or False turns a source off.

    Attributes:
        header: A field that holds the token and nothing else.
        bearer: `Authorization: Bearer` (RFC 6750 §2.1); other schemes are left alone.
        cookie: The name of a cookie.
        subprotocol: `Sec-WebSocket-Protocol: guestpass.token.<jwt>`, on WebSockets only.
        query: The name of a query parameter, on WebSockets and `Accept: text/event-stream` only, as a
            URL ends up in logs and histories (RFC 6750 §2.3).
    """

    header: str | None = "X-Guest-Token"
    bearer: bool = False
    cookie: str | None = None
    subprotocol: bool = True
    query: str | None = None

    def __post_init__(self) -> None:
        for field in ("header", "cookie", "query"):
            value = getattr(self, field)
            if value is not None and not _TCHAR.fullmatch(value):
                raise ConfigError(f"headers.{field}", "must be a token of RFC 9110 §5.6.2, or off")
        if self.header is not None and self.header.lower() in ("authorization", "cookie"):
            raise ConfigError(
                "headers.header", "must be a field of its own; see headers.bearer, headers.cookie"
            )


class _Kind(IntEnum):
    KEEP = 0
    STRIP = 1
    TOKEN = 2
    AUTHORIZATION = 3
    COOKIE = 4
    SUBPROTOCOL = 5
    CONNECTION = 6
    ORIGIN = 7
    REQUEST_METHOD = 8


# Looked up on its class, a member costs as much as the field that it is asked for.
_TOKEN: Final = _Kind.TOKEN
_ORIGIN: Final = _Kind.ORIGIN
_CONNECTION: Final = _Kind.CONNECTION
_STRIP: Final = _Kind.STRIP


class Sifted:
    """What one pass over a request's fields found.

    Attributes:
        headers: The fields that go on, in their order; a list of its own that the caller may extend.
        tokens: What each source held, as it stood: (source, value).
        origin: The Origin field, for cross-origin requests.
        preflight_method: Whether Access-Control-Request-Method is there.
    """

    __slots__ = ("headers", "origin", "preflight_method", "tokens")

    def __init__(self) -> None:
        self.headers: list[Header] = []
        self.tokens: list[tuple[_Kind, bytes]] = []
        self.origin: bytes | None = None
        self.preflight_method = False

    @property
    def ambient(self) -> bool:
        """Whether a cookie alone holds the token: a browser sends it along for any page, knowing or not."""
        return all(kind is _Kind.COOKIE for kind, _ in self.tokens)

    def token(self, *elsewhere: bytes) -> RawToken | None:
        """The one token of the request, or None.

        Args:
            *elsewhere: Tokens from outside the fields: subprotocols, the query.

        Raises:
            TokenAmbiguous: A source is there twice, or two sources differ.
        """
        found = self.tokens
        if not elsewhere and len(found) == 1:  # nearly every request
            return RawToken(found[0][1])
        kinds = [kind for kind, _ in found]
        if len(set(kinds)) != len(kinds):
            raise TokenAmbiguous("one source holds more than one token")
        values = {value for _, value in found}.union(elsewhere)
        if len(values) > 1:
            raise TokenAmbiguous("two sources hold different tokens")
        return RawToken(values.pop()) if values else None


class Sieve:
    """Sorts request fields: tokens out, fields that only we may set out, the rest on.

    A name is compared folded, because WSGI, CGI and PHP readers take `X_Guest_Id` for `X-Guest-Id`.
    """

    def __init__(self, sources: Sources, *, owned: Iterable[bytes], forward_token: bool = False) -> None:
        """Prepare for `sources`.

        Args:
            sources: Where tokens are looked for.
            owned: Folded names that no client may send.
            forward_token: Leave the token where it stood, for an app that reads it itself.
        """
        self._owned = frozenset(owned)
        self._forward = forward_token
        self._header = None if sources.header is None else sources.header.lower().encode()
        self._folded_header = None if self._header is None else fold(self._header)
        self._cookie = None if sources.cookie is None else sources.cookie.encode() + b"="
        self._special = {b"connection": _Kind.CONNECTION, b"origin": _Kind.ORIGIN}
        self._special[b"access-control-request-method"] = _Kind.REQUEST_METHOD
        if sources.bearer:
            self._special[b"authorization"] = _Kind.AUTHORIZATION
        if sources.cookie is not None:
            self._special[b"cookie"] = _Kind.COOKIE
        if sources.subprotocol:
            self._special[b"sec-websocket-protocol"] = _Kind.SUBPROTOCOL
        self._kinds: dict[bytes, _Kind] = {}

    def sift(self, headers: Iterable[Header]) -> Sifted:
        """Take the tokens and every owned field out of `headers`; keep the rest as it is, in order."""
        sifted = Sifted()
        keep = sifted.headers.append
        kinds = self._kinds
        for header in headers:
            name = header[0]
            try:
                kind = kinds[name]
            except KeyError:
                kind = self._classify(name)
            if not kind:
                keep(header)
            elif kind is _Kind.TOKEN:
                sifted.tokens.append((kind, header[1]))
                if self._forward:
                    keep(header)
            elif kind is not _Kind.STRIP:
                kept = self._special_field(kind, header, sifted)
                if kept is not None:
                    keep(kept)
        return sifted

    def sift_usual(self, headers: Iterable[Header]) -> tuple[list[Header], bytes, bytes | None] | None:
        """As `sift`, in fewer steps, for the usual request: one token, in its own field.

        Returns:
            The fields that go on, the token as it stood, and the Origin field; None where there is anything
            that `sift` must look at.
        """
        kept: list[Header] = []
        kinds = self._kinds
        token = origin = None
        for header in headers:
            kind = kinds.get(header[0])
            if kind is None:
                kind = self._classify(header[0])
            if not kind:
                kept.append(header)
            elif kind is _TOKEN and token is None:
                token = header[1]
            elif kind is _ORIGIN:
                origin = header[1]
                kept.append(header)
            elif kind is _CONNECTION and header[1] in _HARMLESS:
                kept.append(header)
            elif kind is not _STRIP:
                return None
        return None if token is None or self._forward else (kept, token, origin)

    def _classify(self, name: bytes) -> _Kind:
        lower = name.lower()
        kind = self._special.get(lower, _Kind.KEEP)
        if lower == self._header:
            kind = _Kind.TOKEN
        elif fold(lower) in self._owned or fold(lower) == self._folded_header:
            kind = _Kind.STRIP
        # Bounded: a client that invents names must not grow this without end.
        if len(self._kinds) < _REMEMBERED_NAMES and len(name) <= _REMEMBERED_LENGTH:
            self._kinds[name] = kind
        return kind

    def _special_field(self, kind: _Kind, header: Header, sifted: Sifted) -> Header | None:
        name, value = header
        kept: bytes | None = value
        match kind:
            case _Kind.ORIGIN:
                sifted.origin = value
            case _Kind.REQUEST_METHOD:
                sifted.preflight_method = True
            case _Kind.CONNECTION:
                kept = self._connection(value)
            case _Kind.AUTHORIZATION:
                if value[: len(_BEARER)].lower() == _BEARER:
                    sifted.tokens.append((kind, value[len(_BEARER) :].strip(b" ")))
                    kept = value if self._forward else None
            case _Kind.COOKIE:
                tokens, rest = _split_cookies(value, self._cookie or b"")
                sifted.tokens.extend((kind, token) for token in tokens)
                kept = value if self._forward or not tokens else rest
            case _:
                tokens, others = split_subprotocols(value.decode("latin-1").split(","))
                sifted.tokens.extend((kind, token) for token in tokens)
                if tokens and not self._forward:
                    kept = ", ".join(others).encode("latin-1") or None
        return None if kept is None else (name, kept)

    def _connection(self, value: bytes) -> bytes | None:
        """Drop our own names: a client that lists them would have a proxy remove what we set (P4)."""
        options = value.split(b",")
        ours = [o for o in options if (f := fold(o)) in self._owned or f == self._folded_header]
        if not ours:
            return value
        return b",".join(o for o in options if o not in ours) or None


def _split_cookies(value: bytes, prefix: bytes) -> tuple[list[bytes], bytes | None]:
    """The values of the cookie that starts with `prefix` (`name=`), and the field without it."""
    pairs = [pair.strip(b" ") for pair in value.split(b";")]
    tokens = [pair[len(prefix) :].strip(b'"') for pair in pairs if pair.startswith(prefix)]
    return tokens, b"; ".join(pair for pair in pairs if not pair.startswith(prefix)) or None


def split_subprotocols(offered: Sequence[str]) -> tuple[list[bytes], list[str]]:
    """Tokens among the subprotocols that a WebSocket client offers, and the protocols that are left."""
    names = [name.strip() for name in offered]
    tokens = [n.removeprefix(SUBPROTOCOL_PREFIX) for n in names if n.startswith(SUBPROTOCOL_PREFIX)]
    return [token.encode("latin-1") for token in tokens], [
        n for n in names if not n.startswith(SUBPROTOCOL_PREFIX)
    ]


def split_query(query: bytes, name: str) -> tuple[list[bytes], bytes]:
    """The values of parameter `name`, byte for byte, and the query string without it.

    A token needs no percent-encoding, so none is undone: an encoded one is another spelling, and refused.
    """
    prefix = name.encode() + b"="
    pairs = query.split(b"&")
    tokens = [pair[len(prefix) :] for pair in pairs if pair.startswith(prefix)]
    return tokens, b"&".join(pair for pair in pairs if not pair.startswith(prefix))
