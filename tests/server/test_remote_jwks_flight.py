"""K3, K5, K12, K13 and the background task: how often the endpoint is asked, and who waits for it."""

import asyncio
import gc
from collections.abc import AsyncIterator, Coroutine
from typing import Any, TypeVar

import anyio
import pytest
from anyio.abc import ByteStream
from jwks_stub import ALGORITHMS, HeldClock, JwksStub, document, held, jwk, jwks, reply, reset

from guestpass.adapters.remote_jwks import RemoteJwks
from guestpass.adapters.system_clock import SystemClock
from guestpass.core.freshness import Freshness, State
from guestpass.core.model import Thumbprint
from guestpass.errors import Unavailable

pytestmark = pytest.mark.anyio

T = TypeVar("T")


@pytest.fixture
async def stub() -> AsyncIterator[JwksStub]:
    async with JwksStub(reply(jwks("a"))).listening() as stub:
        yield stub


@pytest.fixture
def clock() -> HeldClock:
    return HeldClock()


@pytest.fixture
def source(stub: JwksStub, clock: HeldClock) -> RemoteJwks:
    return RemoteJwks(stub.url, algorithms=ALGORITHMS, clock=clock)


async def finds(source: RemoteJwks, kid: str) -> bool:
    with anyio.fail_after(5):
        return bool(await source.find(kid, "EdDSA"))


def at_once(call: Coroutine[Any, Any, T]) -> T:
    """The result of a call that must not wait for anything, not even for one turn of the event loop."""
    try:
        call.send(None)
    except StopIteration as finished:
        result: T = finished.value
        return result
    call.close()
    pytest.fail("it waited")


# --- unknown kids -----------------------------------------------------------------------------------------


async def test_a_flood_of_unknown_kids_costs_one_fetch_per_cooldown(stub: JwksStub, clock: HeldClock) -> None:
    """K3: 1,000 kids, 50 at a time, in 10 s."""
    source = RemoteJwks(stub.url, algorithms=ALGORITHMS, clock=clock, freshness=Freshness(cooldown=10))

    async def ask(number: int) -> None:
        assert not await finds(source, f"kid-{number}")

    for batch in range(20):
        async with anyio.create_task_group() as tasks:
            for number in range(50):
                tasks.start_soon(ask, 50 * batch + number)
        clock.now += 0.5
    assert len(stub.requests) == 2  # the first set, and one question for a key that it lacks
    clock.now += 0.5
    assert not await finds(source, "kid-0")
    assert len(stub.requests) == 3
    assert source.health.unknown_kids == 1_001
    assert await finds(source, "a")


async def test_a_failed_refetch_starts_the_cooldown_too(
    stub: JwksStub, source: RemoteJwks, clock: HeldClock
) -> None:
    assert await finds(source, "a")
    clock.now += 30
    stub.answer = reply(b"", status=503)
    assert not await finds(source, "x")
    clock.now += 29.9
    stub.answer = reply(jwks("a", "x"))
    assert not await finds(source, "x")
    assert len(stub.requests) == 2
    clock.now += 0.1
    assert await finds(source, "x")


async def test_a_miss_evicts_nothing(stub: JwksStub, source: RemoteJwks, clock: HeldClock) -> None:
    assert await finds(source, "a")
    clock.now += 30
    stub.answer = reset
    assert not await finds(source, "x")
    assert at_once(source.find("a", "EdDSA"))


async def test_a_known_kid_never_waits_for_the_refetch_of_an_unknown_one(
    stub: JwksStub, source: RemoteJwks, clock: HeldClock
) -> None:
    assert await finds(source, "a")
    clock.now += 30
    stub.answer, release = held(reply(jwks("a")))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(finds, source, "x")
        await stub.requested(2)
        assert at_once(source.find("a", "EdDSA"))
        at_once(source.recheck())
        release.set()
    assert len(stub.requests) == 2


async def test_a_known_kid_with_a_foreign_algorithm_asks_nobody(
    stub: JwksStub, source: RemoteJwks, clock: HeldClock
) -> None:
    """A forged header must not reach the issuer (J12)."""
    assert await finds(source, "a")
    clock.now += 30
    assert not at_once(source.find("a", "RS256"))
    assert not at_once(source.find(None, "RS256"))
    assert source.health.unknown_kids == 0


async def test_those_who_ask_for_a_new_key_together_all_get_it_from_one_fetch(
    stub: JwksStub, source: RemoteJwks, clock: HeldClock
) -> None:
    assert await finds(source, "a")
    clock.now += 30
    stub.answer, release = held(reply(jwks("a", "b")))
    found: list[bool] = []

    async def ask(kid: str) -> None:
        found.append(await finds(source, kid))

    async with anyio.create_task_group() as tasks:
        for _ in range(50):
            tasks.start_soon(ask, "b")
        await stub.requested(2)
        release.set()
    assert found == [True] * 50
    assert len(stub.requests) == 2


async def test_a_flood_cannot_hide_a_key_that_is_published_late(
    stub: JwksStub, source: RemoteJwks, clock: HeldClock
) -> None:
    """The new key was asked for too early, and then any unknown kid brings it at the end of the cooldown."""
    assert await finds(source, "a")
    clock.now += 30
    assert not await finds(source, "b")
    stub.answer = reply(jwks("a", "b"))
    for number in range(29):
        clock.now += 1
        assert not await finds(source, f"kid-{number}")
        assert not await finds(source, "b")
    clock.now += 1
    assert not await finds(source, "kid-29")
    assert at_once(source.find("b", "EdDSA"))


# --- rotation of the keys ---------------------------------------------------------------------------------


async def test_a_new_key_serves_on_first_use_and_the_old_one_goes_with_it(
    stub: JwksStub, source: RemoteJwks, clock: HeldClock
) -> None:
    """K5."""
    retired: list[frozenset[Thumbprint]] = []
    source.on_retired(retired.append)
    old = await source.find("a", "EdDSA")
    stub.answer = reply(jwks("b"))
    clock.now += 30
    assert await finds(source, "b")
    assert not await finds(source, "a")
    assert retired == [frozenset(key.thumbprint for key in old)]


async def test_an_old_key_is_gone_with_the_first_refresh_after_it_left_the_set(
    stub: JwksStub, source: RemoteJwks, clock: HeldClock
) -> None:
    """K5, K6."""
    retired: list[frozenset[Thumbprint]] = []
    source.on_retired(retired.append)
    assert await finds(source, "a")
    stub.answer = reply(jwks("b"))
    clock.now += 599.9
    assert await finds(source, "a")
    clock.now += 0.1
    assert not await finds(source, "a")
    assert len(retired) == 1


@pytest.mark.parametrize("published", [jwk("b", of="a"), jwk("a") | {"use": "enc"}, jwk("a", of="other")])
async def test_a_key_that_no_longer_verifies_what_it_did_is_retired(
    stub: JwksStub, source: RemoteJwks, clock: HeldClock, published: dict[str, Any]
) -> None:
    """The same key under another kid, for another use, or another key in its place."""
    retired: list[frozenset[Thumbprint]] = []
    source.on_retired(retired.append)
    old = await source.find("a", "EdDSA")
    stub.answer = reply(document([published, jwk("c")]))
    clock.now += 600
    await source.recheck()
    assert retired == [frozenset(key.thumbprint for key in old)]


async def test_a_set_that_only_grows_retires_nothing(
    stub: JwksStub, source: RemoteJwks, clock: HeldClock
) -> None:
    retired: list[frozenset[Thumbprint]] = []
    source.on_retired(retired.append)
    assert await finds(source, "a")
    stub.answer = reply(jwks("b", "a"))
    clock.now += 600
    await source.recheck()
    assert retired == []
    assert source.health.keys == 2


async def test_keys_skipped_are_told_once_not_with_every_refresh(
    stub: JwksStub, source: RemoteJwks, clock: HeldClock, caplog: pytest.LogCaptureFixture
) -> None:
    stub.answer = reply(document([jwk("a"), None]))
    for _ in range(3):
        await source.recheck()
        clock.now += 600
    skipped = [r for r in caplog.records if getattr(r, "event", None) == "jwks.key_skipped"]
    assert len(stub.requests) == 3
    assert len(skipped) == 1


# --- single flight ----------------------------------------------------------------------------------------


async def test_two_hundred_cold_requests_cause_one_fetch(stub: JwksStub, source: RemoteJwks) -> None:
    """K12."""
    stub.answer, release = held(reply(jwks("a")))
    found: list[bool] = []

    async def ask() -> None:
        found.append(await finds(source, "a"))

    async with anyio.create_task_group() as tasks:
        for _ in range(200):
            tasks.start_soon(ask)
        await stub.requested(1)
        await anyio.wait_all_tasks_blocked()
        release.set()
    assert found == [True] * 200
    assert len(stub.requests) == 1


async def test_two_hundred_cold_requests_fail_together_with_one_fetch(
    stub: JwksStub, source: RemoteJwks
) -> None:
    stub.answer, release = held(reply(b"", status=503))
    failed: list[float | None] = []

    async def ask() -> None:
        try:
            await finds(source, "a")
        except Unavailable as exc:
            failed.append(exc.retry_after)

    async with anyio.create_task_group() as tasks:
        for _ in range(200):
            tasks.start_soon(ask)
        await stub.requested(1)
        release.set()
    assert len(failed) == 200
    assert None not in failed
    assert len(stub.requests) == 1


async def test_the_first_to_ask_may_hang_up_and_all_others_are_served_by_its_fetch(
    stub: JwksStub, source: RemoteJwks
) -> None:
    """K13."""
    stub.answer, release = held(reply(jwks("a")))
    found: list[bool] = []
    first = anyio.CancelScope()

    async def ask_and_hang_up() -> None:
        with first:
            await finds(source, "a")

    async def ask() -> None:
        found.append(await finds(source, "a"))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask_and_hang_up)
        await stub.requested(1)
        for _ in range(199):
            tasks.start_soon(ask)
        first.cancel()
        await anyio.wait_all_tasks_blocked()
        release.set()
    assert found == [True] * 199
    assert len(stub.requests) == 1


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_after_a_bare_task_cancel_the_next_in_line_leads(stub: JwksStub, source: RemoteJwks) -> None:
    """`asyncio.Task.cancel` reaches through a shield: its fetch is lost, and nobody else's."""
    stub.answer, release = held(reply(jwks("a")))
    first = asyncio.create_task(finds(source, "a"))
    await stub.requested(1)
    others = [asyncio.create_task(finds(source, "a")) for _ in range(199)]
    await anyio.wait_all_tasks_blocked()
    first.cancel()
    await stub.requested(2)
    release.set()
    assert await asyncio.gather(*others) == [True] * 199
    assert len(stub.requests) == 2


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_an_attempt_that_was_cancelled_starts_the_cooldown_too(
    stub: JwksStub, source: RemoteJwks, clock: HeldClock
) -> None:
    """Or hanging up over and over would ask the issuer over and over."""
    assert await finds(source, "a")
    clock.now += 30
    stub.answer, _ = held(reply(jwks("a")))
    first = asyncio.create_task(finds(source, "x"))
    await stub.requested(2)
    first.cancel()
    await asyncio.wait([first])
    assert not at_once(source.find("x", "EdDSA"))
    assert len(stub.requests) == 2


async def test_with_usable_keys_only_the_one_who_leads_a_refresh_waits(
    stub: JwksStub, source: RemoteJwks, clock: HeldClock
) -> None:
    assert await finds(source, "a")
    clock.now += 600
    stub.answer, release = held(reply(jwks("a")))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(source.recheck)
        await stub.requested(2)
        for _ in range(50):
            at_once(source.recheck())
            assert at_once(source.find("a", "EdDSA"))
        release.set()
    assert len(stub.requests) == 2
    assert source.health.state is State.FRESH


def test_one_source_serves_one_event_loop_after_another() -> None:
    """It is made at import, before any loop; a test suite or a reload brings a second one."""
    stub = JwksStub(reply(jwks("a")))
    clock = HeldClock()
    sources: list[RemoteJwks] = []

    async def serve_once() -> None:
        async with stub.listening():
            if not sources:
                sources.append(RemoteJwks(stub.url, algorithms=ALGORITHMS, clock=clock))
            assert await finds(sources[0], "a")

    for backend in ("asyncio", "trio", "asyncio"):
        anyio.run(serve_once, backend=backend)
        clock.now += 600
    gc.collect()  # a connection left open would warn here
    assert len(stub.requests) == 3


# --- the background task ----------------------------------------------------------------------------------


async def test_in_the_background_keys_are_refreshed_before_they_are_stale(stub: JwksStub) -> None:
    freshness = Freshness(max_age=1, refresh_ahead=0.05)
    source = RemoteJwks(stub.url, algorithms=ALGORITHMS, clock=SystemClock(), freshness=freshness)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(source.run)
        for count in range(1, 5):
            await stub.requested(count)  # 50 ms apart, where a request would ask after 1 s
        tasks.cancel_scope.cancel()
    assert source.health.fetches["refreshed"] >= 3


async def test_background_and_cold_requests_share_one_fetch(stub: JwksStub, source: RemoteJwks) -> None:
    stub.answer, release = held(reply(jwks("a")))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(source.run)
        await stub.requested(1)
        async with anyio.create_task_group() as asking:
            for _ in range(50):
                asking.start_soon(finds, source, "a")
            await anyio.wait_all_tasks_blocked()
            release.set()
        tasks.cancel_scope.cancel()
    assert len(stub.requests) == 1


async def test_a_fetch_that_a_request_leads_is_not_repeated_in_the_background(
    stub: JwksStub, source: RemoteJwks
) -> None:
    stub.answer, release = held(reply(jwks("a")))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(finds, source, "a")
        await stub.requested(1)
        tasks.start_soon(source.run)
        await anyio.wait_all_tasks_blocked()
        release.set()
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
    assert len(stub.requests) == 1


async def test_with_a_background_task_no_request_with_usable_keys_waits(
    stub: JwksStub, source: RemoteJwks, clock: HeldClock
) -> None:
    """The task may be late, as after a suspended machine: a request wakes it and goes on."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(source.run)
        assert await finds(source, "a")
        await anyio.wait_all_tasks_blocked()  # it sleeps for 480 s now
        clock.now += 600
        stub.answer, release = held(reply(jwks("a", "b")))
        for _ in range(50):
            assert at_once(source.find("a", "EdDSA"))
        await stub.requested(2)
        for _ in range(50):
            at_once(source.recheck())
        release.set()
        assert await finds(source, "b")
        tasks.cancel_scope.cancel()
    assert len(stub.requests) == 2


async def test_a_request_that_shortens_the_lifetime_wakes_the_background_task(
    stub: JwksStub, clock: HeldClock
) -> None:
    freshness = Freshness(min_age=0.01)
    source = RemoteJwks(stub.url, algorithms=ALGORITHMS, clock=clock, freshness=freshness)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(source.run)
        assert await finds(source, "a")
        await anyio.wait_all_tasks_blocked()  # it sleeps for 480 s now
        stub.answer = reply(jwks("a"), fields={"Cache-Control": "max-age=0"})
        clock.now += 30
        assert not await finds(source, "x")
        clock.now += 1
        await stub.requested(3)
        tasks.cancel_scope.cancel()


async def test_shutdown_does_not_wait_for_the_issuer(stub: JwksStub, source: RemoteJwks) -> None:
    stub.answer, _ = held(reply(jwks("a")))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(source.run)
        await stub.requested(1)
        with anyio.fail_after(1, shield=True):
            tasks.cancel_scope.cancel()
            await anyio.lowlevel.checkpoint_if_cancelled()
    assert len(stub.requests) == 1
    stub.answer = reply(jwks("a"))
    assert await finds(source, "a")  # whoever comes then leads on their own


async def test_once_the_background_task_has_ended_requests_refresh_again(
    stub: JwksStub, source: RemoteJwks, clock: HeldClock
) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(source.run)
        assert await finds(source, "a")
        tasks.cancel_scope.cancel()
    stub.answer = reply(jwks("b"))
    clock.now += 600
    assert not await finds(source, "a")
    assert len(stub.requests) == 2


async def test_the_background_task_outlives_an_outage(stub: JwksStub) -> None:
    freshness = Freshness(retry=0.01)
    source = RemoteJwks(stub.url, algorithms=ALGORITHMS, clock=SystemClock(), freshness=freshness)
    healed, release = held(reply(jwks("a")))

    async def third_time_lucky(stream: ByteStream) -> None:
        await (reset if len(stub.requests) < 3 else healed)(stream)

    stub.answer = third_time_lucky
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(source.run)
        await stub.requested(3)
        release.set()
        assert await finds(source, "a")
        tasks.cancel_scope.cancel()
    assert source.health.fetches == {"unreachable": 2, "refreshed": 1}
