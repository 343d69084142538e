"""The issuer's keys end to end: uvicorn in front of a gate whose JWKS endpoint has bad days."""

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import anyio
import pytest
from forge import published, rsa_key
from jwks_stub import Answer as Reply
from jwks_stub import JwksStub, endless, held, reply
from kit import ALGORITHMS, NOW, HeldClock, World, token, world
from recorder import Answer, ask, connected, get, serving
from shells import App
from stage import Living
from starlette.types import Receive, Scope, Send

from guestpass.adapters.remote_jwks import RemoteJwks
from guestpass.admission import Admitted
from guestpass.asgi.health import Livez, Readyz
from guestpass.asgi.middleware import GuestTokenMiddleware
from guestpass.asgi.site import Site
from guestpass.core import base64url
from guestpass.core.freshness import Freshness
from guestpass.core.model import RawToken

pytestmark = pytest.mark.anyio

MAX_AGE, MAX_STALE, COOLDOWN = 600.0, 3600.0, 30.0


@pytest.fixture(params=["h11", "httptools"])
def parser(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def anyio_backend(parser: str) -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": parser == "httptools"}


def keys(*kids: str) -> Reply:
    """A good answer with these keys."""
    return reply(json.dumps({"keys": [published(rsa_key(kid)) for kid in kids]}).encode())


@dataclass
class Front:
    """A guarded app on a port, its keys at `stub`."""

    stub: JwksStub
    world: World
    source: RemoteJwks
    app: App = field(default_factory=Living)
    port: int = 0

    @property
    def clock(self) -> HeldClock:
        return self.world.clock

    async def ask(self, raw: RawToken) -> Answer:
        return await ask(self.port, request(raw))

    async def status(self, raw: RawToken) -> int:
        return (await self.ask(raw)).status

    async def health(self, path: bytes) -> int:
        return (await ask(self.port, get(path))).status


def request(raw: RawToken) -> bytes:
    return get(b"/chat", b"X-Guest-Token: " + raw.compact)


@asynccontextmanager
async def fronted(parser: str, stub: JwksStub, *, background: bool = False) -> AsyncIterator[Front]:
    """Serve; without the background every fetch is a request's doing, so that fetches can be counted."""
    clock = HeldClock()
    freshness = Freshness(max_age=MAX_AGE, max_stale=MAX_STALE, cooldown=COOLDOWN)
    source = RemoteJwks(stub.url, algorithms=ALGORITHMS, clock=clock, freshness=freshness)
    front = Front(stub, world(keys=source, clock=clock), source)
    gate = front.world.gate
    guarded = GuestTokenMiddleware(front.app, gate=gate)
    site = Site(guarded if background else _Mounted(guarded), {"/livez": Livez(), "/readyz": Readyz(gate)})
    async with serving(site, parser) as front.port:
        yield front


class _Mounted(Living):
    """A host that keeps the lifespan to itself."""

    def __init__(self, guarded: GuestTokenMiddleware) -> None:
        super().__init__()
        self.guarded = guarded

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await (self.guarded if scope["type"] == "http" else super().__call__)(scope, receive, send)


@pytest.fixture
async def front(parser: str) -> AsyncIterator[Front]:
    async with JwksStub(keys("rsa")).listening() as stub, fronted(parser, stub) as front:
        yield front


# --- outages ------------------------------------------------------------------------------------------------

OUTAGES: dict[str, Reply] = {
    "403": reply(b"{}", status=403),
    "429": reply(b"{}", status=429, fields={"Retry-After": "1"}),
    "500": reply(b"", status=500),
    "HTML": reply(b"<html>Maintenance</html>", fields={"Content-Type": "text/html"}),
    "truncated": reply(b'{"keys":[{"kty":"RSA"'),
    "cut short": reply(b'{"keys":', fields={"Content-Length": "999"}),
    "nothing": reply(b""),
    "no keys": reply(b'{"keys":[]}'),
    "keys an object": reply(b'{"keys":{}}'),
    "keys null": reply(b'{"keys":null}'),
    "null": reply(b"null"),
    "a list": reply(b"[]"),
    "no usable key": reply(b'{"keys":[{"kty":"oct","k":"AAAA","kid":"rsa"}]}'),
    "a redirect": reply(b"", status=302, fields={"Location": "http://127.0.0.1:9/"}),
    "too large": endless(b" " * 65_536),
    "20,000 deep": reply(b'{"keys":' + b"[" * 20_000 + b"]" * 20_000 + b"}"),
}


@pytest.mark.parametrize("outage", OUTAGES)
async def test_known_keys_serve_through_an_outage_and_then_no_longer(front: Front, outage: str) -> None:
    """K1, K6: a token remembered and a token never seen pass alike; past `max_stale` neither does."""
    assert await front.status(token()) == 200
    front.stub.answer = OUTAGES[outage]
    front.clock.advance(MAX_AGE)
    long_lived = [token(exp=front.clock.wall + 9_000 + n, lifetime=10_000) for n in range(3)]
    assert [await front.status(raw) for raw in (token(), *long_lived)] == [200] * 4
    assert len(front.stub.requests) == 2  # the first, and one that failed: the back-off is everyone's
    assert sum(front.source.health.fetches.values()) == 2
    front.clock.advance(MAX_STALE - MAX_AGE - 1)
    assert await front.status(long_lived[0]) == 200
    front.clock.advance(1)
    answer = await front.ask(long_lived[0])
    assert answer.status == 503
    assert answer.values(b"retry-after") == [b"1"]
    assert answer.values(b"www-authenticate") == []
    assert await front.health(b"/readyz") == 503
    front.stub.answer = keys("rsa")
    front.clock.advance(1)
    assert await front.status(long_lived[0]) == 200


async def test_the_pauses_between_failures_grow(front: Front) -> None:
    """K1: no more than a handful of questions in ten minutes of an outage, at a request a second."""
    assert await front.status(token()) == 200
    front.stub.answer = OUTAGES["500"]
    front.clock.advance(MAX_AGE)
    for _ in range(600):
        front.clock.advance(1)
        assert isinstance(await front.world.admit(token(exp=front.clock.wall + 900)), Admitted)
    assert len(front.stub.requests) < 30


async def test_without_keys_from_the_start_it_says_so_and_heals_within_two_seconds(parser: str) -> None:
    """K2."""
    stub = JwksStub(keys("rsa"))
    async with stub.listening():
        pass  # its port is known now, and nobody listens
    async with fronted(parser, stub) as front:
        answer = await front.ask(token())
        assert (answer.status, b'"code":"unavailable"' in answer.body) == (503, True)
        assert answer.values(b"retry-after") == [b"1"]
        assert await front.health(b"/readyz") == 503
        assert await front.health(b"/livez") == 200
        assert front.app.scopes == []
        async with stub.listening():
            front.clock.advance(1)
            assert await front.status(token()) == 200
            assert await front.health(b"/readyz") == 200
            assert len(stub.requests) == 1


async def test_readiness_alone_heals_it_too(parser: str) -> None:
    """K2: a balancer that waits for readiness sends no request that could fetch the keys."""
    stub = JwksStub(OUTAGES["500"])
    async with stub.listening(), fronted(parser, stub) as front:
        assert await front.health(b"/readyz") == 503
        stub.answer = keys("rsa")
        front.clock.advance(1)
        assert await front.health(b"/readyz") == 200


async def test_in_the_background_the_keys_are_there_before_the_first_request(parser: str) -> None:
    async with JwksStub(keys("rsa")).listening() as stub, fronted(parser, stub, background=True) as front:
        await stub.requested(1)
        assert await front.status(token()) == 200
        assert len(stub.requests) == 1


async def test_in_the_background_it_heals_without_anyone_asking(parser: str) -> None:
    """K2: in real time, as nobody moves the clock of a service."""
    stub = JwksStub(OUTAGES["500"])
    async with stub.listening(), fronted(parser, stub, background=True) as front:
        while front.source.health.outcome is None:
            await anyio.lowlevel.checkpoint()
        stub.answer = keys("rsa")
        front.clock.advance(1)
        await stub.requested(2)  # fails after two seconds
        assert await front.status(token()) == 200


# --- unknown keys -------------------------------------------------------------------------------------------


async def test_a_flood_of_unknown_kids_costs_one_fetch_a_cooldown(front: Front) -> None:
    """K3: 1,000 distinct kids over 50 connections, and a good guest among them."""
    good = token()
    assert await front.status(good) == 200
    front.clock.advance(1)
    forged = [RawToken(_named(good, f"kid-{n}")) for n in range(1000)]
    statuses: set[int] = set()

    async def flood(part: list[RawToken]) -> None:
        async with connected(front.port) as client:
            for raw in part:
                await client.send(request(raw))
                statuses.add((await client.answer()).status)

    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            for n in range(50):
                tasks.start_soon(flood, forged[n::50])
            for _ in range(20):
                assert await front.status(good) == 200
    assert statuses == {401}
    assert len(front.stub.requests) == 2
    front.clock.advance(COOLDOWN)
    for raw in forged[:20]:
        assert await front.status(raw) == 401
    assert len(front.stub.requests) == 3
    assert len(front.app.scopes) == 21


def _named(raw: RawToken, kid: str) -> bytes:
    """The token under another kid; nobody gets as far as its signature."""
    _, payload, signature = raw.compact.split(b".")
    header = base64url.encode(json.dumps({"alg": "RS256", "kid": kid, "typ": "JWT"}).encode())
    return b".".join((header, payload, signature))


# --- rotation of keys ---------------------------------------------------------------------------------------


async def test_a_new_key_is_known_on_first_use_and_an_old_one_goes_with_its_tokens(front: Front) -> None:
    """K5."""
    old, new = token(), token(key="next")
    assert await front.status(old) == 200
    front.clock.advance(1)
    front.stub.answer = keys("rsa", "next")
    assert [await front.status(raw) for raw in (new, old)] == [200, 200]
    assert len(front.stub.requests) == 2
    front.stub.answer = keys("next")
    front.clock.advance(MAX_AGE - 1)
    assert [await front.status(raw) for raw in (new, old)] == [200, 200]
    front.clock.advance(1)
    assert [await front.status(raw) for raw in (new, old, new)] == [200, 401, 200]
    assert len(front.stub.requests) == 3


async def test_a_retired_keys_remembered_tokens_go_at_once(front: Front) -> None:
    """K6: not when the copy grows old, but the moment anyone learns of it."""
    old = token()
    assert await front.status(old) == 200
    front.clock.advance(1)
    front.stub.answer = keys("next")
    assert await front.status(token(key="next")) == 200  # an unknown kid brings the news
    answer = await front.ask(old)
    assert (answer.status, b'"code":"invalid_token"' in answer.body) == (401, True)
    assert len(front.app.scopes) == 2


async def test_a_key_that_changed_under_its_kid_no_longer_verifies_what_it_did(front: Front) -> None:
    """K10: a kid is a name, not a key."""
    old = token()
    assert await front.status(old) == 200
    impostor = {**published(rsa_key("next")), "kid": "rsa"}
    front.stub.answer = reply(json.dumps({"keys": [impostor]}).encode())
    front.clock.advance(MAX_AGE)
    assert await front.status(old) == 401


# --- many at once -------------------------------------------------------------------------------------------


async def test_two_hundred_at_a_cold_start_cost_one_fetch(parser: str) -> None:
    """K12."""
    answer, released = held(keys("rsa"))
    async with JwksStub(answer).listening() as stub, fronted(parser, stub) as front:
        statuses: list[int] = []
        tokens = [token(exp=NOW + 1000 + n) for n in range(10)]

        async def one(raw: RawToken) -> None:
            statuses.append(await front.status(raw))

        with anyio.fail_after(30):
            async with anyio.create_task_group() as tasks:
                for n in range(200):
                    tasks.start_soon(one, tokens[n % 10])
                await stub.requested(1)
                released.set()
        assert statuses == [200] * 200
        assert len(stub.requests) == 1


async def test_the_first_who_waits_may_leave(parser: str) -> None:
    """K13."""
    answer, released = held(keys("rsa"))
    async with (
        JwksStub(answer).listening() as stub,
        fronted(parser, stub) as front,
        AsyncExitStack() as stack,
    ):
        async with connected(front.port) as leader:
            await leader.send(request(token()))
            await stub.requested(1)
            others = [await stack.enter_async_context(connected(front.port)) for _ in range(199)]
            for client in others:
                await client.send(request(token()))
        released.set()
        with anyio.fail_after(30):
            statuses = [(await client.answer()).status for client in others]
        assert statuses == [200] * 199
        assert len(stub.requests) == 1
