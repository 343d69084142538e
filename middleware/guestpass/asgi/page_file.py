"""A file of a page of ours, out of the package, with a policy that lets nothing else in."""

from importlib.resources import files
from typing import Final

from starlette.responses import PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

_TYPES: Final = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
_FIELDS: Final = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "cross-origin-resource-policy": "same-origin",
}


class PageFile:
    """One file of a page, as an ASGI app."""

    def __init__(self, path: str) -> None:
        """Read the file at that path below `guestpass/`."""
        self._content = files("guestpass").joinpath(path).read_bytes()
        self._type = _TYPES[path.rpartition(".")[2]]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        response: Response = Response(self._content, media_type=self._type, headers=_FIELDS)
        if scope["method"] not in ("GET", "HEAD"):
            response = PlainTextResponse("Method Not Allowed", 405, {"allow": "GET, HEAD"})
        await response(scope, receive, send)
