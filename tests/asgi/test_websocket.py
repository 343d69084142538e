"""WebSockets behind the middleware: refused before they open, named while open, closed when time is up."""

from collections.abc import Callable

import anyio
import pytest
from kit import NOW, World, token, world
from shells import DEAD, NEAR, LiveClock, converse, websocket_scope
from starlette.types import Message, Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from guestpass.asgi.middleware import GuestTokenMiddleware
from guestpass.core.bearer import Sources
from guestpass.core.cors import Cors
from guestpass.core.inject import CookieDelivery
from guestpass.core.matching import Protection, Rule
from guestpass.core.model import Header, Policy, RawToken
from guestpass.core.surface import Surface
from guestpass.errors import Unavailable

pytestmark = pytest.mark.anyio

EXPIRED: Message = {"type": "websocket.close", "code": 4401, "reason": "token expired"}
HELLO: Message = {"type": "websocket.receive", "text": "hello"}


def accepting(*, subprotocol: str | None = None, headers: list[Header] | None = None) -> "Socket":
    accept: Message = {"type": "websocket.accept"}
    if subprotocol is not None:
        accept["subprotocol"] = subprotocol
    if headers is not None:
        accept["headers"] = headers
    return Socket(accept)


class Socket:
    """Accepts, and lets `then` do the rest."""

    def __init__(self, accept: Message) -> None:
        self.accept = accept
        self.scopes: list[Scope] = []
        self.received: list[Message] = []
        self.then: Callable[[Receive, Send], object] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scopes.append(scope)
        assert (await receive())["type"] == "websocket.connect"
        await send(self.accept)
        if self.then is not None:
            await self.then(receive, send)  # type: ignore[misc]  # each is async


def guarded(w: World, app: object) -> GuestTokenMiddleware:
    return GuestTokenMiddleware(app, gate=w.gate)  # type: ignore[arg-type]  # tests pass apps of many kinds


# --- the handshake ------------------------------------------------------------------------------------------


async def test_near_expiry_the_handshake_carries_the_successor() -> None:
    sent = await converse(guarded(world(), accepting()), websocket_scope(token(exp=NEAR)))
    assert len(sent.values(b"x-guest-token")) == 1
    assert sent.values(b"x-guest-token-expires-in") == [b"1800"]
    assert sent.values(b"vary") == []


async def test_what_the_app_says_in_the_handshake_under_our_names_gives_way() -> None:
    """R15."""
    app = accepting(
        headers=[(b"X-Guest-Token", b"spoofed"), (b"x-guest-token", b"spoofed"), (b"x-own", b"1")]
    )
    sent = await converse(guarded(world(), app), websocket_scope(token(exp=NEAR)))
    assert sent.values(b"x-guest-token") == [token(exp=NOW + 1800).compact]
    assert sent.values(b"x-own") == [b"1"]


async def test_a_handshake_delivers_by_cookie_too() -> None:
    w = world(surface=Surface(cookie=CookieDelivery("guest")))
    sent = await converse(guarded(w, accepting()), websocket_scope(token(exp=NEAR)))
    assert sent.values(b"set-cookie")[0].startswith(b"guest=" + token(exp=NOW + 1800).compact)


async def test_a_fresh_token_adds_nothing_to_the_handshake() -> None:
    app = accepting(headers=[(b"x-own", b"1")])
    sent = await converse(guarded(world(), app), websocket_scope(token()))
    assert sent.messages == [{"type": "websocket.accept", "headers": [(b"x-own", b"1")]}]


async def test_the_token_may_come_as_a_subprotocol_which_the_app_never_sees() -> None:
    """P27: a browser can set no field on a WebSocket."""
    app = accepting()
    offered = ["guestpass", "guestpass.token." + token().compact.decode(), "chat"]
    field = (b"sec-websocket-protocol", ", ".join(offered).encode())
    sent = await converse(guarded(world(), app), websocket_scope(None, field, subprotocols=offered))
    assert sent.messages[0]["subprotocol"] == "guestpass"
    (seen,) = app.scopes
    assert seen["subprotocols"] == ["guestpass", "chat"]
    assert (b"sec-websocket-protocol", b"guestpass, chat") in seen["headers"]
    assert seen["state"]["guest"].name == "Ada"


@pytest.mark.parametrize(
    ("offered", "chosen", "selected"),
    [(["guestpass", "chat"], "chat", "chat"), (["chat"], None, None), (["guestpass"], None, "guestpass")],
)
async def test_our_subprotocol_is_selected_only_where_the_app_selects_none(
    offered: list[str], chosen: str | None, selected: str | None
) -> None:
    scope = websocket_scope(token(), subprotocols=offered)
    sent = await converse(guarded(world(), accepting(subprotocol=chosen)), scope)
    assert sent.messages[0].get("subprotocol") == selected


COOKIE = Surface(sources=Sources(cookie="guest"), cors=Cors(frozenset({"https://shop.example"})))


def by_cookie(origin: bytes | None, *more: Header) -> Scope:
    fields = [(b"cookie", b"guest=" + token().compact), *more]
    if origin is not None:
        fields.append((b"origin", origin))
    return websocket_scope(None, *fields)


@pytest.mark.parametrize(
    "origin",
    [
        b"https://evil.example",
        b"null",
        b"https://app.evil.example",
        b"https://evil-app",
        b"app",
        b"https://app:8443",
    ],
)
async def test_no_page_of_another_site_opens_a_socket_with_the_guests_cookie(origin: bytes) -> None:
    """P27: a browser asks nobody before it opens a WebSocket, and sends the cookies along."""
    app = accepting()
    sent = await converse(guarded(world(surface=COOKIE), app), by_cookie(origin, (b"host", b"app")))
    assert sent.messages == [{"type": "websocket.close", "code": 4403, "reason": "origin_foreign"}]
    assert app.scopes == []


@pytest.mark.parametrize("origin", [None, b"https://app", b"http://app", b"https://shop.example"])
async def test_pages_of_the_host_itself_and_named_ones_open_a_socket_by_cookie(origin: bytes | None) -> None:
    sent = await converse(guarded(world(surface=COOKIE), accepting()), by_cookie(origin, (b"host", b"App")))
    assert sent.messages[0]["type"] == "websocket.accept"


async def test_a_page_of_another_site_that_knows_the_token_opens_a_socket() -> None:
    """It says so beside the cookie; whoever knows the token may use it."""
    offered = ["guestpass.token." + token().compact.decode()]
    scope = {**by_cookie(b"https://evil.example", (b"host", b"app")), "subprotocols": offered}
    sent = await converse(guarded(world(surface=COOKIE), accepting()), scope)
    assert sent.messages[0]["type"] == "websocket.accept"


async def test_a_page_without_a_host_to_compare_with_is_foreign() -> None:
    scope = by_cookie(b"https://app")
    scope["headers"] = [field for field in scope["headers"] if field[0] != b"host"]
    sent = await converse(guarded(world(surface=COOKIE), accepting()), scope)
    assert sent.messages[0]["code"] == 4403


async def test_identity_is_in_the_scope_and_a_clients_own_word_is_not() -> None:
    """P1, P27."""
    app = accepting()
    await converse(guarded(world(), app), websocket_scope(token(), (b"x_guest_subject", b"root")))
    (seen,) = app.scopes
    assert seen["user"].name == "Ada"
    assert [v for n, v in seen["headers"] if n == b"x-guest-subject"] == [b"sub-of-Ada"]
    assert b"root" not in [value for _, value in seen["headers"]]


@pytest.mark.parametrize(
    ("raw", "code", "reason"),
    [
        (None, 4401, "token_missing"),
        (RawToken(b"rubbish"), 4401, "invalid_token"),
        (token(exp=DEAD), 4401, "token_expired"),
    ],
    ids=["missing", "rubbish", "expired"],
)
async def test_who_has_no_good_token_is_refused_before_the_socket_opens(
    raw: RawToken | None, code: int, reason: str
) -> None:
    """P27."""
    app = accepting()
    sent = await converse(guarded(world(), app), websocket_scope(raw))
    assert sent.messages == [{"type": "websocket.close", "code": code, "reason": reason}]
    assert app.scopes == []


async def test_two_tokens_and_an_issuer_that_is_down_refuse_with_codes_of_their_own() -> None:
    sent = await converse(
        guarded(world(), accepting()), websocket_scope(token(), (b"x-guest-token", b"another"))
    )
    assert sent.messages[0]["code"] == 4400
    w = world()
    w.issuer.failure = Unavailable()
    sent = await converse(guarded(w, accepting()), websocket_scope(token(exp=NOW - 40)))
    assert (sent.messages[0]["code"], sent.messages[0]["reason"]) == (4503, "unavailable")


async def test_a_denial_by_the_app_is_a_response_like_any_other() -> None:
    """The extension `websocket.http.response`: what holds for HTTP holds for it (R14)."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.http.response.start", "status": 404, "headers": [(b"etag", b'"1"')]})
        await send({"type": "websocket.http.response.body", "body": b"no"})

    sent = await converse(guarded(world(), app), websocket_scope(token(exp=NEAR)))
    assert sent.status == 404
    assert len(sent.values(b"x-guest-token")) == 1
    assert sent.values(b"cache-control") == [b"private, no-store"]
    assert sent.values(b"etag") == []
    fresh = await converse(guarded(world(), app), websocket_scope(token()))
    assert fresh.headers == [(b"etag", b'"1"'), (b"vary", b"X-Guest-Token")]


async def test_a_route_that_is_not_guarded_opens_for_everyone_and_for_ever() -> None:
    clock = LiveClock()
    w = world(clock=clock, rules=[Rule(None, "/chat", Protection.OFF)])
    app = accepting()

    async def then(receive: Receive, send: Send) -> None:
        clock.advance(100_000)
        app.received.append(await receive())

    app.then = then
    sent = await converse(guarded(w, app), websocket_scope(token(exp=DEAD)), HELLO)
    assert sent.messages == [{"type": "websocket.accept"}]
    assert app.received == [HELLO]


async def test_an_anonymous_socket_has_no_time_that_runs_out() -> None:
    clock = LiveClock()
    w = world(clock=clock, rules=[Rule(None, "/chat", Protection.OPTIONAL)])
    app = accepting()

    async def then(receive: Receive, send: Send) -> None:
        clock.advance(100_000)
        app.received.append(await receive())

    app.then = then
    await converse(guarded(w, app), websocket_scope(None), HELLO)
    assert app.received == [HELLO]


# --- when the token's time is up ----------------------------------------------------------------------------


async def test_while_the_app_waits_the_socket_closes_on_the_instant() -> None:
    """P28."""
    clock = LiveClock()
    w = world(clock=clock, policy=Policy(spread=0, leeway=0, grace=0, rotate_before=0))
    app = accepting()

    async def then(receive: Receive, send: Send) -> None:
        while True:
            app.received.append(await receive())
            if app.received[-1]["type"] == "websocket.disconnect":
                break
        assert clock.time() >= NOW + 0.05
        app.received.append(await receive())  # it stays gone

    app.then = then
    sent = await converse(guarded(w, app), websocket_scope(token(exp=NOW + 0.05)), HELLO)
    gone = {"type": "websocket.disconnect", "code": 4401, "reason": "token expired"}
    assert app.received == [HELLO, gone, gone]
    assert [m["type"] for m in sent.messages] == ["websocket.accept", "websocket.close"]
    assert sent.messages[-1] == EXPIRED


async def test_a_token_lives_through_its_grace_on_an_open_socket() -> None:
    w = world()
    app = accepting()

    async def then(receive: Receive, send: Send) -> None:
        w.clock.advance(1800 + 59.9)
        await send({"type": "websocket.send", "text": "still here"})
        app.received.append(await receive())
        w.clock.advance(0.1)
        app.received.append(await receive())

    app.then = then
    sent = await converse(guarded(w, app), websocket_scope(token()), HELLO)
    assert [m["type"] for m in app.received] == ["websocket.receive", "websocket.disconnect"]
    assert sent.messages[1:] == [{"type": "websocket.send", "text": "still here"}, EXPIRED]


async def test_an_app_that_only_sends_is_closed_too_and_stopped() -> None:
    w = world()
    app = accepting()
    ticks = 0

    async def then(receive: Receive, send: Send) -> None:
        nonlocal ticks
        for _ in range(100):  # a ticker that never listens
            await send({"type": "websocket.send", "text": "tick"})
            ticks += 1
            w.clock.advance(600)

    app.then = then
    sent = await converse(guarded(w, app), websocket_scope(token()))
    assert ticks == 4  # at 0, 600, 1200 and 1800 s; "exp" is 1800, and grace 60 s
    assert sent.messages[-1] == EXPIRED
    assert len(sent.messages) == 6


async def test_a_socket_is_closed_once_whoever_closes_it() -> None:
    """A second close is an error to the server."""
    w = world()
    app = accepting()

    async def then(receive: Receive, send: Send) -> None:
        w.clock.advance(2000)
        app.received.append(await receive())
        await send({"type": "websocket.close", "code": 1000})
        with pytest.raises(OSError, match="expired"):
            await send({"type": "websocket.send", "text": "?"})

    app.then = then
    sent = await converse(guarded(w, app), websocket_scope(token()))
    assert sent.messages[1:] == [EXPIRED]


async def test_an_app_that_closes_first_is_let_close() -> None:
    w = world()
    app = accepting()
    own: Message = {"type": "websocket.close", "code": 1000}

    async def then(receive: Receive, send: Send) -> None:
        w.clock.advance(2000)
        await send(own)

    app.then = then
    sent = await converse(guarded(w, app), websocket_scope(token()))
    assert sent.messages[1:] == [own]


async def test_starlettes_socket_disconnects_with_our_code() -> None:
    clock = LiveClock()
    w = world(clock=clock, policy=Policy(spread=0, leeway=0, grace=0, rotate_before=0))
    codes: list[int] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        socket = WebSocket(scope, receive, send)
        await socket.accept()
        try:
            await socket.receive_text()
        except WebSocketDisconnect as gone:
            codes.append(gone.code)

    sent = await converse(guarded(w, app), websocket_scope(token(exp=NOW + 0.05)))
    assert codes == [4401]
    assert sent.messages[-1] == EXPIRED


async def test_a_successor_in_the_handshake_does_not_lengthen_the_sockets_time() -> None:
    """The rule that is kept: a socket lives as long as the token that opened it, and its grace."""
    w = world()
    app = accepting()

    async def then(receive: Receive, send: Send) -> None:
        w.clock.advance(200 + 60)
        app.received.append(await receive())

    app.then = then
    sent = await converse(guarded(w, app), websocket_scope(token(exp=NEAR)))
    assert len(sent.values(b"x-guest-token")) == 1
    assert app.received[0]["code"] == 4401


async def test_a_token_in_the_query_opens_a_socket_where_that_is_configured() -> None:
    w = world(surface=Surface(sources=Sources(query="guest_token")))
    app = accepting()
    scope = {**websocket_scope(None), "query_string": b"room=1&guest_token=" + token().compact}
    await converse(guarded(w, app), scope)
    assert app.scopes[0]["query_string"] == b"room=1"


async def test_waiting_ends_with_the_apps_own_cancellation() -> None:
    """Our timer must not swallow another's."""
    app = accepting()
    stopped = anyio.Event()

    async def then(receive: Receive, send: Send) -> None:
        with anyio.move_on_after(0.01) as scope:
            await receive()
        assert scope.cancelled_caught
        stopped.set()

    app.then = then
    await converse(guarded(world(), app), websocket_scope(token()))
    assert stopped.is_set()
