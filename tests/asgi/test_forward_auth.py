"""`ForwardAuth`: what proxies are told, by plain scope, receive and send; on asyncio and trio."""

from typing import Any

import anyio
import pytest
from kit import ADA, NOW, Sent, World, drive, http_scope, token, world
from shells import DEAD, NEAR, ORIGIN
from starlette.types import Message

from guestpass.asgi.forward_auth import ForwardAuth
from guestpass.core.bearer import Sources
from guestpass.core.cors import Cors
from guestpass.core.forwarded import Trust, parse_networks
from guestpass.core.inject import CookieDelivery
from guestpass.core.matching import Protection, Rule
from guestpass.core.model import Header, Policy, RawToken
from guestpass.core.surface import Surface
from guestpass.errors import ConfigError, Unavailable

pytestmark = pytest.mark.anyio

NGINX = "/guestpass/auth/nginx"
CADDY = "/guestpass/auth/caddy"
ENVOY = "/guestpass/auth/envoy"
RULES = [Rule(None, "/public/*", Protection.OFF), Rule(None, "/maybe", Protection.OPTIONAL)]


async def ask(
    w: World,
    raw: RawToken | None = None,
    *headers: Header,
    target: bytes = b"/chat",
    method: bytes = b"GET",
    at: str = NGINX,
    app: ForwardAuth | None = None,
    **more: Any,
) -> Sent:
    told = b"original" if at.endswith("nginx") else b"forwarded"
    fields = [(b"x-%b-method" % told, method), (b"x-%b-uri" % told, target), *headers]
    if raw is not None:
        fields.append((b"x-guest-token", raw.compact))
    scope = http_scope("GET", at, fields, **{"client": ("127.0.0.1", 1), **more})
    return await drive(app or ForwardAuth(w.gate), scope)


def code(sent: Sent) -> str:
    return str(sent.json["code"])


async def test_a_fresh_token_passes_with_its_identity_and_nothing_for_the_client() -> None:
    sent = await ask(world(), token())
    assert sent.status == 200
    assert sent.body == b""
    assert sent.values(b"x-guest-subject") == [b"sub-of-Ada"]
    assert sent.values(b"x-guest-name") == [b"Ada"]
    assert sent.values(b"x-guest-email") == [b"ada@example.org"]
    assert sent.values(b"vary") == [b"X-Guest-Token"]
    for name in (b"x-guest-token", b"set-cookie", b"cache-control"):
        assert not sent.values(name)


@pytest.mark.parametrize("target", [b"/public/x", b"/maybe"])
async def test_identity_is_said_to_be_empty_where_there_is_none(target: bytes) -> None:
    """A field that is left out would leave the client's own copy in place."""
    sent = await ask(world(rules=RULES), None, (b"x-guest-subject", b"root"), target=target)
    assert sent.status == 200
    for name in (b"x-guest-subject", b"x-guest-name", b"x-guest-email"):
        assert sent.values(name) == [b""]


@pytest.mark.parametrize("at", [NGINX, CADDY])
async def test_a_token_near_its_end_brings_its_successor(at: str) -> None:
    w = world()
    sent = await ask(w, token(exp=NEAR), (b"origin", ORIGIN), at=at)
    assert sent.status == 200
    assert sent.values(b"x-guest-token") == [token(exp=NOW + 1800).compact]
    assert sent.values(b"x-guest-token-expires-in") == [b"1800"]
    assert len(sent.values(b"x-guest-token-expires-at")) == 1
    assert sent.values(b"cache-control") == [b"private, no-store"]
    assert not sent.values(b"x-accel-expires")
    assert b"X-Guest-Token" in sent.values(b"access-control-expose-headers")[0]
    assert sent.values(b"x-guest-subject") == [b"sub-of-Ada"]
    assert w.issuer.calls == [ADA]


async def test_a_successor_comes_as_a_cookie_where_that_is_configured() -> None:
    surface = Surface(sources=Sources(cookie="guest"), cookie=CookieDelivery("guest"))
    sent = await ask(world(surface=surface), token(exp=NEAR))
    assert sent.values(b"set-cookie")[0].startswith(b"guest=" + token(exp=NOW + 1800).compact)


async def test_an_issuer_that_hangs_delays_an_answer_by_the_rotation_wait_at_most() -> None:
    w = world(policy=Policy(spread=0, rotation_wait=0.01))
    w.issuer.hold = anyio.Event()
    with anyio.fail_after(5):
        async with w.gate.background():
            sent = await ask(w, token(exp=NEAR))
            w.issuer.hold.set()
    assert (sent.status, sent.values(b"x-guest-token")) == (200, [])


async def test_an_issuer_that_is_down_takes_no_valid_token_away() -> None:
    w = world()
    w.issuer.failure = Unavailable()
    sent = await ask(w, token(exp=NEAR))
    assert (sent.status, sent.values(b"x-guest-token")) == (200, [])


# --- refusals ---------------------------------------------------------------------------------------------


async def test_a_refusal_has_challenge_cors_and_a_problem() -> None:
    w = world(surface=Surface(cors=Cors(frozenset({ORIGIN.decode()}))))
    sent = await ask(w, None, (b"origin", ORIGIN), at=CADDY)
    assert (sent.status, code(sent)) == (401, "token_missing")
    assert sent.values(b"www-authenticate") == [b'Bearer realm="guest"']
    assert sent.values(b"access-control-allow-origin") == [ORIGIN]
    assert b"X-Guest-Token" in sent.values(b"vary")
    assert sent.values(b"cache-control") == [b"no-store"]
    assert not sent.values(b"x-guest-refusal-status")


async def test_nginx_gets_only_what_it_understands_and_what_was_meant_beside_it() -> None:
    w = world()
    ambiguous = await ask(w, token(), target=b"/public/../admin")
    expired = await ask(w, token(exp=DEAD))
    assert ambiguous.status == 403
    assert ambiguous.values(b"x-guest-refusal-status") == [b"400"]
    assert ambiguous.values(b"x-guest-refusal-code") == [b"path_ambiguous"]
    assert expired.status == 401
    assert expired.values(b"x-guest-refusal-status") == [b"401"]
    assert expired.values(b"x-guest-refusal-code") == [b"token_expired"]


async def test_others_get_the_status_as_it_is() -> None:
    sent = await ask(world(), token(), target=b"/public/../admin", at=CADDY)
    assert (sent.status, code(sent)) == (400, "path_ambiguous")


async def test_a_field_that_a_backend_could_take_for_ours_is_refused_on_every_route() -> None:
    sent = await ask(
        world(rules=RULES), token(), (b"x_guest_subject", b"root"), target=b"/public/x", at=CADDY
    )
    assert (sent.status, code(sent)) == (400, "invalid_request")


@pytest.mark.parametrize("name", ["apache", "", "nginx2", "NGINX"])
async def test_an_unknown_proxy_is_a_404(name: str) -> None:
    sent = await ask(world(), token(), at=f"/guestpass/auth/{name}")
    assert (sent.status, code(sent)) == (404, "not_found")


async def test_elsewhere_is_a_404() -> None:
    for path in ("/", "/nginx", "/guestpass/auth"):
        assert (await ask(world(), token(), at=path)).status == 404


# --- whose word counts ------------------------------------------------------------------------------------


@pytest.mark.parametrize("client", [("192.0.2.1", 1), ("::2", 1), None])
async def test_only_a_trusted_peer_gets_a_decision(client: tuple[str, int] | None) -> None:
    sent = await ask(world(), token(), at=CADDY, client=client)
    assert (sent.status, code(sent)) == (403, "peer_untrusted")
    assert not sent.values(b"x-guest-subject")


async def test_peers_are_those_named_or_those_of_the_gate_or_loopback() -> None:
    w = world()
    elsewhere: dict[str, Any] = {"client": ("10.0.0.9", 1)}
    assert (await ask(w, token(), client=("::1", 1))).status == 200
    named = ForwardAuth(w.gate, peers=["10.0.0.0/8"])
    assert (await ask(w, token(), app=named, **elsewhere)).status == 200
    assert (await ask(w, token(), app=named)).status == 403
    w.gate.trust = Trust(parse_networks(["10.0.0.0/8"], field="f"))
    assert (await ask(w, token(), **elsewhere)).status == 200
    assert (await ask(w, token())).status == 403


@pytest.mark.parametrize(
    "options", [{"prefix": "auth"}, {"prefix": "/auth/"}, {"cache_for": -1.0}, {"peers": ["x"]}]
)
async def test_a_wrong_setting_is_found_at_start(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        ForwardAuth(world().gate, **options)


async def test_a_client_is_limited_by_the_address_that_its_proxy_vouches_for() -> None:
    clients: list[str] = []
    w = world()

    async def entry(raw: RawToken, *, client: str = "") -> object:
        clients.append(client)
        raise Unavailable

    w.gate.entry = entry  # type: ignore[method-assign, assignment]  # where the limit would be asked
    await ask(w, token(), (b"x-forwarded-for", b"203.0.113.1, 198.51.100.7"))
    await ask(w, token())
    assert clients == ["198.51.100.7", "127.0.0.1"]


# --- envoy ------------------------------------------------------------------------------------------------


async def test_envoys_question_is_the_request_itself_behind_our_path() -> None:
    app = ForwardAuth(world(rules=RULES).gate)

    async def status(method: str, path: str, *headers: Header) -> int:
        scope = http_scope(method, ENVOY + path, [*headers], client=("127.0.0.1", 1), query_string=b"a=1")
        return (await drive(app, scope)).status

    good = (b"x-guest-token", token().compact)
    assert await status("POST", "/chat", good) == 200
    assert await status("GET", "/chat") == 401
    assert await status("GET", "/public/x") == 200
    assert await status("GET", "/public/../chat") == 400
    assert await status("GET", "//public/x") == 400
    assert await status("GET", "") == 400
    assert await status("GET", "/chat", (b"x-forwarded-uri", b"/public/x")) == 401
    preflight = [(b"origin", ORIGIN), (b"access-control-request-method", b"POST")]
    assert await status("OPTIONS", "/chat", *preflight) == 200


async def test_a_head_request_is_answered_without_a_body() -> None:
    scope = http_scope("HEAD", f"{ENVOY}/chat", client=("127.0.0.1", 1))
    sent = await drive(ForwardAuth(world().gate), scope)
    assert (sent.status, sent.body) == (401, b"")


async def test_a_prefix_of_ones_own_may_stand_before_the_name() -> None:
    w = world()
    app = ForwardAuth(w.gate, prefix="/ask")
    assert (await ask(w, token(), at="/ask/nginx", app=app)).status == 200
    assert (await ask(w, token(), at=NGINX, app=app)).status == 404


# --- caching ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("left", "seconds"), [(1800, b"2"), (302, b"2"), (301, b"1"), (300.5, b"0"), (300, None)]
)
async def test_a_decision_is_never_kept_into_the_rotation_window(left: float, seconds: bytes | None) -> None:
    w = world(policy=Policy(spread=0, prefetch=0))
    sent = await ask(w, token(exp=NOW + left), app=ForwardAuth(w.gate, cache_for=2.9))
    assert sent.values(b"x-accel-expires") == ([] if seconds is None else [seconds])


async def test_a_decision_is_kept_only_where_the_token_alone_made_it() -> None:
    async def kept(w: World, *headers: Header, raw: RawToken | None = None, **more: Any) -> list[bytes]:
        sent = await ask(w, raw, *headers, **more)
        assert sent.status == 200
        return sent.values(b"x-accel-expires")

    cookies = Surface(sources=Sources(cookie="guest"))
    other = (b"cookie", b"guest=" + token().compact)
    assert await kept(world(), raw=token()) == [b"1"]
    assert await kept(world(rules=RULES), raw=token()) == [b"0"]
    assert await kept(world(rules=RULES), target=b"/maybe") == [b"0"]
    assert await kept(world(surface=cookies), other) == [b"0"]
    assert await kept(world(surface=cookies), other, raw=token()) == [b"1"]
    assert await kept(world(), target=b"/livez") == [b"0"]
    w = world()
    assert await kept(w, raw=token(), app=ForwardAuth(w.gate, cache_for=0)) == [b"0"]


async def test_an_entry_that_was_evicted_meanwhile_is_not_kept() -> None:
    w = world()
    w.gate.entries.cache.put = lambda *_, **__: None  # type: ignore[method-assign]  # as if a key had just been retired
    assert (await ask(w, token())).values(b"x-accel-expires") == [b"0"]


# --- the server's side ------------------------------------------------------------------------------------


async def test_the_lifespan_runs_the_gates_background() -> None:
    w = world()
    inbox: list[Message] = [
        {"type": "lifespan.startup"},
        {"type": "lifespan.other"},
        {"type": "lifespan.shutdown"},
    ]
    sent: list[str] = []

    async def receive() -> Message:
        return inbox.pop(0)

    async def send(message: Message) -> None:
        sent.append(message["type"])
        if message["type"] == "lifespan.startup.complete":
            with pytest.raises(RuntimeError):
                async with w.gate.background():
                    pass

    await ForwardAuth(w.gate)({"type": "lifespan"}, receive, send)
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert w.issuer.closed == 1


@pytest.mark.parametrize("possible", [True, False])
async def test_a_question_that_kept_its_upgrade_field_is_answered_too(possible: bool) -> None:
    headers = [
        (b"x-forwarded-method", b"GET"),
        (b"x-forwarded-uri", b"/chat"),
        (b"x-guest-token", token().compact),
    ]
    scope = {**http_scope("GET", CADDY, headers, client=("127.0.0.1", 1)), "type": "websocket"}
    del scope["method"]
    if possible:
        scope["extensions"] = {"websocket.http.response": {}}
    sent = await drive(ForwardAuth(world().gate), scope, {"type": "websocket.connect"})
    kinds = [message["type"] for message in sent.messages]
    if possible:
        assert kinds[0] == "websocket.http.response.start"
        assert sent.status == 200
        assert sent.values(b"x-guest-subject") == [b"sub-of-Ada"]
    else:
        assert kinds == ["websocket.close"]


SOCKET = (b"sec-websocket-version", b"13")
BY_COOKIE = Surface(
    sources=Sources(cookie="guest", query="t"),
    cors=Cors(frozenset({"https://shop.example"}), credentials=True),
)


def cookie_of(raw: RawToken) -> Header:
    return b"cookie", b"guest=" + raw.compact


@pytest.mark.parametrize("at", [NGINX, CADDY])
@pytest.mark.parametrize("told", [b"host", b"x-forwarded-host"])
@pytest.mark.parametrize(
    ("origin", "status"),
    [
        (b"https://evil.example", 403),
        (b"null", 403),
        (b"https://guestpass:8080", 403),
        (b"https://app", 200),
        (b"https://shop.example", 200),
        (None, 200),
    ],
)
async def test_no_page_of_another_site_opens_a_socket_with_the_guests_cookie(
    at: str, told: bytes, origin: bytes | None, status: int
) -> None:
    """P27: Upgrade seldom reaches us, but what a browser says of its WebSocket beside it does."""
    headers = [cookie_of(token()), SOCKET, (told, b"app")]
    if told != b"host":
        headers.append((b"host", b"guestpass:8080"))
    if origin is not None:
        headers.append((b"origin", origin))
    sent = await ask(world(surface=BY_COOKIE), None, *headers, at=at)
    assert sent.status == status
    if status != 200:
        assert code(sent) == "origin_foreign"


async def test_a_page_of_another_site_that_knows_the_token_opens_a_socket() -> None:
    raw, evil = token(), (b"origin", b"https://evil.example")
    for headers, target in (
        ([(b"sec-websocket-protocol", b"guestpass.token." + raw.compact)], b"/chat"),
        ([], b"/chat?t=" + raw.compact),
    ):
        w = world(surface=BY_COOKIE)
        sent = await ask(w, None, cookie_of(raw), SOCKET, evil, (b"host", b"app"), *headers, target=target)
        assert sent.status == 200


async def test_what_opens_no_socket_is_not_asked_where_its_page_is_from() -> None:
    """SameSite and the CORS protocol stand there: only a WebSocket has neither."""
    headers = (cookie_of(token()), (b"origin", b"https://evil.example"), (b"host", b"app"))
    sent = await ask(world(surface=BY_COOKIE), None, *headers)
    assert sent.status == 200
