"""What a gate counts, and what on-call is told of it: every number after a small story that is known."""

import os
from functools import partial
from pathlib import Path

import anyio
import pytest
from kit import ADA, ALGORITHMS, NOW, HeldClock, drive, http_scope, jwks, token, world
from prometheus_client.parser import text_string_to_metric_families

from guestpass.adapters.memory_pool import MemoryPool
from guestpass.adapters.memory_store import MemoryStore
from guestpass.adapters.prometheus import CONTENT_TYPE, exposition
from guestpass.adapters.ratelimit import MemoryLimiter
from guestpass.adapters.remote_jwks import RemoteJwks
from guestpass.adapters.static_jwks import StaticJwks
from guestpass.adapters.worker_board import WorkerBoard
from guestpass.asgi.admin import MetricsPage
from guestpass.asgi.proxy import ReverseProxy
from guestpass.asgi.routes import RoutedProxy
from guestpass.core.matching import Protection, Rule
from guestpass.core.model import RawToken, UnixTime
from guestpass.errors import Unavailable
from guestpass.metrics import METRICS, Buckets, Snapshot
from guestpass.monitoring.fleet import Fleet
from guestpass.monitoring.readings import LoopLag, Readings
from guestpass.pool import Reserve, WarmPool

pytestmark = pytest.mark.anyio

RULES = [Rule(None, "/open", Protection.OFF), Rule(None, "/maybe", Protection.OPTIONAL)]
KEYS = StaticJwks(jwks("rsa"), algorithms=ALGORITHMS)


def above_zero(snapshot: Snapshot, name: str) -> dict[str, float | Buckets]:
    return {label: value for label, value in snapshot[name].items() if value}


async def test_each_request_is_counted_once_by_what_was_decided() -> None:
    w = world(rules=RULES)
    fresh, near = token(), token(exp=NOW + 200)
    await w.admit(fresh)  # verified
    await w.admit(fresh)  # remembered
    await w.admit(near)
    await w.admit(RawToken(fresh.compact[:-4] + b"AAAA"))
    await w.admit(RawToken(b"no token"))
    await w.admit()
    await w.admit(path="/open", raw_path=b"/open")
    await w.admit(path="/maybe", raw_path=b"/maybe")
    await w.admit(fresh, path="/a/../b", raw_path=b"/a/../b")
    snapshot = await Readings(w.gate, KEYS).snapshot()
    assert above_zero(snapshot, "requests_total") == {
        "fresh": 2, "rotate": 1, "anonymous": 1, "unguarded": 1, "refused": 4,
    }  # fmt: skip
    assert above_zero(snapshot, "refusals_total") == {
        "signature": 1, "malformed": 1, "token_missing": 1, "path_ambiguous": 1,
    }  # fmt: skip
    assert above_zero(snapshot, "verifications_total") == {"genuine": 2, "signature": 1, "malformed": 1}
    assert above_zero(snapshot, "remembered_tokens") == {"5m": 1, "30m": 1}


async def test_rotations_and_mints_are_counted_by_outcome_and_timed() -> None:
    w = world()
    for exp in (NOW + 100, NOW + 101):
        verdict = (await w.gate.entry(token(exp=exp))).genuine
        if exp > NOW + 100:
            w.issuer.failure = Unavailable("down", retry_after=7)
        try:
            await w.gate.rotation.rotate(token(exp=exp), verdict, deadline=5)
        except Unavailable:
            assert w.issuer.failure is not None
    readings = Readings(w.gate, KEYS)
    snapshot = await readings.snapshot()
    assert above_zero(snapshot, "rotations_total") == {"rotated": 1, "unavailable": 1}
    assert above_zero(snapshot, "mints_total") == {"minted": 1, "unavailable": 1}
    timed = snapshot["mint_seconds"][""]
    assert isinstance(timed, Buckets)
    assert sum(timed.counts) == 2
    assert snapshot["issuer_closed_seconds"] == {"": 7}
    assert readings.ailments() == {"issuer": "failed 1 times in a row; asked again in 7 s"}


async def test_what_is_left_of_the_budget_is_told() -> None:
    clock = HeldClock()
    w = world(clock=clock, budget=MemoryLimiter(300, 60, clock))
    await w.gate.rotation.rotate(
        token(exp=NOW + 50), (await w.gate.entry(token(exp=NOW + 50))).genuine, deadline=5
    )
    assert (await Readings(w.gate, KEYS).snapshot())["mint_budget_remaining"] == {"": 299}


async def test_a_gate_without_a_budget_has_no_such_metric() -> None:
    assert "mint_budget_remaining" not in await Readings(world().gate, KEYS).snapshot()


async def test_keys_that_cannot_be_had_are_told_with_the_reason() -> None:
    clock = HeldClock()
    keys = RemoteJwks("http://127.0.0.1:9/jwks", algorithms=ALGORITHMS, clock=clock, timeout=2)
    w = world(keys=keys, clock=clock)
    readings = Readings(w.gate, keys)
    assert readings.ailments() == {"keys": "none usable; not fetched yet"}
    with anyio.fail_after(10):
        await w.admit(token())
    snapshot = await readings.snapshot()
    assert snapshot["jwks_usable"] == {"": 0}
    assert "jwks_age_seconds" not in snapshot
    assert above_zero(snapshot, "jwks_fetches_total") == {"unreachable": 1}
    assert readings.ailments() == {"keys": "none usable; the last fetch ended with: unreachable"}


async def test_the_loops_lag_is_measured() -> None:
    lag = LoopLag(HeldClock())
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lag.run)
            while not sum(lag.seen.counts):
                await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel()
    assert lag.seen.total == 0  # the held clock saw no time pass, and time cannot run backwards


async def everything() -> tuple[Readings, Snapshot]:
    """A process that has all the parts there are."""
    clock = HeldClock()
    keys = RemoteJwks("http://127.0.0.1:9/jwks", algorithms=ALGORITHMS, clock=clock)
    w = world(clock=clock, budget=MemoryLimiter(300, 60, clock), store=MemoryStore(clock))
    readings = Readings(w.gate, keys, RoutedProxy([], ReverseProxy("http://127.0.0.1:9")), LoopLag(clock))
    return readings, await readings.snapshot()


async def test_every_metric_of_the_list_has_a_reading_and_every_reading_is_in_the_list() -> None:
    _, snapshot = await everything()
    not_here = {"jwks_age_seconds", "pool_tokens"}  # before the first fetch; without a pool
    assert set(snapshot) | not_here == {metric.name for metric in METRICS}


async def test_the_warm_pools_level_is_told() -> None:
    w = world()
    tokens = MemoryPool()
    reserve = Reserve(tokens=tokens, identity=ADA, size=2, min_remaining=60)
    w.gate.pool = WarmPool(reserve, w.gate.rotation)
    await tokens.push(token(), expires_at=UnixTime(NOW + 1800))
    assert (await Readings(w.gate, KEYS).snapshot())["pool_tokens"] == {"": 1}


async def test_a_disk_that_is_full_does_not_end_the_service(tmp_path: Path) -> None:
    fleet = await counting(tmp_path, 1)
    assert fleet.board is not None
    (tmp_path / "0.new").mkdir()  # so that nothing can be written there
    with anyio.move_on_after(0):
        await fleet.run()
    assert not (tmp_path / "0.json").exists()


async def test_no_label_takes_its_value_from_a_client() -> None:
    """P32: neither a token, a path, a kid nor an address becomes a series."""
    w = world()
    before = {name: set(values) for name, values in (await Readings(w.gate, KEYS).snapshot()).items()}
    for number in range(50):
        raw = token(exp=NOW + 1000 + number)
        await w.admit(raw, path=f"/{number}", raw_path=b"/%d" % number, peer=f"192.0.2.{number}")
        await w.admit(RawToken(raw.compact[:-8] + b"%08d" % number))
        await w.admit(RawToken(b"%d.%d.%d" % (number, number, number)))
    after = {name: set(values) for name, values in (await Readings(w.gate, KEYS).snapshot()).items()}
    assert after == before


async def test_the_metrics_page_is_what_prometheus_reads() -> None:
    w = world()
    await w.admit(token())
    page = MetricsPage(Readings(w.gate, KEYS).snapshot, exposition, CONTENT_TYPE)
    sent = await drive(page, http_scope(path="/metrics"))
    assert sent.status == 200
    assert sent.values(b"content-type") == [CONTENT_TYPE.encode()]
    assert sent.values(b"cache-control") == [b"no-store"]
    families = {family.name: family for family in text_string_to_metric_families(sent.body.decode())}
    requests = {s.labels["decision"]: s.value for s in families["guestpass_requests"].samples}
    assert requests["fresh"] == 1


async def test_without_the_extra_the_page_says_what_to_install() -> None:
    sent = await drive(MetricsPage(Readings(world().gate, KEYS).snapshot, None, ""), http_scope())
    assert sent.status == 501
    assert b"guestpass[metrics]" in sent.body


async def test_the_metrics_page_is_only_read() -> None:
    page = MetricsPage(Readings(world().gate, KEYS).snapshot, exposition, CONTENT_TYPE)
    sent = await drive(page, http_scope("POST"))
    assert (sent.status, sent.values(b"allow")) == (405, [b"GET, HEAD"])


async def counting(directory: Path, requests: int) -> Fleet:
    """A worker that has admitted so many."""
    w = world()
    for _ in range(requests):
        await w.admit(token())
    return Fleet(Readings(w.gate, KEYS), WorkerBoard(directory))


async def fresh_and_workers(fleet: Fleet) -> tuple[object, object]:
    snapshot = await fleet.snapshot()
    return snapshot["requests_total"]["fresh"], snapshot["workers"][""]


async def test_any_worker_answers_for_all(tmp_path: Path) -> None:
    one, other = await counting(tmp_path, 3), await counting(tmp_path, 4)
    for fleet in (one, other):
        assert fleet.board is not None
        fleet.board.post(await fleet.readings.snapshot(), [])
    assert await fresh_and_workers(one) == await fresh_and_workers(other) == (7, 2)


async def test_what_a_dead_worker_counted_stays_counted_and_its_gauges_go(tmp_path: Path) -> None:
    one, other = await counting(tmp_path, 3), await counting(tmp_path, 4)
    with anyio.move_on_after(0):
        await other.run()  # posts, and leaves its place
    assert await fresh_and_workers(one) == (7, 1)
    replacement = await counting(tmp_path, 5)
    assert len([name for name in os.listdir(tmp_path) if name.endswith(".lock")]) == 2  # noqa: PTH208  no wait
    assert await fresh_and_workers(replacement) == (4 + 5, 1)
    assert replacement.board is not None
    replacement.board.post(await replacement.readings.snapshot(), [])
    assert await fresh_and_workers(one) == (3 + 4 + 5, 2)


async def test_a_worker_posts_until_it_ends(tmp_path: Path) -> None:
    one, other = await counting(tmp_path, 3), await counting(tmp_path, 4)
    assert one.board is not None
    posted = partial(lambda board: [*board.others()], one.board)
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(other.run)
            while not posted():
                await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel()
    assert await fresh_and_workers(one) == (7, 1)


async def test_a_worker_alone_needs_no_board() -> None:
    w = world()
    await w.admit(token())
    fleet = Fleet(Readings(w.gate, KEYS), None)
    with anyio.move_on_after(0):
        await fleet.run()
    assert await fresh_and_workers(fleet) == (1, 1)
