"""The game day: under 100 requests a second each part fails in turn, and operations.md says what is seen."""

import sys

import anyio
import httpx
import pytest
from anyio.lowlevel import checkpoint
from fleet import Fleet, fleet
from game_day import HEAD, Act, Backend, Crowd, GameDay, Trouble, Watch
from redis_server import RedisServer
from running import ROOT

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

OK = {"status": "ok"}
REDIS = Trouble(
    name="Redis is killed",
    metric=("store_degraded",),
    falls=True,
    log="store.degraded",
    ready={"status": "degraded", "store": "degraded"},
    reason="store",
    doctor={"store": "cannot be reached"},
    heals="by itself within a second of Redis' return: `store.recovered`",
    healed="store.recovered",
)
KEYS = Trouble(
    name="the issuer rotates its keys",
    metric=("unknown_kids_total",),
    log="jwks.refreshed",
    ready=OK,
    reason=None,
    doctor={},
    heals="by itself at the first token of the new key",
)
LIMIT = Trouble(
    name="the issuer says 429",
    newcomer=503,
    metric=("issuer_closed_seconds",),
    falls=True,
    log="issuer.gate_closed",
    ready={"status": "degraded", "issuer": "backing_off"},
    reason="issuer",
    doctor={"permission": "too many calls"},
    heals="by itself after Retry-After",
)
BACKEND = Trouble(
    name="the backend is down",
    guests=502,
    metric=("upstream_errors_total", "upstream_unreachable"),
    log="upstream.failed",
    ready=OK,
    reason="upstream",
    doctor={"backend": "502"},
    heals="by itself with the first request after its return",
)
CLOCK = Trouble(
    name="the issuer's clock is 5 minutes ahead of ours",
    newcomer=503,
    metric=("rotations_total", "unavailable"),
    log="successor.discarded",
    ready={"status": "degraded", "issuer": "backing_off"},
    reason="issuer",
    doctor={"token": "claim_iat", "clock": "behind"},
    heals="set the clock; then by itself",
)
TROUBLES = (REDIS, KEYS, LIMIT, BACKEND, CLOCK)
TABLE = "\n".join([HEAD, *(trouble.row() for trouble in TROUBLES)])


def test_the_table_of_the_game_day_is_that_of_the_documentation() -> None:
    assert TABLE in (ROOT / "docs" / "operations.md").read_text("utf-8")


async def test_no_guest_notices_but_for_a_dead_backend(server: RedisServer) -> None:
    """Run with `-s` to see the table, with the answers that were counted."""
    backend = Backend()
    await backend.start()
    arguments = ("--admin-port", "0", "--upstream", backend.url)
    with fleet(server.url, workers=2, arguments=arguments) as running:
        async with httpx.AsyncClient(trust_env=False) as client, anyio.create_task_group() as tasks:
            crowd = Crowd(running)
            watch = Watch(running, backend, server.url, client)
            tasks.start_soon(crowd.run)
            day = GameDay(crowd, watch)
            assert await watch.doctor() == (0, {})
            with anyio.fail_after(100):
                for trouble, (begin, end) in zip(TROUBLES, acts(running, server, backend), strict=True):
                    await day.endure(trouble, begin, end)
            tasks.cancel_scope.cancel()
    await backend.kill()
    sys.stdout.write("\n".join(["", *day.lines, ""]))


def acts(running: Fleet, server: RedisServer, backend: Backend) -> list[tuple[Act, Act]]:
    """How each of `TROUBLES` begins and ends."""
    vendor = running.vendor

    async def redis_dies() -> None:
        server.stop()

    async def redis_returns() -> None:
        server.start()
        await server.ready()

    async def keys_rotate() -> None:
        vendor.keys.rotate()
        await checkpoint()

    async def limited() -> None:
        vendor.faults.add("rate_limited", route="mint", seconds=2)
        await checkpoint()

    async def unlimited() -> None:
        vendor.faults.clear()
        await checkpoint()

    async def clock_steps() -> None:
        vendor.clock.set_skew(300)
        await checkpoint()

    async def clock_is_set() -> None:
        vendor.clock.set_skew(0)
        await checkpoint()

    return [
        (redis_dies, redis_returns),
        (keys_rotate, checkpoint),
        (limited, unlimited),
        (backend.kill, backend.start),
        (clock_steps, clock_is_set),
    ]
