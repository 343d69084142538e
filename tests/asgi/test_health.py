"""`/livez` and `/readyz`: what they say while keys or issuer are away, and to whom they say it."""

import pytest
from kit import ALGORITHMS, World, drive, http_scope, jwks, world

from guestpass.adapters.static_jwks import StaticJwks
from guestpass.asgi.health import Livez, Readyz
from guestpass.core.model import MonotonicTime
from guestpass.errors import Unavailable

pytestmark = pytest.mark.anyio


class Keys(StaticJwks):
    """Keys that are away until `up`; counts who asks for them."""

    def __init__(self) -> None:
        super().__init__(jwks("rsa"), algorithms=ALGORITHMS)
        self.up = False
        self.asked = 0
        self.due = MonotonicTime(0)

    @property
    def recheck_at(self) -> MonotonicTime:
        return self.due

    async def recheck(self) -> None:
        self.asked += 1
        if not self.up:
            raise Unavailable(retry_after=1)
        self.due = MonotonicTime(float("inf"))


async def ready(w: World) -> tuple[int, dict[str, object]]:
    sent = await drive(Readyz(w.gate), http_scope(path="/readyz"))
    return sent.status, {name: sent.json[name] for name in ("status", "keys", "issuer")}


@pytest.mark.parametrize("app", [Livez(), Readyz(world().gate)], ids=["livez", "readyz"])
async def test_an_answer_is_json_that_no_cache_keeps(app: Livez) -> None:
    sent = await drive(app, http_scope())
    assert (sent.status, sent.json["status"]) == (200, "ok")
    assert sent.values(b"content-type") == [b"application/json"]
    assert sent.values(b"cache-control") == [b"no-store"]
    assert sent.values(b"content-length") == [b"%d" % len(sent.body)]


@pytest.mark.parametrize("app", [Livez(), Readyz(world().gate)], ids=["livez", "readyz"])
async def test_they_are_read_and_nothing_else(app: Livez) -> None:
    """P12."""
    full = await drive(app, http_scope())
    head = await drive(app, http_scope("HEAD"))
    assert (head.status, head.body) == (200, b"")
    assert head.values(b"content-length") == full.values(b"content-length")
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        sent = await drive(app, http_scope(method))
        assert sent.status == 405
        assert sent.values(b"allow") == [b"GET, HEAD"]


async def test_without_keys_it_is_alive_but_not_ready_and_heals_by_itself() -> None:
    """K2."""
    keys = Keys()
    w = world(keys=keys)
    assert await ready(w) == (503, {"status": "unavailable", "keys": "unavailable", "issuer": "ok"})
    assert (await drive(Livez(), http_scope())).status == 200
    keys.up = True
    assert await ready(w) == (200, {"status": "ok", "keys": "ok", "issuer": "ok"})
    assert keys.asked == 2
    await ready(w)
    assert keys.asked == 2  # good keys are not asked for again


async def test_an_issuer_that_is_down_takes_no_traffic_away() -> None:
    """Valid tokens still pass."""
    w = world()
    w.gate.rotation.health.failed(Unavailable(retry_after=10))
    assert await ready(w) == (200, {"status": "degraded", "keys": "ok", "issuer": "backing_off"})
    w.clock.advance(10)
    assert await ready(w) == (200, {"status": "ok", "keys": "ok", "issuer": "ok"})


async def test_what_is_about_to_stop_is_alive_and_not_ready_and_asks_for_no_keys() -> None:
    keys = Keys()
    sent = await drive(Readyz(world(keys=keys).gate, draining=lambda: True), http_scope(path="/readyz"))
    assert (sent.status, sent.json) == (503, {"status": "draining"})
    assert keys.asked == 0
