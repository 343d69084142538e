"""The request that a proxy asks about, from the request with which it asks: one convention per proxy.

A convention is never guessed from what is there: a field that this proxy does not set is the client's own,
and whoever believed it would let a client choose the path on which it is judged.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from types import MappingProxyType
from typing import Final
from urllib.parse import unquote_to_bytes

from guestpass.core.identity import fold
from guestpass.core.model import Header
from guestpass.errors import RequestInvalid

_is_method: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,32}").fullmatch  # RFC 9110 §9.1, a token


@dataclass(frozen=True, slots=True, kw_only=True)
class Convention:
    """How one proxy asks, and which answers it understands.

    Attributes:
        method: The field with the original method; None: the request's own method is the original one.
        target: The field with the original target, path and query as the client sent them; None: the target
            stands behind our own path.
        refusals: The statuses that the proxy hands on to the client; None: all. Any other becomes 403 on the
            wire, with what was meant in fields beside it.
    """

    method: bytes | None
    target: bytes | None
    refusals: frozenset[int] | None = None


_FORWARDED: Final = Convention(method=b"x-forwarded-method", target=b"x-forwarded-uri")

CONVENTIONS: Final[Mapping[str, Convention]] = MappingProxyType(
    {
        "caddy": _FORWARDED,
        "traefik": _FORWARDED,
        "nginx": Convention(
            method=b"x-original-method",
            target=b"x-original-uri",
            # auth_request makes a 500 of every other refusal.
            refusals=frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}),
        ),
        "haproxy": Convention(method=b"x-original-method", target=b"x-original-uri"),
        "envoy": Convention(method=None, target=None),
    }
)
"""By the name of the proxy."""


@dataclass(frozen=True, slots=True)
class Original:
    """The request that the proxy got.

    Attributes:
        method: As it came.
        raw_path: As it came, without the query.
        path: Percent-decoded. Whether it has one reading is for `core.paths` to say.
        query: The query string, byte for byte.
    """

    method: str
    raw_path: bytes
    path: str
    query: bytes


def original(convention: Convention, headers: Iterable[Header], *, method: str, behind: bytes) -> Original:
    """Read the original request.

    Args:
        convention: The proxy's.
        headers: The fields of the request with which it asks.
        method: The method with which it asks.
        behind: What stands behind our own path in that request's target, query included.

    Raises:
        RequestInvalid: What the convention calls for is missing, there twice, or not what it should be.
    """
    told = method.encode("latin-1")
    target = behind
    if convention.method is not None and convention.target is not None:
        if behind.partition(b"?")[0]:
            raise RequestInvalid("path: must end with the name of the proxy")
        headers = list(headers)
        told, target = _only(headers, convention.method), _only(headers, convention.target)
    if not _is_method(told):
        raise RequestInvalid("the original method: must be a token")
    raw_path, _, query = target.partition(b"?")
    # What is no UTF-8 becomes a path that does not fit its raw form, which is refused as ambiguous.
    path = unquote_to_bytes(raw_path).decode(errors="replace")
    return Original(told.decode("ascii"), raw_path, path, query)


def _only(headers: Iterable[Header], name: bytes) -> bytes:
    values = [value for field, value in headers if field.lower() == name]
    if len(values) != 1:
        raise RequestInvalid(f"{name.decode('ascii')}: must be there once")
    return values[0]


class OwnedNames:
    """Finds fields that a backend could take for ours, and that no proxy would overwrite.

    The proxy sets our fields over what the client sent under exactly their names. Under any other spelling
    that WSGI, CGI or PHP backends merge with it (`X_Guest_Subject`) the client's copy would pass, and as only
    the proxy could take it out, such a request is refused.
    """

    def __init__(self, owned: Iterable[bytes], *, overwritten: Iterable[bytes], token: str | None) -> None:
        """Prepare for a gate.

        Args:
            owned: Folded names that no client may send.
            overwritten: The lower-case names that every answer of ours sets.
            token: The field that carries the request's own token.
        """
        self._overwritten = frozenset(overwritten)
        self._folded = frozenset(owned)
        if token is not None:
            lower = token.lower().encode("ascii")
            self._folded |= {fold(lower)}
            self._overwritten |= {lower}

    def check(self, headers: Iterable[Header]) -> None:
        """Refuse a request that carries such a field.

        Raises:
            RequestInvalid: It does. The name is the client's own, so it is not echoed.
        """
        for name, _ in headers:
            if fold(name) in self._folded and name.lower() not in self._overwritten:
                raise RequestInvalid("a field name is reserved: it must be left out")
