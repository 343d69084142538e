"""What a response gains on its way out: the successor and its company; on asyncio and trio."""

import copy

import anyio
import pytest
from kit import ADA, NOW, Sent, World, drive, http_scope, token, world
from shells import DUE, NEAR, ORIGIN, App, carrying
from starlette.types import Message, Scope

from guestpass.admission import Admitted, Delivery
from guestpass.asgi.messages import admitted_scope, answering, read_request, refusal_fields
from guestpass.asgi.middleware import GuestTokenMiddleware
from guestpass.core.bearer import Sources
from guestpass.core.cors import Cors
from guestpass.core.inject import CookieDelivery, Fields
from guestpass.core.matching import Protection, Rule
from guestpass.core.model import ANONYMOUS, Header, Policy, RawToken, Successor, UnixTime
from guestpass.core.surface import Surface
from guestpass.errors import TokenExpired, Unavailable

pytestmark = pytest.mark.anyio

SHOP: Header = (b"origin", ORIGIN)
CORS = Surface(cors=Cors(frozenset({ORIGIN.decode()})))


async def ask(w: World, scope: Scope, app: App | None = None) -> Sent:
    return await drive(GuestTokenMiddleware(app or App(), gate=w.gate), scope)


def names(sent: Sent) -> list[bytes]:
    return [name for name, _ in sent.headers]


# --- the successor ----------------------------------------------------------------------------------------


async def test_near_expiry_the_response_carries_the_successor_and_its_times() -> None:
    w = world()
    w.issuer.answer = lambda _: token(exp=NOW + 1800.9)
    sent = await ask(w, carrying(token(exp=NEAR)))
    assert sent.values(b"x-guest-token") == [token(exp=NOW + 1800.9).compact]
    assert sent.values(b"x-guest-token-expires-at") == [b"2027-01-15T08:30:00Z"]
    assert sent.values(b"x-guest-token-expires-in") == [b"1800"]
    assert (sent.status, sent.body) == (200, b"hello")


async def test_a_fresh_token_leaves_the_response_as_it_is_but_for_vary() -> None:
    app = App(headers=[(b"etag", b'"1"'), (b"cache-control", b"public")])
    sent = await ask(world(), carrying(token()), app)
    assert sent.headers == [(b"etag", b'"1"'), (b"cache-control", b"public"), (b"vary", b"X-Guest-Token")]


@pytest.mark.parametrize("status", [200, 201, 206, 301, 304, 401, 404, 500, 503])
async def test_a_guarded_route_delivers_whatever_its_status(status: int) -> None:
    """R14: a page that meets an error must not lose its session over it."""
    w = world()
    sent = await ask(w, carrying(token(exp=NEAR)), App(status))
    assert sent.status == status
    assert len(sent.values(b"x-guest-token")) == 1
    assert sent.values(b"cache-control") == [b"private, no-store"]
    assert w.issuer.calls == [ADA]


@pytest.mark.parametrize("path", ["/open/page", "/livez", "/guestpass/token"])
async def test_a_route_that_is_not_guarded_neither_mints_nor_delivers(path: str) -> None:
    """R14."""
    w = world(rules=[Rule(None, "/open/*", Protection.OFF)])
    scope = http_scope(path=path, headers=[(b"x-guest-token", token(exp=NEAR).compact)])
    sent = await ask(w, scope)
    assert sent.headers == []
    assert w.issuer.calls == []


async def test_a_preflight_neither_mints_nor_delivers_and_is_the_apps_to_answer() -> None:
    """R14, P15."""
    w = world(surface=CORS)
    method = (b"access-control-request-method", b"PUT")
    app = App(204, headers=[(b"access-control-allow-methods", b"PUT")])
    sent = await ask(w, carrying(token(exp=NEAR), SHOP, method, method="OPTIONS"), app)
    assert sent.headers == [(b"access-control-allow-methods", b"PUT")]
    assert w.issuer.calls == []


async def test_on_an_optional_route_a_token_is_rotated_and_nobody_is_anonymous() -> None:
    w = world(rules=[Rule(None, "/*", Protection.OPTIONAL)])
    assert (await ask(w, carrying(None))).headers == [(b"vary", b"X-Guest-Token")]
    assert len((await ask(w, carrying(token(exp=NEAR)))).values(b"x-guest-token")) == 1


async def test_what_the_app_says_under_our_names_gives_way_to_ours_in_whatever_case() -> None:
    """R15."""
    spoofed = [
        (b"X-Guest-Token", b"spoofed"),
        (b"x-GUEST-token", b"spoofed again"),
        (b"X-Guest-Token-Expires-In", b"999999"),
        (b"x-guest-token-expires-at", b"2099-01-01T00:00:00Z"),
    ]
    sent = await ask(world(), carrying(token(exp=NEAR)), App(headers=spoofed))
    for name in (b"x-guest-token", b"x-guest-token-expires-at", b"x-guest-token-expires-in"):
        assert len(sent.values(name)) == 1
    assert not {value for _, value in spoofed} & {value for _, value in sent.headers}


@pytest.mark.parametrize("status", [200, 206, 304])
async def test_no_cache_keeps_a_response_with_a_token_whatever_the_app_said(status: int) -> None:
    """P17."""
    stale = [
        (b"Cache-Control", b"public, max-age=86400"),
        (b"ETag", b'"1"'),
        (b"last-modified", b"Fri, 01 Jan 2027 00:00:00 GMT"),
        (b"expires", b"Sat, 01 Jan 2028 00:00:00 GMT"),
        (b"surrogate-control", b"max-age=86400"),
        (b"CDN-Cache-Control", b"max-age=86400"),
    ]
    app = App(status, headers=[*stale, (b"content-type", b"text/html")])
    sent = await ask(world(), carrying(token(exp=NEAR)), app)
    assert sent.values(b"cache-control") == [b"private, no-store"]
    assert sent.values(b"content-type") == [b"text/html"]
    assert not {name.lower() for name, _ in stale[1:]} & {name.lower() for name in names(sent)}


async def test_vary_of_the_app_stays_and_gains_each_field_that_may_carry_the_token() -> None:
    surface = Surface(sources=Sources(bearer=True, cookie="guest"))
    app = App(headers=[(b"vary", b"Accept-Encoding")])
    sent = await ask(world(surface=surface), carrying(token()), app)
    assert sent.values(b"vary") == [b"Accept-Encoding", b"X-Guest-Token, Authorization, Cookie"]


@pytest.mark.parametrize("exp", [NEAR, NOW + 1800])
async def test_a_page_of_another_origin_may_read_our_fields_merged_with_the_apps(exp: float) -> None:
    """P15: also where nothing is delivered, as pages read the answer to each of their requests alike."""
    app = App(headers=[(b"access-control-expose-headers", b"X-Own")])
    sent = await ask(world(), carrying(token(exp=exp), SHOP), app)
    ours = b"X-Guest-Token, X-Guest-Token-Expires-At, X-Guest-Token-Expires-In"
    assert sent.values(b"access-control-expose-headers") == [b"X-Own", ours]
    same_origin = await ask(world(), carrying(token(exp=exp)), app)
    assert same_origin.values(b"access-control-expose-headers") == [b"X-Own"]


async def test_a_start_without_headers_gains_ours() -> None:
    """ "headers" is optional in ASGI."""
    for exp, count in ((NEAR, 1), (NOW + 1800, 0)):
        sent = await ask(world(), carrying(token(exp=exp)), App(headers=None))
        assert len(sent.values(b"x-guest-token")) == count
        assert sent.values(b"vary") == [b"X-Guest-Token"]


@pytest.mark.parametrize("exp", [NEAR, NOW + 1800])
async def test_the_apps_own_message_is_not_changed(exp: float) -> None:
    """An app may send the same dict for every request: one guest's token must not stay in it."""
    start: Message = {"type": "http.response.start", "status": 200, "headers": [(b"etag", b'"1"')]}
    before = copy.deepcopy(start)

    async def app(scope: Scope, receive: object, send: object) -> None:
        await send(start)  # type: ignore[operator]  # ASGI's

    w = world()
    await drive(GuestTokenMiddleware(app, gate=w.gate), carrying(token(exp=exp)))
    assert start == before


async def test_only_the_opening_message_is_touched_and_the_same_body_objects_pass() -> None:
    parts: list[Message] = [
        {"type": "http.response.body", "body": b"a", "more_body": True},
        {"type": "http.response.pathsend", "path": "/x"},
        {"type": "http.response.trailers", "headers": []},
    ]

    async def app(scope: Scope, receive: object, send: object) -> None:
        for message in ({"type": "http.response.start", "status": 200}, *parts):
            await send(message)  # type: ignore[operator]  # ASGI's

    sent = await drive(GuestTokenMiddleware(app, gate=world().gate), carrying(token(exp=NEAR)))
    assert all(got is given for got, given in zip(sent.messages[1:], parts, strict=True))


async def test_other_names_for_the_fields_are_kept_to() -> None:
    w = world(surface=Surface(sources=Sources(header="X-Visitor"), fields=Fields("X-Visitor")))
    scope = http_scope(headers=[(b"x-visitor", token(exp=NEAR).compact)])
    sent = await ask(w, scope)
    assert names(sent)[:3] == [b"x-visitor", b"x-visitor-expires-at", b"x-visitor-expires-in"]
    assert sent.values(b"vary") == [b"X-Visitor"]


async def test_delivery_by_cookie_comes_beside_the_field_and_beside_the_apps_own_cookies() -> None:
    surface = Surface(
        sources=Sources(header=None, cookie="__Host-guest"), cookie=CookieDelivery("__Host-guest", "Strict")
    )
    w = world(surface=surface)
    cookie = b"theme=dark; __Host-guest=" + token(exp=NEAR).compact
    app = App(headers=[(b"set-cookie", b"own=1")])
    sent = await ask(w, http_scope(headers=[(b"cookie", cookie)]), app)
    successor = token(exp=NOW + 1800).compact
    attributes = b"; Path=/; Max-Age=1860; HttpOnly; Secure; SameSite=Strict"
    assert sent.values(b"set-cookie") == [b"own=1", b"__Host-guest=" + successor + attributes]
    assert sent.values(b"x-guest-token") == [successor]
    assert sent.values(b"vary") == [b"Cookie"]
    assert (b"cookie", b"theme=dark") in app.scopes[0]["headers"]


# --- when the successor is late -----------------------------------------------------------------------------


async def test_a_late_successor_is_not_waited_for_and_the_next_response_has_it() -> None:
    w = world(policy=Policy(spread=0, rotation_wait=0.02))
    w.issuer.hold = anyio.Event()
    middleware = GuestTokenMiddleware(App(), gate=w.gate)
    raw = token(exp=NEAR)
    with anyio.fail_after(5):
        async with w.gate.background():
            first = await drive(middleware, carrying(raw))
            assert (first.status, first.values(b"x-guest-token")) == (200, [])
            w.issuer.hold.set()
            while await w.gate.rotation.known((await w.gate.entry(raw)).genuine) is None:
                await anyio.lowlevel.checkpoint()
            second = await drive(middleware, carrying(raw))
    assert len(second.values(b"x-guest-token")) == 1
    assert len(w.issuer.calls) == 1


async def test_the_mint_runs_while_the_app_works() -> None:
    w = world()
    seen: list[int] = []

    async def app(scope: Scope, receive: object, send: object) -> None:
        await w.issuer.asked.wait()  # would hang if the mint began only once the response does
        seen.append(len(w.issuer.calls))
        await send({"type": "http.response.start", "status": 200})  # type: ignore[operator]  # ASGI's

    with anyio.fail_after(5):
        async with w.gate.background():
            sent = await drive(GuestTokenMiddleware(app, gate=w.gate), carrying(token(exp=NEAR)))
    assert seen == [1]
    assert len(sent.values(b"x-guest-token")) == 1


@pytest.mark.parametrize("background", [True, False])
async def test_a_mint_that_fails_costs_the_response_nothing(background: bool) -> None:
    w = world()
    w.issuer.failure = Unavailable()
    if background:
        async with w.gate.background():
            sent = await ask(w, carrying(token(exp=NEAR)))
    else:
        sent = await ask(w, carrying(token(exp=NEAR)))
    assert sent.headers == [(b"vary", b"X-Guest-Token")]


async def test_within_grace_the_response_carries_what_let_the_request_in() -> None:
    w = world()
    app = App()
    sent = await ask(w, carrying(token(exp=DUE)), app)
    assert sent.values(b"x-guest-token") == [token(exp=NOW + 1800).compact]
    assert app.scopes[0]["state"]["guest"].expires_at == NOW + 1800


# --- values -------------------------------------------------------------------------------------------------


async def test_a_successor_that_is_no_field_value_never_leaves_raw() -> None:
    """P19: whatever a store or an issuer hands out; the gate checks it before, this is the last line."""
    w = world()
    bad = Successor(RawToken(b"a\r\nset-cookie: x=1"), UnixTime(NOW + 1800), UnixTime(NOW))
    admitted = Admitted([], b"", ANONYMOUS, Delivery(w.gate.rotation, bad))
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    answer = answering(send, w.gate, admitted, http_scope())
    with pytest.raises(ValueError, match="not a field value"):
        await answer({"type": "http.response.start", "status": 200})
    assert sent == []


def test_a_request_is_read_from_the_scope_and_never_from_host() -> None:
    """P11."""
    scope = http_scope(path="/a", headers=[(b"host", b"b/public?")])
    del scope["raw_path"]
    request = read_request(scope)
    assert (request.method, request.path, request.raw_path) == ("GET", "/a", b"/a")
    assert (request.websocket, request.peer) == (False, "192.0.2.1")


def test_the_state_is_made_where_the_server_gives_none() -> None:
    scope = http_scope()
    del scope["state"]
    inner = admitted_scope(scope, Admitted([], b"", ANONYMOUS))
    assert inner["state"] == {"guest": ANONYMOUS}
    assert "state" not in scope


def test_a_refusal_on_a_route_that_is_not_guarded_does_not_vary_by_the_token() -> None:
    gate = world().gate
    assert refusal_fields(gate, Unavailable(), None, guarded=False) == []
    fields = dict(refusal_fields(gate, TokenExpired(), None, guarded=True))
    assert fields == {
        b"www-authenticate": b'Bearer realm="guest", error="invalid_token"',
        b"vary": b"X-Guest-Token",
    }


def test_a_page_of_another_origin_can_tell_the_gates_refusal_from_the_apps() -> None:
    """Also where the origins are the app's matter: its own CORS may stand around us. P15."""
    fields = dict(refusal_fields(world().gate, TokenExpired(), b"https://shop.example", guarded=True))
    exposed = fields[b"access-control-expose-headers"].split(b", ")
    assert {b"Retry-After", b"WWW-Authenticate", b"X-Guest-Token"} <= set(exposed)
