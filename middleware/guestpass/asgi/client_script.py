"""Serves the browser's script: public code, the same for everyone, so any page and cache may have it."""

from base64 import b64encode
from functools import cache
from hashlib import sha384
from importlib.resources import files
from typing import Final

from starlette.types import Receive, Scope, Send

from guestpass.asgi.problem import problem
from guestpass.core.model import Header
from guestpass.errors import MethodNotAllowed

_READING: Final = frozenset({"GET", "HEAD"})
# An hour: long enough to spare the request on each page, short enough that a fix soon reaches everyone.
_CACHING: Final[Header] = (b"cache-control", b"public, max-age=3600")


@cache
def script() -> bytes:
    """The module, as it is in the package."""
    return files("guestpass").joinpath("client/guestpass.js").read_bytes()


@cache
def integrity() -> str:
    """What a script element's `integrity` says of it (Subresource Integrity §3.1)."""
    return f"sha384-{b64encode(sha384(script()).digest()).decode('ascii')}"


class ClientScript:
    """An ASGI app for one path; mount it outside what the gate guards (it is one of `gate.OPEN_PATHS`)."""

    def __init__(self) -> None:
        """Read the script once."""
        body = script()
        self.body = body
        self.etag = b'"%s"' % integrity().encode("ascii")
        self._always: list[Header] = [
            (b"etag", self.etag),
            _CACHING,
            # A page of any origin may import it: a module is always fetched with CORS.
            (b"access-control-allow-origin", b"*"),
            (b"cross-origin-resource-policy", b"cross-origin"),
            (b"x-content-type-options", b"nosniff"),
        ]
        self._content: list[Header] = [
            (b"content-type", b"text/javascript; charset=utf-8"),
            (b"content-length", b"%d" % len(body)),
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002  ASGI's signature
        """Answer one request."""
        method = scope["method"]
        if method not in _READING:
            status, fields, body = problem(MethodNotAllowed("method: must be GET or HEAD"))
            fields.append((b"allow", b"GET, HEAD"))
        elif _has(scope, self.etag):
            status, fields, body = 304, self._always, b""
        else:
            status, fields, body = 200, [*self._always, *self._content], self.body
        await send({"type": "http.response.start", "status": status, "headers": fields})
        await send({"type": "http.response.body", "body": b"" if method == "HEAD" else body})


def _has(scope: Scope, etag: bytes) -> bool:
    """Whether the client has it already: weak comparison, over a list or `*` (RFC 9110 §13.1.2)."""
    tags = [
        tag.strip().removeprefix(b"W/")
        for name, value in scope["headers"]
        if name.lower() == b"if-none-match"
        for tag in value.split(b",")
    ]
    return etag in tags or b"*" in tags
