"""Authenticated messaging end to end: codes, sessions and logouts against the fake vendor's own routes."""

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import httpx
import pytest
from anyio.lowlevel import checkpoint
from kit import HeldClock, Sent, drive, http_scope, token
from running import GUESTPASS, running
from shells import App, carrying
from starlette.types import ASGIApp, Receive, Scope, Send

from guestpass.adapters.issuers.hosts import gateway_hosts
from guestpass.adapters.issuers.webdeployments import WebDeploymentsIssuer, WebDeploymentsSettings
from guestpass.adapters.memory_revocations import MemoryRevocations
from guestpass.adapters.memory_sessions import MemorySessions
from guestpass.adapters.memory_store import MemoryStore
from guestpass.asgi.middleware import GuestTokenMiddleware
from guestpass.asgi.session_endpoint import SessionEndpoint
from guestpass.config import load
from guestpass.core.cors import Cors
from guestpass.core.inject import CookieDelivery
from guestpass.core.model import Policy, RawToken
from guestpass.core.session import Session
from guestpass.core.surface import Surface
from guestpass.errors import ConfigError, StoreUnavailable
from guestpass.gate import Gate
from guestpass.ports import Logins, Revocation
from guestpass.recorded import RecordedVerifier
from guestpass.revocation import Revocations
from guestpass.testing import FakeVendor, serving
from guestpass.wiring.logins import require_shared_record

pytestmark = pytest.mark.anyio

ROOT = "/api/v2/webdeployments/token"
EXCHANGE, REFRESH, REVOKE = f"{ROOT}/oauthcodegrantjwtexchange", f"{ROOT}/refresh", f"{ROOT}/revoke"
HERE = "https://shop.example/back"
ORIGIN = "https://shop.example"
LIFE = 900
NEAR = 750  # in the last quarter of its life
DUE = 940  # past the leeway, within grace


class Swap:
    """An app whose part is played by another one: one server for all vendors."""

    app: ASGIApp = FakeVendor()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)


@pytest.fixture(scope="module")
def swap() -> Iterator[tuple[Swap, str]]:
    swap = Swap()
    with serving(swap) as url:
        yield swap, url


class Shop:
    """A guarded app, its session endpoint, and the vendor behind."""

    def __init__(self, vendor: FakeVendor, url: str, clock: HeldClock, deployment: str) -> None:
        self.vendor, self.clock = vendor, clock
        self.sessions = MemorySessions(clock)
        issuer = WebDeploymentsIssuer(
            hosts=gateway_hosts(url),
            settings=WebDeploymentsSettings(deployment_id=deployment, redirect_uri=HERE),
            sessions=self.sessions,
            clock=clock,
            sleep=lambda _: checkpoint(),
            draw=lambda: 0.0,
        )
        self.gate = Gate(
            verifier=RecordedVerifier(self.sessions),
            issuer=issuer,
            store=MemoryStore(clock),
            clock=clock,
            policy=Policy(spread=0),
            surface=Surface(cors=Cors(frozenset({ORIGIN})), cookie=CookieDelivery("guest")),
            revocations=MemoryRevocations(),
            logins=Logins(issuer, self.sessions),
        )
        self.app = App()
        self._guarded = GuestTokenMiddleware(self.app, gate=self.gate)
        self._endpoint = SessionEndpoint(self.gate)

    async def post(self, code: str = "code-1", **more: Any) -> Sent:
        body = json.dumps({"code": code, "redirectUri": HERE, **more}).encode()
        headers = [(b"content-type", b"application/json"), (b"origin", ORIGIN.encode())]
        return await drive(
            self._endpoint,
            http_scope("POST", "/api/webchat/session", headers),
            {"type": "http.request", "body": body},
        )

    async def login(self, code: str = "code-1") -> RawToken:
        sent = await self.post(code)
        assert sent.status == 200, sent.body
        return RawToken(sent.json["token"].encode())

    async def logout(self, raw: RawToken | None) -> Sent:
        return await drive(self._endpoint, carrying(raw, method="DELETE", path="/api/webchat/session"))

    async def visit(self, raw: RawToken) -> Sent:
        return await drive(self._guarded, carrying(raw))

    def outcomes(self, path: str) -> list[str]:
        return self.vendor.journal.outcomes(path)


@asynccontextmanager
async def opened(swap: tuple[Swap, str], deployment: str) -> AsyncIterator[Shop]:
    clock = HeldClock()
    vendor = FakeVendor(clock=clock)
    swap[0].app = vendor
    shop = Shop(vendor, swap[1], clock, deployment)
    yield shop
    await shop.gate.issuer.aclose()


@pytest.fixture
async def shop(swap: tuple[Swap, str], anyio_backend: str) -> AsyncIterator[Shop]:
    async with opened(swap, "fake-deployment") as shop:
        yield shop


def successor(sent: Sent) -> RawToken:
    (value,) = sent.values(b"x-guest-token")
    return RawToken(value)


# --- logging in -------------------------------------------------------------------------------------------


async def test_a_code_buys_a_token_and_the_refresh_token_stays(shop: Shop) -> None:
    sent = await shop.post(codeVerifier="v" * 43, nonce="n")
    assert sent.json.keys() == {"token", "expires_at", "expires_in"}
    assert sent.json["expires_in"] == LIFE
    assert sent.values(b"cache-control") == [b"no-store"]
    assert sent.values(b"access-control-allow-origin") == [ORIGIN.encode()]
    raw = RawToken(sent.json["token"].encode())
    assert (await shop.visit(raw)).status == 200
    assert shop.app.scopes[-1]["state"]["guest"].subject
    (session,) = [
        await shop.sessions.session(found.session) for found in [await shop.sessions.recorded(raw)] if found
    ]
    assert session is not None
    assert session.refresh_token not in f"{sent.body!r} {sent.headers!r} {session!r}"


async def test_a_code_works_once(shop: Shop) -> None:
    await shop.login()
    sent = await shop.post()
    assert (sent.status, sent.json["code"]) == (400, "invalid_grant")
    assert sent.values(b"access-control-allow-origin") == [ORIGIN.encode()]


async def test_two_logins_are_two_sessions(shop: Shop) -> None:
    first, second = await shop.login("code-1"), await shop.login("code-2")
    assert (await shop.logout(first)).status == 204
    assert (await shop.visit(second)).status == 200


async def test_a_redirect_uri_that_is_not_ours_is_never_asked_for(shop: Shop) -> None:
    sent = await shop.post(redirectUri="https://evil.example/")
    assert (sent.status, sent.json["code"]) == (400, "invalid_grant")
    assert shop.outcomes(EXCHANGE) == []


@pytest.mark.parametrize(
    "more", [{"code": ""}, {"code": 1}, {"codeVerifier": "v" * 129}, {"maxAge": 1}, {"nonce": ["n"]}]
)
async def test_a_bad_request_never_reaches_the_vendor(shop: Shop, more: dict[str, Any]) -> None:
    sent = await shop.post(**more)
    assert (sent.status, sent.json["code"]) == (400, "invalid_request")
    assert shop.outcomes(EXCHANGE) == []


async def test_an_unknown_deployment_is_our_own_mistake(swap: tuple[Swap, str]) -> None:
    async with opened(swap, "another") as shop:
        sent = await shop.post()
    assert (sent.status, sent.json["code"]) == (502, "issuer_misconfigured")


@pytest.mark.parametrize("action", ["token_missing", "token_not_a_string", "token_expired"])
async def test_what_the_vendor_hands_out_must_be_a_token_that_lives(shop: Shop, action: str) -> None:
    shop.vendor.faults.add(action, route="exchange")
    assert (await shop.post()).status == 503


async def test_a_preflight_allows_both_methods(shop: Shop) -> None:
    fields = [(b"origin", ORIGIN.encode()), (b"access-control-request-method", b"DELETE")]
    sent = await drive(shop._endpoint, http_scope("OPTIONS", "/api/webchat/session", fields))
    assert (sent.status, sent.values(b"access-control-allow-methods")) == (204, [b"POST, DELETE"])


# --- tokens -----------------------------------------------------------------------------------------------


async def test_a_token_that_we_never_gave_out_is_refused_however_well_formed(shop: Shop) -> None:
    raw = await shop.login()
    signed, _, _ = raw.compact.rpartition(b".")
    for foreign in (token(), RawToken(signed + b".AAAA"), RawToken(raw.compact + b"A"), RawToken(b"x")):
        sent = await shop.visit(foreign)
        assert (sent.status, sent.json["code"]) == (401, "invalid_token")
    assert shop.outcomes(REFRESH) == []


async def test_valid_tokens_pass_while_the_vendor_is_down(shop: Shop) -> None:
    raw = await shop.login()
    shop.vendor.faults.add("reset_before")
    shop.gate.entries.cache.drop_where(lambda _: True)
    for later in (1, NEAR):
        shop.clock.advance(later)
        sent = await shop.visit(raw)
        assert (sent.status, sent.values(b"x-guest-token")) == (200, [])


# --- rotation ---------------------------------------------------------------------------------------------


async def test_a_token_is_refreshed_in_its_window_for_the_same_guest(shop: Shop) -> None:
    raw = await shop.login()
    await shop.visit(raw)
    shop.clock.advance(NEAR)
    fresh = successor(await shop.visit(raw))
    assert (await shop.visit(fresh)).status == 200
    assert shop.outcomes(REFRESH) == ["ok"]
    first, *_, last = (scope["state"]["guest"] for scope in shop.app.scopes)
    assert first.subject == last.subject
    assert last.expires_at == first.expires_at + NEAR


async def test_fifty_at_once_cost_one_refresh(shop: Shop) -> None:
    raw = await shop.login()
    shop.clock.advance(DUE)
    answers: list[Sent] = []

    async def one() -> None:
        answers.append(await shop.visit(raw))

    with anyio.fail_after(20):
        async with shop.gate.background(), anyio.create_task_group() as tasks:
            for _ in range(50):
                tasks.start_soon(one)
    assert {answer.status for answer in answers} == {200}
    assert len({successor(answer) for answer in answers}) == 1
    assert len(shop.outcomes(REFRESH)) == 1


async def test_without_a_living_refresh_token_a_session_ends_with_its_token(shop: Shop) -> None:
    raw = await shop.login()
    for session in shop.vendor.web._by_refresh.values():
        session.ends = shop.clock.time()
    shop.clock.advance(NEAR)
    sent = await shop.visit(raw)
    assert (sent.status, sent.values(b"x-guest-token")) == (200, [])
    shop.clock.advance(DUE - NEAR)
    assert (await shop.visit(raw)).status == 401


async def test_an_earlier_token_of_a_session_gets_what_was_had_already(shop: Shop) -> None:
    """The store may have forgotten the successor; a refresh token that works once allows no second try."""
    shop.vendor.web.single_use = True
    raw = await shop.login()
    shop.clock.advance(NEAR)
    fresh = successor(await shop.visit(raw))
    issuer = shop.gate.rotation.issuer
    for carried in (raw, raw):
        assert await issuer.rotate(carried, (await shop.gate.entry(carried)).genuine.claims) == fresh
    assert len(shop.outcomes(REFRESH)) == 1


async def test_tokens_of_one_session_never_refresh_it_at_once(shop: Shop) -> None:
    shop.vendor.web.single_use = True
    raw = await shop.login()
    claims = (await shop.gate.entry(raw)).genuine.claims
    shop.clock.advance(NEAR)
    had: list[RawToken] = []

    async def one() -> None:
        had.append(await shop.gate.rotation.issuer.rotate(raw, claims))

    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            for _ in range(20):
                tasks.start_soon(one)
    assert len(set(had)) == 1
    assert len(shop.outcomes(REFRESH)) == 1


# --- renewing, as a page asks for it ----------------------------------------------------------------------


async def renewed(shop: Shop, raw: RawToken, **more: Any) -> Sent:
    body = json.dumps({"currentToken": raw.compact.decode(), **more}).encode()
    headers = [(b"content-type", b"application/json"), (b"origin", ORIGIN.encode())]
    scope = http_scope("POST", "/api/webchat/session", headers)
    return await drive(shop._endpoint, scope, {"type": "http.request", "body": body})


async def test_a_page_gets_its_token_back_until_a_successor_is_due(shop: Shop) -> None:
    raw = await shop.login()
    sent = await renewed(shop, raw)
    assert (sent.json["token"], sent.json["expires_in"]) == (raw.compact.decode(), LIFE)
    shop.clock.advance(NEAR)
    sent = await renewed(shop, raw)
    assert sent.json.keys() == {"token", "expires_at", "expires_in"}
    assert sent.json["expires_in"] == LIFE
    assert sent.values(b"cache-control") == [b"no-store"]
    assert sent.values(b"set-cookie")
    fresh = RawToken(sent.json["token"].encode())
    assert fresh != raw
    assert successor(await shop.visit(raw)) == fresh
    assert len(shop.outcomes(REFRESH)) == 1


@pytest.mark.parametrize(("later", "status"), [(NEAR, 200), (DUE, 503)])
async def test_a_failing_vendor_takes_no_token_away_that_is_still_good(
    shop: Shop, later: float, status: int
) -> None:
    raw = await shop.login()
    shop.vendor.faults.add("reset_before", route="refresh")
    shop.clock.advance(later)
    assert (await renewed(shop, raw)).status == status


async def test_a_page_whose_token_is_past_everything_has_to_log_in(shop: Shop) -> None:
    raw = await shop.login()
    shop.clock.advance(LIFE + 61)
    for sent in (await renewed(shop, raw), await renewed(shop, token()), await renewed(shop, RawToken(b"x"))):
        assert sent.status == 401
        assert sent.values(b"access-control-allow-origin") == [ORIGIN.encode()]
        assert sent.values(b"www-authenticate")
    assert shop.outcomes(EXCHANGE) == ["ok"]


@pytest.mark.parametrize(
    "more", [{"currentToken": ""}, {"currentToken": 1}, {"currentToken": None}, {"code": "c"}]
)
async def test_a_renewal_is_for_a_token_and_for_nothing_else(shop: Shop, more: dict[str, Any]) -> None:
    sent = await renewed(shop, await shop.login(), **more)
    assert (sent.status, sent.json["code"]) == (400, "invalid_request")


# --- logging out ------------------------------------------------------------------------------------------


async def test_after_a_logout_every_token_of_the_session_is_refused_at_once(shop: Shop) -> None:
    old = await shop.login()
    shop.clock.advance(NEAR)
    fresh = successor(await shop.visit(old))
    assert (await shop.visit(fresh)).status == 200
    sent = await shop.logout(fresh)
    assert (sent.status, sent.body) == (204, b"")
    (cookie,) = sent.values(b"set-cookie")
    assert b"Max-Age=0" in cookie
    for raw in (old, fresh):
        refused = await shop.visit(raw)
        assert (refused.status, refused.json["code"]) == (401, "invalid_token")
    assert len(shop.outcomes(REVOKE)) == 1
    assert (await shop.logout(fresh)).status == 401


async def test_other_workers_learn_of_a_logout_by_each_token_of_the_session(shop: Shop) -> None:
    """They remember verdicts, and ask the record again for none of them."""
    old = await shop.login()
    shop.clock.advance(NEAR)
    fresh = successor(await shop.visit(old))
    told: list[Revocation] = []

    class Log(MemoryRevocations):
        async def add(self, revocation: Revocation) -> None:
            told.append(revocation)

    shop.gate.revocations = Revocations(Log(), shop.clock)
    await shop.logout(fresh)
    assert {revocation.name for revocation in told} == {old.id, fresh.id}


async def test_a_logout_stands_though_the_vendor_cannot_be_told(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    raw = await shop.login()
    shop.vendor.faults.add("reset_before", route="revoke")
    assert (await shop.logout(raw)).status == 204
    assert (await shop.visit(raw)).status == 401
    assert "session.not_revoked reason='unavailable'" in caplog.text


async def test_other_workers_are_told_of_a_logout_before_the_vendor_is(shop: Shop) -> None:
    """Its answer may take seconds, and one second is what other workers have."""
    raw = await shop.login()
    order: list[str] = []

    class Log(MemoryRevocations):
        async def add(self, revocation: Revocation) -> None:
            order.append("told")
            assert shop.outcomes(REVOKE) == []
            if len(order) == 1:
                raise StoreUnavailable

    shop.gate.revocations = Revocations(Log(), shop.clock)
    assert (await shop.logout(raw)).status == 503  # nothing has happened, so it can be tried again
    assert (await shop.visit(raw)).status == 200
    assert (await shop.logout(raw)).status == 204
    assert (order, shop.outcomes(REVOKE)) == (["told", "told"], ["ok"])


async def test_a_token_that_a_refresh_brings_during_a_logout_is_refused_too(shop: Shop) -> None:
    raw = await shop.login()
    shop.clock.advance(NEAR)
    told: list[object] = []
    fresh: list[RawToken] = []

    class Log(MemoryRevocations):
        async def add(self, revocation: Revocation) -> None:
            told.append(revocation.name)
            if not fresh:
                fresh.append(successor(await shop.visit(raw)))

    shop.gate.revocations = Revocations(Log(), shop.clock)
    assert (await shop.logout(raw)).status == 204
    assert told == [raw.id, fresh[0].id]
    assert (await shop.visit(fresh[0])).status == 401


async def test_a_request_during_a_logout_keeps_no_verdict_beyond_it(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = await shop.login()
    shop.gate.revocations = Revocations(MemoryRevocations(), shop.clock)
    close, statuses = shop.sessions.close, []

    async def visited_before(name: str) -> Session | None:
        statuses.append((await shop.visit(raw)).status)
        return await close(name)

    monkeypatch.setattr(shop.sessions, "close", visited_before)
    assert (await shop.logout(raw)).status == 204
    assert statuses == [200]  # the record knew it still
    assert (await shop.visit(raw)).status == 401


async def test_of_two_logouts_at_once_one_finds_nothing_left_to_end(shop: Shop) -> None:
    raw = await shop.login()

    class Log(MemoryRevocations):
        async def add(self, revocation: Revocation) -> None:
            recorded = await shop.sessions.recorded(raw)
            assert recorded is not None
            await shop.sessions.close(recorded.session)

    shop.gate.revocations = Revocations(Log(), shop.clock)
    assert (await shop.logout(raw)).status == 401
    assert shop.outcomes(REVOKE) == []


async def test_a_logout_without_a_token_of_ours_is_refused(shop: Shop) -> None:
    for raw, code in ((None, "token_missing"), (token(), "invalid_token")):
        sent = await shop.logout(raw)
        assert (sent.status, sent.json["code"]) == (401, code)
    assert shop.outcomes(REVOKE) == []


async def test_a_refresh_that_a_logout_overtakes_gives_nothing_out(shop: Shop) -> None:
    raw = await shop.login()
    recorded = await shop.sessions.recorded(raw)
    assert recorded is not None
    session = await shop.sessions.session(recorded.session)
    assert session is not None
    await shop.logout(raw)
    assert not await shop.sessions.extend(session, raw, recorded)
    assert await shop.sessions.recorded(raw) is None


# --- settings ---------------------------------------------------------------------------------------------

ENV = {"GUESTPASS_ISSUER__KIND": "webdeployments", "GUESTPASS_ISSUER__DEPLOYMENT_ID": "d"}


def test_several_processes_without_a_shared_record_are_refused_at_start() -> None:
    """Each would refuse what the others gave out."""
    with pytest.raises(ConfigError) as caught:
        require_shared_record(load(None, {**ENV, "GUESTPASS_SERVER__WORKERS": "2"}))
    assert caught.value.field == "store.url"


@pytest.mark.parametrize(
    "more",
    [
        {},
        {
            "GUESTPASS_SERVER__WORKERS": "2",
            "GUESTPASS_STORE__URL": "redis://127.0.0.1:1/0",
            "GUESTPASS_STORE__SECRET": "s" * 32,
        },
    ],
)
def test_one_process_or_a_shared_record_will_do(more: dict[str, str]) -> None:
    require_shared_record(load(None, {**ENV, **more}))


async def test_a_gate_without_logins_has_no_session_endpoint(shop: Shop) -> None:
    shop.gate.logins = None
    with pytest.raises(ConfigError, match="webdeployments"):
        SessionEndpoint(shop.gate)


def test_serve_lets_guests_log_in_and_serves_no_token_endpoint() -> None:
    with running(*GUESTPASS, "fake-vendor", "--port", "0") as vendor:
        env = {
            "GUESTPASS_ISSUER__KIND": "webdeployments",
            "GUESTPASS_ISSUER__DEPLOYMENT_ID": "fake-deployment",
            "GUESTPASS_ISSUER__GATEWAY": vendor.url(),
        }
        # Nothing listens there: whom the gate lets through gets a 502.
        serve = (*GUESTPASS, "serve", "--port", "0", "--upstream", "http://127.0.0.1:1")
        with running(*serve, env=env) as proxy, httpx.Client(base_url=proxy.url(), trust_env=False) as client:
            login = {"code": "code-1", "redirectUri": HERE}
            answer = client.post("/api/webchat/session", json=login)
            assert answer.status_code == 200, answer.text
            carrying_it = {"X-Guest-Token": answer.json()["token"]}
            assert client.get("/orders", headers=carrying_it).status_code == 502
            assert client.post("/guestpass/token", json={"name": "A", "email": "a@b.cd"}).status_code == 401
            assert client.delete("/api/webchat/session", headers=carrying_it).status_code == 204
            assert client.get("/orders", headers=carrying_it).status_code == 401


async def test_a_refresh_token_that_comes_anew_replaces_the_old_one(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RFC 6749 §6: the old one may be dead from then on."""
    web = shop.vendor.web
    minted = web._jwt
    monkeypatch.setattr(web, "_jwt", lambda *call: {**minted(*call), "refreshToken": "anew"})
    raw = await shop.login()
    shop.clock.advance(NEAR)
    fresh = await shop.gate.rotation.issuer.rotate(raw, (await shop.gate.entry(raw)).genuine.claims)
    recorded = await shop.sessions.recorded(fresh)
    assert recorded is not None
    session = await shop.sessions.session(recorded.session)
    assert session is not None
    assert session.refresh_token == "anew"
