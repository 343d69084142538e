"""F1, F2: whatever happens to Redis, valid tokens pass, nobody waits, and it is used again by itself."""

import signal

import anyio
import pytest
from fleet import Fleet, Outcomes, burst, fleet, request, steady, store_is
from redis_server import RedisServer
from vendor_client import MINT

pytestmark = pytest.mark.anyio


def fresh(running: Fleet, count: int) -> list[str]:
    """Tokens that no worker has seen, so that each of them asks the store and the limits."""
    return [running.token(f"guest{number}", left=1500) for number in range(count)]


async def rotated(running: Fleet, token: str) -> str:
    """The successor that one request with `token` brings."""
    outcomes = await burst(running.urls[:1], [token])
    assert outcomes.statuses == {200: 1}
    (successor,) = outcomes.successors
    return successor


async def test_redis_that_is_not_there_at_the_start_is_used_once_it_is(server: RedisServer) -> None:
    """F1; each worker finds out by itself, so each is asked: two hosts, as nobody picks a worker."""
    server.stop()
    with fleet(server.url, hosts=2) as running:
        outcomes = await burst(running.urls, fresh(running, 50))
        assert outcomes.statuses == {200: 50}
        assert await rotated(running, running.token())
        await store_is(running.url, "degraded")
        server.start()
        await server.ready()
        for url in running.urls:
            await store_is(url, "ok")
        for number, url in enumerate(running.urls, 1):
            assert (await burst([url], [running.token(f"Bob{number}")])).successors
            assert sum(key.endswith(":successor") for key in await server.keys()) == number


async def test_nobody_waits_while_redis_hangs(server: RedisServer) -> None:
    """F2: for ten seconds; after the first one p99 stays under 300 ms, and no answer is an error."""
    with fleet(server.url) as running:
        tokens = fresh(running, 2000)
        server.pause()
        try:
            first = await steady(running.url, tokens[:200], rate=200)
            then = await steady(running.url, tokens[200:], rate=200)
        finally:
            server.resume()
        assert first.statuses == {200: 200}
        assert then.statuses == {200: 1800}
        assert then.percentile(0.99) < 0.3
        await store_is(running.url, "ok")


async def test_a_redis_that_dies_costs_nobody_anything_and_is_used_when_it_is_back(
    server: RedisServer,
) -> None:
    """F1; and a Redis that comes back has forgotten everything, scripts included."""
    with fleet(server.url) as running:
        token = running.token()
        successor = await rotated(running, token)
        base = await steady(running.url, fresh(running, 200), rate=200)
        server.stop()
        down = await steady(running.url, fresh(running, 200), rate=200)
        assert base.statuses == down.statuses == {200: 200}
        assert down.percentile(0.5) < base.percentile(0.5) + 0.05
        assert down.percentile(0.99) < 0.3
        assert await rotated(running, token) == successor
        server.start()
        await server.ready()
        await store_is(running.url, "ok")
        assert await rotated(running, token) == successor
        assert await rotated(running, running.token("Bob"))
        assert running.mints == 2


@pytest.mark.parametrize(
    ("setting", "broken", "mended"), [("min-replicas-to-write", "1", "0"), ("maxmemory", "1", "0")]
)
async def test_a_redis_that_takes_no_writes_is_as_good_as_none(
    server: RedisServer, setting: str, broken: str, mended: str
) -> None:
    with fleet(server.url) as running:
        await server.command("CONFIG", "SET", setting, broken)
        token = running.token()
        successor = await rotated(running, token)
        await store_is(running.url, "degraded")
        assert await rotated(running, token) == successor
        assert (await burst(running.urls, fresh(running, 50))).statuses == {200: 50}
        await server.command("CONFIG", "SET", setting, mended)
        await store_is(running.url, "ok")
        assert running.mints == 1


async def test_a_worker_killed_in_the_middle_of_a_mint_is_followed_by_another(server: RedisServer) -> None:
    """Its lease runs out; until then requests pass with the token they have."""
    brief = {"GUESTPASS_POLICY__MINT_DEADLINE": "1", "GUESTPASS_POLICY__ROTATION_WAIT": "0.2"}
    with fleet(server.url, hosts=2, env=brief) as running:
        running.vendor.faults.add("hang", route="mint", first=1)
        token = running.token()
        doomed, survivor = running.urls
        lost = Outcomes()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(request, doomed, token, lost)
            with anyio.fail_after(5):
                while not running.vendor.journal.outcomes(MINT):  # noqa: ASYNC110  it runs in a thread
                    await anyio.sleep(0.01)
            running.processes[0].process.send_signal(signal.SIGKILL)
        outcomes = Outcomes()
        with anyio.fail_after(8):
            while not outcomes.successors:
                await request(survivor, token, outcomes)
                await anyio.sleep(0.05)
        assert set(outcomes.statuses) == {200}
        assert running.mints == 1  # and one that was asked for in vain


async def test_with_vendor_keys_and_redis_all_gone_valid_tokens_pass(server: RedisServer) -> None:
    """F5."""
    with fleet(server.url) as running:
        tokens = [*fresh(running, 50), running.token()]
        await burst(running.urls, tokens)
        running.vendor.faults.add("reset_before", route="*")
        server.stop()
        assert (await burst(running.urls, tokens)).statuses == {200: 51}
        assert (await burst(running.urls, [running.token("Bob", left=1000)])).statuses == {200: 1}


async def test_one_worker_that_is_turned_away_keeps_the_whole_fleet_away(server: RedisServer) -> None:
    """R5: a 429 costs the vendor one call, not one for each worker."""
    with fleet(server.url, hosts=3) as running:
        running.vendor.faults.add("rate_limited", route="mint", seconds=60)
        for url in running.urls:
            outcomes = await burst([url], [running.token(f"guest of {url[-5:]}")])
            assert outcomes.statuses == {200: 1}
        assert len(running.vendor.journal.outcomes(MINT)) == 1
