"""The middleware around an app: who gets in, as whom, how others are refused; and what it leaves alone."""

import logging

import anyio
import pytest
from kit import ADA, NOW, HeldClock, Sent, World, drive, http_scope, jwks, token, world
from shells import DEAD, DUE, NEAR, ORIGIN, App, carrying
from starlette.requests import Request as StarletteRequest
from starlette.responses import JSONResponse
from starlette.types import Message, Receive, Scope, Send

from guestpass.adapters.ratelimit import MemoryLimiter
from guestpass.adapters.static_jwks import StaticJwks
from guestpass.asgi.middleware import GuestTokenMiddleware
from guestpass.core.cors import Cors
from guestpass.core.matching import Protection, Rule
from guestpass.core.model import Guest, Header, MonotonicTime, RawToken
from guestpass.core.surface import Surface
from guestpass.errors import TokenRefused, Unavailable

pytestmark = pytest.mark.anyio

SHOP: Header = (b"origin", ORIGIN)
CORS = Surface(cors=Cors(frozenset({ORIGIN.decode()})))
FORGED = RawToken(token().compact[:-8] + b"AAAAAAAA")


async def ask(w: World, scope: Scope, app: App | None = None) -> Sent:
    return await drive(GuestTokenMiddleware(app or App(), gate=w.gate), scope)


# --- identity ---------------------------------------------------------------------------------------------


async def test_the_app_finds_its_guest_in_the_state_as_user_and_in_the_fields() -> None:
    app = App()
    scope = carrying(token(), (b"accept", b"*/*"))
    await ask(world(), scope, app)
    (seen,) = app.scopes
    guest = seen["state"]["guest"]
    assert isinstance(guest, Guest)
    assert (guest.subject, guest.name, guest.email) == ("sub-of-Ada", ADA.name, ADA.email)
    assert (guest.expires_at, guest.anonymous) == (NOW + 1800, False)
    assert guest.claims["jti"] == f"{NOW + 1800}"
    assert seen["user"] is guest
    assert seen["auth"].scopes == ["authenticated"]
    assert seen["headers"] == [
        (b"accept", b"*/*"),
        (b"x-guest-subject", b"sub-of-Ada"),
        (b"x-guest-name", b"Ada"),
        (b"x-guest-email", b"ada@example.org"),
    ]


async def test_starlette_finds_the_same_guest() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        request = StarletteRequest(scope, receive)
        user = request.user
        found = [
            request.state.guest.name,
            user.display_name,
            user.is_authenticated,
            list(request.auth.scopes),
        ]
        await JSONResponse({"found": found})(scope, receive, send)

    sent = await drive(GuestTokenMiddleware(app, gate=world().gate), carrying(token()))
    assert sent.json == {"found": ["Ada", "Ada", True, ["authenticated"]]}


async def test_without_a_token_an_optional_route_sees_an_anonymous_guest() -> None:
    app = App()
    await ask(world(rules=[Rule(None, "/*", Protection.OPTIONAL)]), carrying(None), app)
    (seen,) = app.scopes
    assert seen["state"]["guest"].anonymous
    assert not seen["user"].is_authenticated
    assert seen["auth"].scopes == []
    assert seen["headers"] == []


@pytest.mark.parametrize("path", ["/chat", "/open"])
async def test_no_client_passes_for_a_guest_by_its_own_word(path: str) -> None:
    """P1: on a route that is not guarded just as well."""
    app = App()
    forged: list[Header] = [
        (b"x-guest-subject", b"root"),
        (b"X_Guest_Name", b"root"),
        (b"x-guest_email", b"root"),
        (b"x-guest-assertion", b"root"),
        (b"x-guest-token-expires-at", b"root"),
    ]
    w = world(rules=[Rule(None, "/open", Protection.OFF)])
    await ask(w, carrying(token(), *forged, path=path), app)
    assert b"root" not in [value for _, value in app.scopes[0]["headers"]]


async def test_a_route_that_is_not_guarded_has_no_guest() -> None:
    app = App()
    await ask(world(rules=[Rule(None, "/open", Protection.OFF)]), carrying(token(), path="/open"), app)
    (seen,) = app.scopes
    assert "guest" not in seen["state"]
    assert "user" not in seen
    assert seen["headers"] == []


async def test_the_servers_scope_keeps_its_fields_as_they_came() -> None:
    """An outer middleware, the access log say, may look at them after us."""
    scope = carrying(token())
    before = list(scope["headers"])
    await ask(world(), scope)
    assert scope["headers"] == before
    assert "user" not in scope


# --- refusals ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "code", "challenge"),
    [
        (None, "token_missing", b'Bearer realm="guest"'),
        (FORGED, "invalid_token", b'Bearer realm="guest", error="invalid_token"'),
        (RawToken(b"rubbish"), "invalid_token", b'Bearer realm="guest", error="invalid_token"'),
        (token(iss="x"), "invalid_token", b'Bearer realm="guest", error="invalid_token"'),
        (token(exp=DEAD), "token_expired", b'Bearer realm="guest", error="invalid_token"'),
    ],
    ids=["missing", "forged", "rubbish", "claim", "expired"],
)
async def test_who_has_no_good_token_gets_a_problem_and_a_challenge_and_the_app_sees_nothing(
    raw: RawToken | None, code: str, challenge: bytes
) -> None:
    w, app = world(), App()
    sent = await ask(w, carrying(raw), app)
    assert sent.status == 401
    assert set(sent.json) == {"type", "title", "status", "code"}
    assert sent.json["code"] == code
    assert dict(sent.headers) == {
        b"content-type": b"application/problem+json",
        b"content-length": b"%d" % len(sent.body),
        b"cache-control": b"no-store",
        b"www-authenticate": challenge,
        b"vary": b"X-Guest-Token",
    }
    assert app.scopes == []
    assert w.issuer.calls == []


async def test_every_token_that_is_not_genuine_is_refused_in_the_same_words() -> None:
    """J32: which check failed is nobody's business but the log's."""
    bad = [FORGED, RawToken(b"a.b.c"), token(key="unpublished"), token(iss="x"), token(sub=1)]
    answers = [await ask(world(), carrying(raw)) for raw in bad]
    assert len({(sent.status, bytes(sent.body), tuple(sent.headers)) for sent in answers}) == 1


async def test_two_tokens_are_400() -> None:
    sent = await ask(world(), carrying(token(), (b"x-guest-token", b"another")))
    assert (sent.status, sent.json["code"]) == (400, "invalid_request")
    assert sent.values(b"www-authenticate") == [b'Bearer realm="guest", error="invalid_request"']


async def test_an_ambiguous_path_is_400_whatever_the_token_and_does_not_vary_by_it() -> None:
    """P9."""
    app = App()
    for raw in (None, token()):
        scope = carrying(raw, path="/open/../admin")
        sent = await ask(world(rules=[Rule(None, "/open/*", Protection.OFF)]), scope, app)
        assert (sent.status, sent.json["code"]) == (400, "path_ambiguous")
        assert sent.values(b"vary") == []
    assert app.scopes == []


class NoKeys(StaticJwks):
    """Keys that nobody can have."""

    def __init__(self) -> None:
        super().__init__(jwks("rsa"), algorithms=frozenset({"RS256"}))

    @property
    def recheck_at(self) -> MonotonicTime:
        return MonotonicTime(float("-inf"))

    async def recheck(self) -> None:
        raise Unavailable(retry_after=0.4)


async def test_without_keys_it_is_503_with_retry_after_and_without_a_challenge() -> None:
    """K2: a client that reads 401 throws a good token away."""
    sent = await ask(world(keys=NoKeys()), carrying(token()))
    assert (sent.status, sent.json["code"]) == (503, "unavailable")
    assert sent.values(b"retry-after") == [b"1"]
    assert sent.values(b"www-authenticate") == []
    assert sent.values(b"vary") == [b"X-Guest-Token"]


@pytest.mark.parametrize(
    ("failure", "status", "code"),
    [(Unavailable(retry_after=7), 503, "unavailable"), (TokenRefused(), 401, "token_refused")],
)
async def test_past_its_time_a_token_without_a_successor_does_not_pass(
    failure: Exception, status: int, code: str
) -> None:
    """R8."""
    w, app = world(), App()
    w.issuer.failure = failure
    sent = await ask(w, carrying(token(exp=DUE)), app)
    assert (sent.status, sent.json["code"]) == (status, code)
    assert sent.values(b"x-guest-token") == []
    assert app.scopes == []


async def test_who_keeps_failing_is_told_when_to_come_back() -> None:
    clock = HeldClock()
    w = world(clock=clock, failed_verification=MemoryLimiter(1, 60, clock))
    await ask(w, carrying(FORGED))
    sent = await ask(w, carrying(token()))
    assert (sent.status, sent.json["code"]) == (429, "too_many_requests")
    assert sent.values(b"retry-after") == [b"60"]


async def test_pages_of_configured_origins_may_read_a_refusal_and_no_others() -> None:
    """P15, P16."""
    exposed = (
        b"X-Guest-Token, X-Guest-Token-Expires-At, X-Guest-Token-Expires-In, Retry-After, WWW-Authenticate"
    )
    sent = await ask(world(surface=CORS), carrying(FORGED, SHOP))
    assert sent.values(b"access-control-allow-origin") == [ORIGIN]
    assert sent.values(b"access-control-expose-headers") == [exposed]
    assert sent.values(b"vary") == [b"X-Guest-Token", b"Origin"]
    for origin in (b"null", b"https://shop.example.evil", b"https://shopxexample", b"http://shop.example"):
        sent = await ask(world(surface=CORS), carrying(FORGED, (b"origin", origin)))
        assert sent.status == 401
        assert not [name for name, _ in sent.headers if name.startswith(b"access-control")]


async def test_where_no_origins_are_configured_the_apps_own_cors_may_stand_around_us() -> None:
    sent = await ask(world(), carrying(FORGED, SHOP))
    names = [name for name, _ in sent.headers if name.startswith(b"access-control")]
    assert names == [b"access-control-expose-headers"]
    assert b"Retry-After" in sent.values(names[0])[0]
    sent = await ask(world(), carrying(FORGED))
    assert not [name for name, _ in sent.headers if name.startswith(b"access-control")]


async def test_nothing_personal_and_no_part_of_a_token_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """P32."""
    w = world()
    tokens = [token(), token(exp=NEAR), token(exp=DUE), token(exp=DEAD), FORGED, token(iss="x")]
    with caplog.at_level(logging.DEBUG):
        for raw in tokens:
            await ask(w, carrying(raw))
        w.issuer.failure = Unavailable()
        await ask(w, carrying(token(exp=NEAR + 1)))
    assert len(caplog.records) >= 2
    for raw in tokens:
        assert raw.compact.rpartition(b".")[2].decode()[:20] not in caplog.text
    for secret in (ADA.name, ADA.email, "sub-of-Ada"):
        assert secret not in caplog.text


# --- what is not its business -----------------------------------------------------------------------------


async def test_an_unknown_scope_passes_through_as_it_is() -> None:
    """P30."""
    seen: list[object] = []

    async def app(*arguments: object) -> None:
        seen.extend(arguments)

    async def receive() -> Message:
        raise AssertionError

    async def send(message: Message) -> None:
        raise AssertionError

    scope: Scope = {"type": "telepathy"}
    await GuestTokenMiddleware(app, gate=world().gate)(scope, receive, send)
    assert len(seen) == 3
    assert all(a is b for a, b in zip(seen, (scope, receive, send), strict=True))


class Broken(Exception):  # noqa: N818  the app's own
    """What an app raises."""


@pytest.mark.parametrize("scope", [carrying(token()), carrying(token(exp=NEAR))])
async def test_what_the_app_raises_passes_through_as_it_is(scope: Scope) -> None:
    """P30."""
    raised = Broken()

    async def app(*_: object) -> None:
        raise raised

    with pytest.raises(Broken) as caught:
        await drive(GuestTokenMiddleware(app, gate=world().gate), dict(scope))
    assert caught.value is raised


async def test_the_body_goes_to_the_app_as_it_comes() -> None:
    """Nothing is buffered: `receive` is the server's own."""
    got: list[object] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        got.append(receive)

    async def receive() -> Message:
        raise AssertionError

    async def send(message: Message) -> None:
        raise AssertionError

    await GuestTokenMiddleware(app, gate=world().gate)(carrying(token(exp=NEAR)), receive, send)
    assert got == [receive]


async def test_a_client_that_leaves_ends_nothing_that_others_wait_for() -> None:
    """P29, R9."""
    w = world()
    w.issuer.hold = anyio.Event()
    middleware = GuestTokenMiddleware(App(), gate=w.gate)
    raw = token(exp=NEAR)
    answers: list[Sent] = []

    async def one() -> None:
        answers.append(await drive(middleware, carrying(raw)))

    with anyio.fail_after(5):
        async with w.gate.background(), anyio.create_task_group() as others:
            async with anyio.create_task_group() as leaver:
                leaver.start_soon(one)
                await w.issuer.asked.wait()
                others.start_soon(one)
                leaver.cancel_scope.cancel()
            w.issuer.hold.set()
    (answer,) = answers
    assert len(answer.values(b"x-guest-token")) == 1
    assert len(w.issuer.calls) == 1


async def test_a_request_without_a_client_address_is_served() -> None:
    """A Unix socket has none."""
    scope = http_scope(headers=[(b"x-guest-token", token().compact)], client=None)
    assert (await ask(world(), scope)).status == 200
