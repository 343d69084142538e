"""The demo's page and its switch for the issuer, as an ASGI app that the proxy routes `/demo/` to."""

from typing import Any, Final, Protocol

from anyio import to_thread
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from guestpass.asgi.page_file import PageFile
from guestpass.asgi.site import Site
from guestpass.config.values import is_loopback

PATH: Final = "/demo/"
SWITCH: Final = f"{PATH}issuer"


class Issuer(Protocol):
    """The issuer as the page knows it; called in threads."""

    def issuer(self) -> dict[str, Any]:
        """`on`, and how many tokens it has minted: `mints`."""
        ...

    def switch_issuer(self, *, on: bool) -> None:
        """Have it answer, or cut every connection."""
        ...


class Switch:
    """`GET` says how the issuer is; `POST {"on": bool}` switches it, and is for the demo's own page alone.

    It asks for no token: with the issuer off a guest has none before long, and is to switch it on again. So
    any page in the visitor's browser could post here. A browser says with Origin which one does (Fetch
    §3.2), and that has to be the one that Host names, by an address of this machine: a foreign page fails
    the former, and one whose name was rebound to loopback the latter.
    """

    def __init__(self, issuer: Issuer) -> None:
        self._issuer = issuer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        response = await self._answer(Request(scope, receive))
        response.headers["cache-control"] = "no-store"
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        if request.method == "POST":
            if not _is_from_our_page(request):
                return PlainTextResponse("Only the demo's own page may do this", 403)
            match await _document(request):
                case {"on": bool(on)}:
                    await to_thread.run_sync(lambda: self._issuer.switch_issuer(on=on))
                case _:
                    return PlainTextResponse('The body must be {"on": true} or {"on": false}', 400)
        elif request.method != "GET":
            return PlainTextResponse("Method Not Allowed", 405, {"allow": "GET, POST"})
        return JSONResponse(await to_thread.run_sync(self._issuer.issuer))


def desk(issuer: Issuer) -> ASGIApp:
    """The page's files and the switch, each at its path."""
    pages: dict[str, ASGIApp] = {
        PATH: PageFile("demo/page/demo.html"),
        **{f"{PATH}{name}": PageFile(f"demo/page/{name}") for name in ("demo.css", "demo.js", "icon.svg")},
        SWITCH: Switch(issuer),
    }
    return Site(PlainTextResponse("Not Found", 404), pages)


def _is_from_our_page(request: Request) -> bool:
    host = request.headers.get("host", "")
    return request.headers.get("origin") == f"http://{host}" and is_loopback(host.rpartition(":")[0])


async def _document(request: Request) -> Any:
    try:
        return await request.json()
    except ValueError:
        return None
