"""Active health checks: a backend that fails them gets no requests, and everyone can see that."""

import json
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import anyio
import anyio.lowlevel
import pytest
from kit import ALGORITHMS, drive, http_scope, jwks, world
from recorder import OK, Behaviour, Connection, Recorder, answering, ask, get, recording, serving
from served import LOCAL

from guestpass.adapters.static_jwks import StaticJwks
from guestpass.asgi.proxy import ReverseProxy
from guestpass.config import Settings, UpstreamSettings, load
from guestpass.errors import ConfigError
from guestpass.monitoring.readings import Readings
from guestpass.upstream.balance import Backend, Balancer, Ejection, Figures
from guestpass.upstream.checks import HealthCheck, is_well
from guestpass.upstream.dial import BackendTls, Dialer
from guestpass.upstream.origin import Origin
from guestpass.upstream.pool import Pool, PoolLimits
from guestpass.upstream.pulse import Pulse
from guestpass.wiring.apps import build_app
from guestpass.wiring.backends import Backends

pytestmark = pytest.mark.anyio

SICK = b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n"
QUICK = {"GUESTPASS_UPSTREAM__HEALTH_PATH": "/health?deep", "GUESTPASS_UPSTREAM__HEALTH_INTERVAL": "20ms"}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Patient:
    """A backend that says how it is, and counts who else asks."""

    def __init__(self) -> None:
        self.well = True
        self.heads: list[bytes] = []
        self.asked = 0

    async def behave(self, connection: Connection) -> None:
        while True:
            request = await connection.request()
            if request.line.startswith(b"GET /health"):
                self.heads.append(request.head)
                await connection.send(OK if self.well else SICK)
            else:
                self.asked += 1
                await connection.send(OK)


async def until(condition: Callable[[], object]) -> None:
    with anyio.fail_after(10):
        while not condition():
            await anyio.lowlevel.checkpoint()


# --- one question ----------------------------------------------------------------------------------------


async def hang(connection: Connection) -> None:
    await connection.request()
    await connection.reader.read()  # until the proxy gives up


async def hang_up(connection: Connection) -> None:
    await connection.request()


@pytest.mark.parametrize(
    ("behaviour", "well"),
    [
        (answering(OK), True),
        (answering(b"HTTP/1.1 204 None\r\n\r\n"), True),
        (answering(b"HTTP/1.1 399 Odd\r\nContent-Length: 0\r\n\r\n"), True),
        (answering(b"HTTP/1.1 100 Go on\r\n\r\n", OK), True),
        (answering(b"HTTP/1.1 400 No\r\nContent-Length: 0\r\n\r\n"), False),
        (answering(SICK), False),
        (answering(b"garbage\r\n\r\n"), False),
        (hang, False),
        (hang_up, False),
    ],
    ids=["200", "204", "399", "100-200", "400", "503", "garbage", "silence", "hang-up"],
)
async def test_a_backend_is_well_that_answers_in_time_and_below_400(behaviour: Behaviour, well: bool) -> None:
    async with recording(behaviour) as backend:
        dialer = Dialer(Origin.parse(backend.url), BackendTls(), timeout=5)
        assert (
            await is_well(dialer, HealthCheck(path="/h?a=1", timeout=0.3 if behaviour is hang else 5)) is well
        )
        [connection] = backend.connections
        assert connection.requests[0].line == b"GET /h?a=1 HTTP/1.1"
        with anyio.fail_after(5):
            await connection.closed.wait()  # no connection is left behind


async def test_a_backend_that_nobody_answers_for_is_not_well() -> None:
    async with recording() as backend:
        gone = backend.url
    dialer = Dialer(Origin.parse(gone), BackendTls(), timeout=5)
    assert not await is_well(dialer, HealthCheck(path="/"))


# --- what they come to -----------------------------------------------------------------------------------


def two() -> tuple[Balancer, Backend, Backend]:
    pulse = Pulse(1.0)
    backends = []
    for number in range(2):
        dialer = Dialer(Origin.parse(f"http://h{number}"), BackendTls(), timeout=1)
        backends.append(Backend(dialer, Pool(dialer, PoolLimits(), pulse)))
    return Balancer(backends, "round_robin", Ejection(failures=1), Figures()), backends[0], backends[1]


async def test_it_takes_several_in_a_row_each_way() -> None:
    balancer, first, second = two()

    def turns(*checks: bool) -> list[bool]:
        return [balancer.checked(first, well=well, failures=3, successes=2) for well in checks]

    assert turns(False, False, True, False, False) == [False] * 5
    assert turns(False, False) == [True, False]
    assert balancer.ejected == [first]
    assert [balancer.pick() for _ in range(3)] == [second] * 3
    assert turns(True, False, True) == [False] * 3
    assert turns(True, True) == [True, False]
    assert balancer.ejected == []
    assert {balancer.pick(), balancer.pick()} == {first, second}


async def test_answers_do_not_bring_back_who_fails_checks_and_checks_bring_back_who_failed_requests() -> None:
    balancer, first, _ = two()
    for _ in range(9):
        balancer.checked(first, well=True, failures=1, successes=2)
    balancer.failed(first)
    assert balancer.ejected == [first]
    # What it passed before it failed a request says nothing.
    assert not balancer.checked(first, well=True, failures=1, successes=2)
    assert balancer.checked(first, well=True, failures=1, successes=2)
    assert (balancer.ejected, first.failures, first.ejections) == ([], 0, 0)
    balancer.checked(first, well=False, failures=1, successes=2)
    balancer.failed(first)
    balancer.succeeded(first)
    assert balancer.ejected == [first]


# --- served ----------------------------------------------------------------------------------------------


@asynccontextmanager
async def site(*patients: Patient) -> AsyncIterator[tuple[int, list[Recorder]]]:
    """`guestpass serve` before these, its routes open to all."""
    async with anyio.create_task_group() as tasks:
        recorders: list[Recorder] = []
        ready = [anyio.Event() for _ in patients]

        async def keep(patient: Patient, up: anyio.Event) -> None:
            async with recording(patient.behave) as recorder:
                recorders.append(recorder)
                up.set()
                await anyio.sleep_forever()

        for patient, up in zip(patients, ready, strict=True):
            tasks.start_soon(keep, patient, up)
            await up.wait()
        urls = ",".join(recorder.url for recorder in recorders)
        settings = load(None, {**LOCAL, **QUICK, "GUESTPASS_UPSTREAM__URL": urls})
        async with serving(build_app(settings), "httptools") as port:
            yield port, recorders
        tasks.cancel_scope.cancel()


async def readiness(port: int) -> tuple[int, str, str]:
    answer = await ask(port, get(b"/readyz"))
    members = json.loads(answer.body)
    return answer.status, members["status"], members["upstream"]


async def test_readiness_and_log_show_who_is_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "guestpass")

    def told(event: str) -> list[str]:
        return [r.fields["backend"] for r in caplog.records if getattr(r, "event", "") == event]  # type: ignore[attr-defined]  # `emit` puts them there

    one, other = Patient(), Patient()
    async with site(one, other) as (port, recorders):
        names = [recorder.url.removeprefix("http://") for recorder in recorders]
        await until(lambda: len(one.heads) > 2 < len(other.heads))
        assert one.heads[0] == (
            b"GET /health?deep HTTP/1.1\r\nhost: %b\r\nuser-agent: guestpass\r\nconnection: close"
            % names[0].encode()
        )
        assert await readiness(port) == (200, "ok", "ok")
        one.well = False
        await until(lambda: told("upstream.down") == names[:1])
        assert await readiness(port) == (200, "degraded", "degraded")
        other.well = False
        await until(lambda: told("upstream.down") == names)
        # Still ready: without this one, no other would be any better off.
        assert await readiness(port) == (200, "degraded", "unavailable")
        one.well = other.well = True
        await until(lambda: sorted(told("upstream.up")) == sorted(names))
        assert await readiness(port) == (200, "ok", "ok")


async def test_requests_go_to_who_is_well_and_metrics_and_reasons_say_so() -> None:
    one, other = Patient(), Patient()
    one.well = False
    async with recording(one.behave) as sick, recording(other.behave) as well:
        settings = UpstreamSettings(
            url=(sick.url, well.url), health_path="/health", health_interval=0.02, health_failures=1
        )
        proxy = Backends(Settings(upstream=settings)).proxy
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(proxy.watch)
            await until(lambda: proxy.ejected)
            for _ in range(5):
                sent = await drive(proxy, http_scope(headers=[(b"host", b"x")]))
                assert sent.status == 200
            readings = Readings(world().gate, StaticJwks(jwks("rsa"), algorithms=ALGORITHMS), proxy)
            snapshot = await readings.snapshot()
            tasks.cancel_scope.cancel()
        assert (one.asked, other.asked) == (0, 5)
        assert snapshot["upstream_backends"] == {"well": 1, "ejected": 1, "other": 0}
        assert readings.ailments()["upstream"].startswith("1 of 2 fail their checks")
        await proxy.aclose()


async def test_checks_follow_a_reload() -> None:
    one, other = Patient(), Patient()
    async with recording(one.behave) as before, recording(other.behave) as after:
        settings = UpstreamSettings(url=(before.url,), health_path="/health", health_interval=0.02)
        backends = Backends(Settings(upstream=settings))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(backends.proxy.watch)
            await until(lambda: one.heads)
            changed = UpstreamSettings(url=(after.url,), health_path="/health/new", health_interval=0.02)
            backends.adopt(backends.prepared(Settings(upstream=changed)))
            await until(lambda: other.heads)
            seen = len(one.heads)
            await until(lambda: len(other.heads) > 5)
            assert len(one.heads) <= seen + 1  # one may have been on its way
            tasks.cancel_scope.cancel()
        assert other.heads[0].startswith(b"GET /health/new ")


async def test_without_a_path_nothing_is_asked() -> None:
    async with recording() as backend:
        await ReverseProxy(backend.url).watch()
        assert backend.connections == []


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"path": "health"}, "upstream.health_path"),
        ({"path": "/a b"}, "upstream.health_path"),
        ({"path": "/\r\nx:"}, "upstream.health_path"),
        ({"interval": 0.0}, "upstream.health_interval"),
        ({"timeout": float("inf")}, "upstream.health_timeout"),
        ({"failures": 0}, "upstream.health_failures"),
        ({"successes": 0}, "upstream.health_successes"),
    ],
)
def test_checks_that_make_no_sense_are_refused_by_hand_and_in_settings(
    values: dict[str, object], field: str
) -> None:
    with pytest.raises(ConfigError) as by_hand:
        HealthCheck(**{"path": "/", **values})  # type: ignore[arg-type]  # what is wrong is the test
    with pytest.raises(ConfigError) as in_settings:
        UpstreamSettings(**{f"health_{name}": value for name, value in values.items()})  # type: ignore[arg-type]
    assert by_hand.value.field == in_settings.value.field == field
