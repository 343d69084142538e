"""The status page: three files of our own, with a policy that lets nothing else in."""

from importlib.resources import files
from typing import Final

from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

_TYPES: Final = {"html": "text/html", "css": "text/css", "js": "text/javascript"}
_FIELDS: Final = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "cross-origin-resource-policy": "same-origin",
}


class PageFile:
    """One file of the page."""

    def __init__(self, name: str) -> None:
        """Read the file of that name, shipped in `guestpass/status/`."""
        self._content = files("guestpass").joinpath("status", name).read_bytes()
        self._type = _TYPES[name.rpartition(".")[2]]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        response: Response = Response(self._content, media_type=self._type, headers=_FIELDS)
        if scope["method"] not in ("GET", "HEAD"):
            response = PlainTextResponse("Method Not Allowed", 405, {"allow": "GET, HEAD"})
        await response(scope, receive, send)


def status_pages() -> dict[str, ASGIApp]:
    """The page's files by path."""
    return {
        "/status": PageFile("status.html"),
        "/status/status.css": PageFile("status.css"),
        "/status/status.js": PageFile("status.js"),
    }
