"""Guests who logged in, over several workers: refreshed once, ended everywhere, and what an outage costs."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import httpx
import pytest
from fleet import SECRET, Fleet, burst, fleet, store_is
from kit import drive, http_scope
from redis_server import RedisServer

from guestpass.adapters.system_clock import SystemClock
from guestpass.asgi.health import Readyz
from guestpass.config import load
from guestpass.gate import Gate
from guestpass.monitoring.readings import Readings
from guestpass.wiring.gates import build_gate
from guestpass.wiring.parts import build_parts
from guestpass.wiring.state import build_state

pytestmark = pytest.mark.anyio

LOGINS = {"GUESTPASS_ISSUER__KIND": "webdeployments", "GUESTPASS_ISSUER__DEPLOYMENT_ID": "fake-deployment"}
SESSION = "/api/webchat/session"
HERE = "https://shop.example/back"


class Guest:
    """A browser that may talk to any of the hosts."""

    def __init__(self, running: Fleet, client: httpx.AsyncClient) -> None:
        self.running = running
        self._client = client

    async def post(self, host: int = 0, **members: str) -> httpx.Response:
        return await self._client.post(f"{self.running.urls[host]}{SESSION}", json=members)

    async def login(self, code: str = "code-1", *, host: int = 0, left: int = 900) -> str:
        """A token of the vendor's 15 minutes, of which `left` seconds are left."""
        clock = self.running.vendor.clock
        clock.set_skew({"exp": left - 900})
        answer = await self.post(host, code=code, redirectUri=HERE)
        clock.set_skew(0)
        assert answer.status_code == 200, answer.text
        token: str = answer.json()["token"]
        return token

    async def visit(self, token: str, *, host: int = 0) -> httpx.Response:
        return await self._client.get(self.running.urls[host], headers={"X-Guest-Token": token})

    async def logout(self, token: str, *, host: int = 0) -> httpx.Response:
        url = f"{self.running.urls[host]}{SESSION}"
        return await self._client.delete(url, headers={"X-Guest-Token": token})


@asynccontextmanager
async def guest_of(server: RedisServer, *, workers: int = 1, hosts: int = 1) -> AsyncIterator[Guest]:
    with fleet(server.url, workers=workers, hosts=hosts, env=LOGINS) as running:
        running.vendor.web.single_use = True
        async with httpx.AsyncClient(timeout=20) as client:
            yield Guest(running, client)


async def test_two_workers_and_fifty_requests_at_once_cost_one_refresh(server: RedisServer) -> None:
    """A refresh token works once here: a second use of one would end the session."""
    async with guest_of(server, workers=2) as guest:
        vendor = guest.running.vendor
        token = await guest.login(left=100)
        for refreshes, left in enumerate((200, 900), start=1):
            vendor.clock.set_skew({"exp": left - 900})
            outcomes = await burst(guest.running.urls, [token] * 50)
            assert outcomes.statuses == {200: 50}
            [successor] = outcomes.successors
            assert vendor.web.refreshes == refreshes
            token = successor
        renewed = (await guest.post(currentToken=token)).json()
        assert renewed["token"] == token
        assert 880 < renewed["expires_in"] <= 900
        assert vendor.web.refreshes == 2


async def test_a_token_of_any_worker_is_known_to_every_other_and_ended_by_any(server: RedisServer) -> None:
    async with guest_of(server, hosts=2) as guest:
        token = await guest.login(host=0)
        other = await guest.login("code-2", host=1)
        for host in (0, 1):
            assert (await guest.visit(token, host=host)).status_code == 200
        assert (await guest.logout(token, host=1)).status_code == 204
        assert (await guest.visit(token, host=1)).status_code == 401
        with anyio.fail_after(1.5):  # a second, and the time that asking takes
            while (await guest.visit(token, host=0)).status_code != 401:  # noqa: ASYNC110  nobody tells
                await anyio.sleep(0.05)
        assert (await guest.post(0, currentToken=token)).status_code == 401
        assert (await guest.visit(other, host=0)).status_code == 200
        assert "ok" in guest.running.vendor.journal.outcomes("/api/v2/webdeployments/token/revoke")


async def test_while_redis_is_away_known_tokens_pass_and_everything_else_can_be_asked_again(
    server: RedisServer,
) -> None:
    """No code and no refresh token is spent meanwhile, and all goes on by itself afterwards."""
    async with guest_of(server, hosts=2) as guest:
        web, url = guest.running.vendor.web, guest.running.url
        known, near = await guest.login(), await guest.login("code-2", left=100)
        unseen = await guest.login("code-3", host=1)
        assert (await guest.visit(known)).status_code == 200
        server.pause()
        try:
            for answer in (
                await guest.post(code="code-4", redirectUri=HERE),
                await guest.visit(unseen),
                await guest.logout(known),
            ):
                assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
            assert (await guest.visit(known)).status_code == 200
            await store_is(url, "degraded")
            assert (web.exchanges, web.refreshes) == (3, 0)
        finally:
            server.resume()
        await store_is(url, "ok")
        assert (await guest.post(code="code-4", redirectUri=HERE)).status_code == 200
        assert (await guest.visit(unseen)).status_code == 200
        assert "x-guest-token" in (await guest.visit(near)).headers
        assert web.refreshes == 1
        assert (await guest.logout(known)).status_code == 204


async def test_a_worker_that_has_never_reached_the_record_is_not_ready(server: RedisServer) -> None:
    """It could tell no good token from a bad one; one that has reached it once serves those it has seen."""
    shared = {"GUESTPASS_STORE__URL": server.url, "GUESTPASS_STORE__SECRET": SECRET}
    server.stop()
    settings, clock = load(None, {**LOGINS, **shared}), SystemClock()
    state = build_state(settings.store, clock)
    gate = build_gate(settings, Gate, build_parts(settings, clock, state), state, clock)
    readyz = Readyz(gate)
    away = await drive(readyz, http_scope(path="/readyz"))
    assert (away.status, away.json["status"], away.json["store"]) == (503, "unavailable", "degraded")
    assert "nobody can log in" in Readings(gate, None).ailments()["store"]
    server.start()
    await server.ready()
    with anyio.fail_after(5):
        while (await drive(readyz, http_scope(path="/readyz"))).status != 200:  # noqa: ASYNC110  as above
            await anyio.sleep(0.05)
    server.stop()
    assert (await drive(readyz, http_scope(path="/readyz"))).status == 200
    await state.store.aclose()
