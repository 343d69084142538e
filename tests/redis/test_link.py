"""The link to Redis: what it takes for a failure, how often it tries, and where it may not be used."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import anyio
import pytest
from kit import HeldClock
from redis.asyncio import RedisCluster, SSLConnection
from redis_server import RedisServer, until

from guestpass.adapters.degrading_store import DegradingStore
from guestpass.adapters.memory_store import MemoryStore
from guestpass.adapters.patience import Patience
from guestpass.adapters.redis_client import connect
from guestpass.adapters.redis_limiter import RedisLimiter
from guestpass.adapters.redis_link import RedisLink
from guestpass.adapters.redis_pause import RedisPause
from guestpass.adapters.redis_store import RedisStore
from guestpass.adapters.sealing import Sealing
from guestpass.adapters.system_clock import SystemClock
from guestpass.config import Rate, Secret, StoreSettings
from guestpass.core.model import RawToken, Successor, UnixTime
from guestpass.errors import ConfigError, Unavailable
from guestpass.ports import Lease
from guestpass.wiring.state import State, build_state

pytestmark = pytest.mark.anyio

OLD = RawToken(b"old.to.ken").id


@pytest.mark.parametrize("way", ["stop", "pause"])
async def test_the_first_failure_is_the_last_that_anyone_waits_for(
    server: RedisServer, caplog: pytest.LogCaptureFixture, way: str
) -> None:
    clock = HeldClock()
    link = RedisLink(server.url, clock)
    assert await link.command("PING")
    getattr(server, way)()
    with pytest.raises(Unavailable):
        await link.command("PING")
    began = anyio.current_time()
    for _ in range(100):
        with pytest.raises(Unavailable):
            await link.command("PING")
    assert anyio.current_time() - began < 0.1
    assert caplog.text.count("store.degraded") == 1
    if way == "pause":
        server.resume()
    else:
        server.start()
        await server.ready()
    with pytest.raises(Unavailable):
        await link.command("PING")
    clock.advance(0.5)
    assert await link.command("PING")
    assert not link.breaker.is_open
    await link.aclose()


async def test_while_it_is_down_one_request_at_a_time_tries(server: RedisServer) -> None:
    clock = HeldClock()
    link = RedisLink(server.url, clock)
    server.pause()
    with pytest.raises(Unavailable):
        await link.command("PING")
    clock.advance(0.5)
    waited: list[float] = []

    async def ask() -> None:
        began = anyio.current_time()
        with pytest.raises(Unavailable):
            await link.command("PING")
        waited.append(anyio.current_time() - began)

    async with anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(ask)
    assert len([seconds for seconds in waited if seconds > 0.3]) == 1
    await link.aclose()


async def test_once_the_background_watches_no_request_tries(server: RedisServer) -> None:
    link = RedisLink(server.url, SystemClock())
    server.stop()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(link.run)
        with pytest.raises(Unavailable):
            await link.command("PING")
        assert not link.breaker.may_probe()
        server.start()
        await server.ready()
        await until(lambda: not link.breaker.is_open, within=5)
        tasks.cancel_scope.cancel()
    assert not link.breaker.attended
    await link.aclose()


async def test_connections_that_redis_closed_meanwhile_fail_nobody(
    server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    link = RedisLink(server.url, HeldClock())
    await link.command("SET", "x", 1)
    server.stop()
    server.start()
    await server.ready()
    assert await link.command("GET", "x") is None
    assert "store.degraded" not in caplog.text
    await link.aclose()


async def test_a_foreign_value_costs_its_own_key_and_not_the_store(server: RedisServer) -> None:
    clock = HeldClock()
    link = RedisLink(server.url, clock)
    store = DegradingStore(RedisStore(link, Sealing(["s" * 32]), clock), MemoryStore(clock))
    await server.command("RPUSH", link.key("token", OLD, ":successor"), "a list")
    assert await store.successor_of(OLD) is None
    assert isinstance(await store.lead(OLD, lease=10), Lease)
    assert not store.degraded
    await store.aclose()


async def test_our_own_lateness_is_not_blamed_on_redis(
    server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """A loop that comes round every 100 ms gets its answers late, and all the same gets them."""
    link = RedisLink(server.url, HeldClock())
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_busy)
        for number in range(3):
            await link.command("SET", f"x{number}", 1)
        tasks.cancel_scope.cancel()
    assert "store.degraded" not in caplog.text
    await link.aclose()


async def _busy() -> None:
    while True:
        time.sleep(0.1)  # noqa: ASYNC251  the point
        await anyio.lowlevel.checkpoint()


async def test_patience_ends_what_takes_too_long_and_nothing_else() -> None:
    began = anyio.current_time()
    with pytest.raises(TimeoutError), Patience(0.1):
        await anyio.sleep_forever()
    assert 0.1 <= anyio.current_time() - began < 1
    with Patience(0.1):
        await anyio.lowlevel.checkpoint()
    with pytest.raises(ZeroDivisionError), Patience(0.1):
        raise ZeroDivisionError
    with anyio.move_on_after(0.05) as outer, Patience(10):
        await anyio.sleep_forever()
    assert outer.cancelled_caught


# --- limits -----------------------------------------------------------------------------------------------


async def test_hosts_count_together(server: RedisServer) -> None:
    """L2: 4 workers and a limit of 100 let 100 pass, not 400."""
    links = [RedisLink(server.url, SystemClock()) for _ in range(4)]
    limiters = [RedisLimiter(link, Sealing(["s" * 32]), "x", amount=100, seconds=60) for link in links]
    passed: list[bool] = []

    async def hit(limiter: RedisLimiter) -> None:
        passed.append((await limiter.hit("192.0.2.1")).allowed)

    async with anyio.create_task_group() as tasks:
        for number in range(400):
            tasks.start_soon(hit, limiters[number % 4])
    assert passed.count(True) == 100
    (key,) = await server.keys()
    assert "192.0.2.1" not in key
    assert 0 < await server.command("PTTL", key) <= 60_000
    for link in links:
        await link.aclose()


async def test_limits_switch_to_this_process_and_back_within_a_second(server: RedisServer) -> None:
    """L4."""
    settings = StoreSettings(url=Secret(server.url), secret=Secret("s" * 32))
    state = build_state(settings, SystemClock())
    limiter = state.limiter("calls", Rate(3, 60.0))
    assert limiter is not None

    async def passed() -> int:
        return [(await limiter.hit("192.0.2.1")).allowed for _ in range(5)].count(True)

    async with anyio.create_task_group() as tasks:
        for job in state.jobs:
            tasks.start_soon(job)
        assert await passed() == 3
        server.stop()
        with anyio.fail_after(1):
            assert await passed() == 3  # counted here from now on
        assert await passed() == 0
        server.start()
        await server.ready()
        await until(lambda: not state.store.degraded, within=1)
        assert await passed() == 3  # Redis came back empty
        tasks.cancel_scope.cancel()
    await state.store.aclose()


async def test_a_pause_is_one_for_the_fleet_and_only_ever_grows(server: RedisServer) -> None:
    links = [RedisLink(server.url, HeldClock()) for _ in range(2)]
    first, second = (RedisPause(link) for link in links)
    assert await second.left() == (0.0, "")
    await first.start(30, "unavailable")
    await first.start(10, "issuer_misconfigured")
    left, reason = await second.left()
    assert (round(left), reason) == (30, "unavailable")
    await second.start(60, "issuer_misconfigured")
    left, reason = await first.left()
    assert (round(left), reason) == (60, "issuer_misconfigured")
    (key,) = await server.keys()
    await server.command("SET", key, "forged", "PX", 10**12)
    assert (await first.left())[0] == 86_400
    server.stop()
    await first.start(30, "unavailable")
    assert await first.left() == (0.0, "")
    for link in links:
        await link.aclose()


# --- where Redis is ---------------------------------------------------------------------------------------


@contextmanager
def unix(directory: Path) -> Iterator[tuple[RedisServer, str]]:
    path = directory / "redis.sock"
    with RedisServer(directory, "--unixsocket", str(path)) as server:
        yield server, f"unix://{path}"


@contextmanager
def cluster(directory: Path) -> Iterator[tuple[RedisServer, str]]:
    with RedisServer(directory, "--cluster-enabled", "yes") as server:
        yield server, f"redis+cluster://127.0.0.1:{server.port}"


@contextmanager
def sentinel(directory: Path) -> Iterator[tuple[RedisServer, str]]:
    """A sentinel that watches over one server."""
    with RedisServer(directory) as server:
        config = directory / "sentinel.conf"
        config.write_text(f"sentinel monitor main 127.0.0.1 {server.port} 1\n")
        with RedisServer(directory, config=config) as watch:
            # The first one hangs up; the second one knows.
            yield server, f"redis+sentinel://127.0.0.1:1,127.0.0.1:{watch.port}/main/0"


Kind = Callable[[Path], AbstractContextManager[tuple[RedisServer, str]]]


@pytest.mark.parametrize("kind", [unix, cluster, sentinel])
async def test_a_store_is_found_by_its_url(kind: Kind, tmp_path: Path) -> None:
    with kind(tmp_path) as (server, url):
        await server.ready()
        if kind is cluster:
            await server.command("CLUSTER", "ADDSLOTS", *range(16_384))
        state = build_state(StoreSettings(url=Secret(url), secret=Secret("s" * 32)), SystemClock())
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(state.jobs[0])
            await state.store.successor_of(OLD)  # a sentinel needs a moment, which degrades the store
            await until(lambda: not state.store.degraded, within=10)
            await _lead_wait_and_remember(state)
            tasks.cancel_scope.cancel()
        await state.store.aclose()


@pytest.mark.parametrize("scheme", ["redis", "redis+cluster"])
async def test_a_store_that_is_away_at_the_start_is_unavailable_and_no_crash(scheme: str) -> None:
    """redis-py's word for a cluster without a reachable node is no `RedisError`."""
    link = RedisLink(f"{scheme}://127.0.0.1:1", HeldClock())
    with pytest.raises(Unavailable):
        await link.command("GET", "x")
    assert link.breaker.is_open
    await link.aclose()


async def _lead_wait_and_remember(state: State) -> None:
    """All that a fleet does, without falling back once."""
    now = SystemClock().time()
    new = Successor(RawToken(b"new.to.ken"), UnixTime(now + 1800), now)
    led = await state.store.lead(OLD, lease=10)
    assert isinstance(led, Lease)
    found: list[Lease | Successor] = []

    async def wait() -> None:
        found.append(await state.store.lead(OLD, lease=10))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        await anyio.sleep(0.1)
        await state.store.remember(led, new, until=UnixTime(now + 60))
    assert found == [new]
    assert not state.store.degraded


@pytest.mark.parametrize(
    "url",
    [
        "redis://127.0.0.1:port",
        "redis+sentinel://127.0.0.1:26379",
        "redis+sentinel://127.0.0.1:26379/main/zero",
        "redis+sentinel:///main",
        "redis+cluster://",
    ],
)
def test_what_is_no_url_of_a_redis_is_refused_without_quoting_it(url: str) -> None:
    with pytest.raises(ConfigError, match=r"^store\.url: ") as caught:
        connect(url.replace("//", "//user:pass-word@"), connections=1)
    assert "pass-word" not in str(caught.value)


async def test_every_kind_of_client_gets_the_login_and_tls_of_its_url() -> None:
    for url in (
        "rediss://ada:p%40ss@localhost/3",
        "rediss+sentinel://ada:p%40ss@localhost/main/3",
    ):
        client = connect(url, connections=1)
        assert not isinstance(client, RedisCluster)
        options = client.connection_pool.connection_kwargs
        assert (options["username"], options["password"], options["db"]) == ("ada", "p@ss", 3)
        assert issubclass(client.connection_pool.connection_class, SSLConnection)
    client = connect("rediss+cluster://ada:p%40ss@[::1]:7000,localhost", connections=1)
    assert isinstance(client, RedisCluster)
    nodes = client.nodes_manager.startup_nodes.values()
    assert {(node.host, node.port) for node in nodes} == {("::1", 7000), ("127.0.0.1", 6379)}
    assert client.connection_kwargs["password"] == "p@ss"
    assert issubclass(client.connection_kwargs["connection_class"], SSLConnection)


@pytest.mark.parametrize("anyio_backend", ["trio"])
async def test_on_trio_it_says_that_it_needs_asyncio() -> None:
    link = RedisLink("redis://127.0.0.1:1", HeldClock())
    with pytest.raises(RuntimeError, match="asyncio"):
        await link.command("PING")
    with pytest.raises(RuntimeError, match="asyncio"):
        await link.run()
