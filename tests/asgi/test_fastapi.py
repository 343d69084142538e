"""`guestpass.fastapi`: what a route is handed, who is turned away, and what the documentation page knows."""

import subprocess
import sys

import pytest
from fastapi import Depends, FastAPI, WebSocket
from kit import ADA, World, drive, http_scope, token, world
from shells import carrying, converse, websocket_scope

from guestpass.asgi.middleware import GuestTokenMiddleware
from guestpass.core.matching import Protection, Rule
from guestpass.core.model import ANONYMOUS, Guest
from guestpass.fastapi import AnyGuest, CurrentGuest, GuestDependency, current_guest

pytestmark = pytest.mark.anyio

RULES = [
    Rule(None, "/open/*", Protection.OFF),
    Rule(None, "/lax/*", Protection.OPTIONAL),
]


def app_over(w: World) -> FastAPI:
    app = FastAPI()
    app.add_middleware(GuestTokenMiddleware, gate=w.gate)

    @app.get("/chat")
    @app.get("/lax/strict")
    @app.get("/open/mistake")
    def strict(guest: CurrentGuest) -> str:
        return guest.name

    @app.get("/lax/any")
    @app.get("/open/any")
    async def anyone(guest: AnyGuest) -> str:
        return "a stranger" if guest is ANONYMOUS else guest.name

    @app.get("/plain")
    def plain() -> str:
        return "plain"

    @app.websocket("/lax/socket")
    async def socket(websocket: WebSocket, guest: CurrentGuest) -> None:
        await websocket.accept()
        await websocket.send_text(guest.name)

    return app


@pytest.fixture
def app() -> FastAPI:
    return app_over(world(rules=RULES))


@pytest.mark.parametrize("path", ["/chat", "/lax/strict", "/lax/any"])
async def test_a_route_is_handed_the_guest_of_the_token(app: FastAPI, path: str) -> None:
    sent = await drive(app, carrying(token(), path=path))
    assert (sent.status, sent.body) == (200, b'"Ada"')


async def test_whoever_comes_without_a_token_is_any_guest_and_no_current_guest(app: FastAPI) -> None:
    assert (await drive(app, http_scope(path="/lax/any"))).body == b'"a stranger"'
    refused = await drive(app, http_scope(path="/lax/strict"))
    assert refused.status == 401
    assert refused.values(b"www-authenticate") == [b'Bearer realm="guest"']


@pytest.mark.parametrize("path", ["/open/mistake", "/open/any"])
async def test_a_route_that_no_gate_looks_at_has_no_guest_rather_than_an_anonymous_one(
    app: FastAPI, path: str
) -> None:
    """A route left open by mistake must not look as if its visitors had been checked."""
    with pytest.raises(RuntimeError, match="GuestTokenMiddleware is missing, or its rule"):
        await drive(app, carrying(token(), path=path))


async def test_a_websocket_is_handed_its_guest_and_is_refused_without_one(app: FastAPI) -> None:
    scope = {**websocket_scope(token()), "path": "/lax/socket", "raw_path": b"/lax/socket"}
    sent = await converse(app, scope)
    assert [message["type"] for message in sent.messages[:2]] == ["websocket.accept", "websocket.send"]
    assert sent.messages[1]["text"] == ADA.name
    scope = {**websocket_scope(None), "path": "/lax/socket", "raw_path": b"/lax/socket"}
    (closed,) = (await converse(app, scope)).messages
    assert (closed["type"], closed["code"], closed["reason"]) == ("websocket.close", 4401, "token_missing")


def test_the_documentation_knows_the_field_and_which_routes_need_it(app: FastAPI) -> None:
    document = app.openapi()
    (scheme,) = document["components"]["securitySchemes"].items()
    assert scheme[0] == "guest"
    assert (scheme[1]["type"], scheme[1]["in"], scheme[1]["name"]) == ("apiKey", "header", "X-Guest-Token")
    needed = {path: "security" in routes["get"] for path, routes in document["paths"].items()}
    assert needed["/chat"]
    assert needed["/lax/any"]
    assert not needed["/plain"]
    # The field is the scheme's alone, and no parameter that the page would ask for again.
    assert "parameters" not in document["paths"]["/chat"]["get"]


def test_another_field_is_documented_under_its_own_name() -> None:
    app = FastAPI(dependencies=[Depends(GuestDependency(header="X-Visitor", scheme_name="visitor"))])

    @app.get("/")
    def route() -> None: ...

    document = app.openapi()
    assert document["components"]["securitySchemes"]["visitor"]["name"] == "X-Visitor"
    assert document["paths"]["/"]["get"]["security"] == [{"visitor": []}]


async def test_a_test_of_a_users_puts_a_guest_of_its_own_in_place(app: FastAPI) -> None:
    grace = Guest(subject="1", name="Grace", email="", expires_at=ANONYMOUS.expires_at, anonymous=False)
    app.dependency_overrides[current_guest] = lambda: grace
    assert (await drive(app, carrying(token()))).body == b'"Grace"'


def test_without_fastapi_the_import_says_what_to_install() -> None:
    hidden = "import sys; sys.modules['fastapi'] = None; import guestpass.fastapi"
    done = subprocess.run([sys.executable, "-c", hidden], check=False, capture_output=True, text=True)
    assert "ImportError: guestpass.fastapi needs FastAPI: pip install fastapi" in done.stderr
