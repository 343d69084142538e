"""Answers only those who ask for this server by an address or a known name: against DNS rebinding.

A web page can have its own name point at 127.0.0.1. To its browser the admin port is then the page's own
origin, which it may read; but its requests still say that name in Host, and no page's name is an address.
"""

from collections.abc import Iterable
from typing import Final

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from guestpass.core.forwarded import is_host, parse_address

_LOCALHOST: Final = "localhost"
_REFUSAL: Final = PlainTextResponse(
    "The admin port answers to addresses, to localhost, and to the names in server.admin_names.\n",
    421,  # Misdirected Request (RFC 9110 §15.5.20)
    {"cache-control": "no-store"},
)


class KnownHost:
    """Stands in front of an app that no page of another origin may read."""

    def __init__(self, app: ASGIApp, names: Iterable[str]) -> None:
        """Answer to `names` too; neither their case nor a port counts."""
        self.app = app
        self._names = frozenset([_LOCALHOST, *(name.lower() for name in names)])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection; a request without Host is no browser's."""
        hosts = [value for name, value in scope.get("headers", ()) if name == b"host"]
        app = self.app if scope["type"] == "lifespan" or all(map(self._knows, hosts)) else _REFUSAL
        await app(scope, receive, send)

    def _knows(self, host: bytes) -> bool:
        if not is_host(host):
            return False
        text = host.decode("latin-1")
        return text.partition(":")[0].lower() in self._names or parse_address(text) is not None
