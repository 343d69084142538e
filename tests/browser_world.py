"""What the browser's tests run against: a guarded site with the fake vendor behind it, and strangers."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from playwright.sync_api import Page
from starlette.applications import Starlette
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from guestpass.adapters.issuers.guesttoken import GuestTokenIssuer
from guestpass.adapters.issuers.hosts import gateway_hosts
from guestpass.adapters.issuers.oauth import ClientCredentials
from guestpass.adapters.memory_store import MemoryStore
from guestpass.adapters.remote_jwks import RemoteJwks
from guestpass.asgi.client_script import ClientScript
from guestpass.asgi.middleware import GuestTokenMiddleware
from guestpass.asgi.session_endpoint import SessionEndpoint
from guestpass.asgi.site import Site
from guestpass.asgi.token_endpoint import TokenEndpoint
from guestpass.core.claims import ClaimRules
from guestpass.core.cors import Cors
from guestpass.core.matching import Protection, Rule
from guestpass.core.model import Policy
from guestpass.core.surface import Surface
from guestpass.gate import Gate
from guestpass.testing import ISSUER, FakeVendor, FrozenClock, serving
from guestpass.verifier import JwksVerifier

RS256 = frozenset({"RS256"})
MINT = "/api/v2/webchat/v1/guesttokens"
TOKEN = "/guestpass/token"
SESSION = "/api/webchat/session"
SCRIPT = "/guestpass/client.js"
UNGUARDED = ("/page", "/refuses", "/own-401", "/redirect")
RULES = [Rule(None, path, Protection.OFF) for path in UNGUARDED]
POLICY = Policy(spread=0, prefetch=0, rotation_wait=5)
CHALLENGE = 'Bearer realm="guest", error="invalid_token"'
PAGE = "<!doctype html><title>page</title><link rel=icon href=data:,>"
ADA = {"name": "Ada", "email": "ada@example.org"}


@dataclass
class Seen:
    """A request as it reached a server."""

    method: str
    path: str
    token: str | None


@dataclass
class Recorder:
    """An ASGI app before an app: notes what comes."""

    app: ASGIApp
    seen: list[Seen] = field(default_factory=list)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            headers = {name.decode(): value.decode("latin-1") for name, value in scope["headers"]}
            token = headers.get("x-guest-token") or headers.get("sec-websocket-protocol")
            self.seen.append(Seen(scope.get("method", "WEBSOCKET"), scope["path"], token))
        await self.app(scope, receive, send)

    def of(self, path: str, method: str | None = None) -> list[Seen]:
        return [seen for seen in self.seen if seen.path == path and method in (None, seen.method)]


@dataclass
class World:
    """Three origins: `site` guards an app, `shop` may call it, `evil` may not."""

    vendor: FakeVendor
    clock: FrozenClock
    gate: Gate
    seen: Recorder
    strangers: Recorder
    site: str
    shop: str
    evil: str

    def forget(self) -> None:
        """Begin the next test with empty notes."""
        self.vendor.journal.clear()
        self.seen.seen.clear()
        self.strangers.seen.clear()

    @property
    def mints(self) -> int:
        """How many tokens the vendor was asked for."""
        return len(self.vendor.journal.outcomes(MINT))


async def _page(_: Request) -> Response:
    return HTMLResponse(PAGE)


async def _echo(request: Request) -> Response:
    body = (await request.body()).decode()
    return JSONResponse({"guest": request.state.guest.name, "method": request.method, "body": body})


async def _redirect(request: Request) -> Response:
    return RedirectResponse(request.query_params["to"], 307)


async def _challenge(_: Request) -> Response:
    """A gate that refuses whatever it is sent."""
    return Response(
        status_code=401, headers={"www-authenticate": 'Bearer realm="guest", error="invalid_token"'}
    )


async def _own_401(_: Request) -> Response:
    return Response(status_code=401, headers={"www-authenticate": 'Bearer realm="app"'})


async def _busy(_: Request) -> Response:
    return Response(status_code=503, headers={"retry-after": "7"})


async def _socket(socket: WebSocket) -> None:
    await socket.accept()
    await socket.send_json({"guest": socket.user.name, "offered": socket.scope["subprotocols"]})
    async for text in socket.iter_text():
        await socket.send_text(text)


async def _plain_socket(socket: WebSocket) -> None:
    await socket.accept()
    await socket.send_json({"offered": socket.scope["subprotocols"]})


ROUTES = [
    Route("/page", _page),
    Route("/echo", _echo, methods=["GET", "POST"]),
    Route("/redirect", _redirect),
    Route("/refuses", _challenge),
    Route("/own-401", _own_401),
    Route("/busy", _busy),
    WebSocketRoute("/socket", _socket),
]


def strange() -> ASGIApp:
    """A server that takes everything from everyone, as an attacker's would."""
    app = Starlette(
        routes=[
            Route("/page", _page),
            WebSocketRoute("/socket", _plain_socket),
            Route("/{rest:path}", lambda _: Response("ok"), methods=["GET", "POST"]),
        ]
    )
    return CORSMiddleware(app, allow_origins=["*"], allow_headers=["*"], allow_methods=["*"])


@contextmanager
def running(make_gate: Callable[[str, str, FrozenClock], Gate] | None = None) -> Iterator[World]:
    """Everything served; time stands still on the servers until a test moves it.

    `make_gate` makes another gate than the usual, of the vendor's URL, the shop's, and the clock; guests then
    log in at `SESSION`.
    """
    clock = FrozenClock()
    vendor, strangers = FakeVendor(clock=clock), Recorder(strange())
    with serving(vendor) as issuing, serving(strange()) as shop, serving(strangers) as evil:
        gate = (make_gate or _usual_gate)(issuing, shop, clock)
        app = CORSMiddleware(
            Starlette(routes=ROUTES),
            allow_origins=[shop],
            allow_methods=["GET", "POST"],
            allow_headers=["X-Guest-Token", "Content-Type"],
        )
        own: dict[str, ASGIApp] = {SCRIPT: ClientScript()}
        own |= {SESSION: SessionEndpoint(gate)} if make_gate else {TOKEN: TokenEndpoint(gate)}
        seen = Recorder(Site(GuestTokenMiddleware(app, gate=gate), own))
        with serving(seen) as site:
            yield World(vendor, clock, gate, seen, strangers, site, shop, evil)


def _usual_gate(issuing: str, shop: str, clock: FrozenClock) -> Gate:
    verifier = JwksVerifier(
        RemoteJwks(f"{issuing}/api/v2/oauth/jwks", algorithms=RS256, clock=clock),
        ClaimRules(issuer=ISSUER, leeway=30.0),
        algorithms=RS256,
        clock=clock,
    )
    credentials = ClientCredentials(client_id="fake-client", client_secret="fake-secret")
    return Gate(
        verifier=verifier,
        issuer=GuestTokenIssuer(hosts=gateway_hosts(issuing), credentials=credentials, clock=clock),
        store=MemoryStore(clock),
        clock=clock,
        policy=POLICY,
        rules=RULES,
        surface=Surface(cors=Cors(frozenset({shop}))),
    )


def create(page: Page, world: World, **options: Any) -> None:
    """Make the guest of a page."""
    page.evaluate(
        """async ([module, options]) => {
            const { createGuest } = await import(module);
            window.told = [];
            window.guest = createGuest(options);
            for (const type of ["token", "expired", "error"])
                guest.addEventListener(type, () => told.push(type));
        }""",
        [
            f"{world.site}{SCRIPT}",
            {"identity": ADA, "endpoint": f"{world.site}{TOKEN}", **options},
        ],
    )
