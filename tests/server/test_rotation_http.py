"""Rotation end to end: real uvicorn in front, the fake vendor behind with its bad days and its journal."""

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from time import perf_counter

import anyio
import pytest
from recorder import Answer, Client, connected, serving
from shells import App
from stage import Living, MovingClock, Stage, gate_over, request, staged
from starlette.types import ASGIApp, Receive, Scope, Send

from guestpass.asgi.middleware import GuestTokenMiddleware
from guestpass.core.model import Policy, RawToken
from guestpass.testing import FakeVendor
from guestpass.testing import serving as serving_in_thread

pytestmark = pytest.mark.anyio

NEAR = 1600  # seconds into a life of 1800: within the rotation window, which is 300
DUE = 1840  # past the leeway, within grace


class Swap:
    """An app whose part is played by another one."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.url = ""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)


@pytest.fixture(params=["h11", "httptools"])
def parser(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def anyio_backend(parser: str) -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": parser == "httptools"}


@pytest.fixture
def clock() -> MovingClock:
    return MovingClock()


@pytest.fixture(scope="module")
def swap() -> Iterator[Swap]:
    """One server for all vendors: starting and ending one takes longer than most of these tests."""
    swap = Swap(FakeVendor())
    with serving_in_thread(swap) as url:
        swap.url = url
        yield swap


@pytest.fixture
def vendor(clock: MovingClock, swap: Swap) -> FakeVendor:
    vendor = FakeVendor(clock=clock)
    vendor.url, swap.app = swap.url, vendor
    return vendor


@pytest.fixture
async def stage(vendor: FakeVendor, clock: MovingClock, parser: str) -> AsyncIterator[Stage]:
    async with staged(vendor, clock, parser) as stage:
        yield stage


def successor_in(answer: Answer) -> RawToken | None:
    values = answer.values(b"x-guest-token")
    assert len(values) <= 1
    return RawToken(values[0]) if values else None


async def passes(stage: Stage, raw: RawToken) -> RawToken | None:
    """The successor in a response; the request itself must have passed."""
    answer = await stage.ask(raw)
    assert (answer.status, answer.body, answer.complete) == (200, b"hello", True)
    return successor_in(answer)


async def landed(stage: Stage) -> None:
    """Wait until no mint is under way."""
    with anyio.fail_after(10):
        while stage.gate.rotation._flights:
            await next(iter(stage.gate.rotation._flights.values())).done.wait()


# --- all is well --------------------------------------------------------------------------------------------


async def test_near_expiry_one_mint_brings_a_successor_that_passes(stage: Stage) -> None:
    """R1."""
    raw = await stage.token()
    assert await passes(stage, raw) is None
    stage.clock.advance(NEAR)
    answer = await stage.ask(raw)
    successor = successor_in(answer)
    assert successor is not None
    assert successor != raw
    assert 1795 <= int(answer.values(b"x-guest-token-expires-in")[0]) <= 1800
    assert answer.values(b"cache-control") == [b"private, no-store"]
    assert await passes(stage, successor) is None
    assert stage.mints == ["ok"]


async def test_a_thousand_at_once_cost_one_mint_and_get_one_successor(
    vendor: FakeVendor, clock: MovingClock, parser: str
) -> None:
    """R2."""
    policy = Policy(spread=0, rotation_wait=8)
    async with staged(vendor, clock, parser, policy=policy) as stage:
        raw = await stage.token()
        clock.advance(NEAR)
        vendor.faults.add("slow", route="mint", seconds=0.3)
        found: list[RawToken | None] = []

        async def client(connection: Client) -> None:
            await connection.send(request(raw))
            answer = await connection.answer()
            assert answer.status == 200
            found.append(successor_in(answer))

        async with AsyncExitStack() as stack:
            connections = [await stack.enter_async_context(connected(stage.port)) for _ in range(1000)]
            with anyio.fail_after(60):
                async with anyio.create_task_group() as tasks:
                    for connection in connections:
                        tasks.start_soon(client, connection)
        assert len(found) == 1000
        assert len(set(found)) == 1
        assert None not in found
        assert stage.mints == ["ok"]


async def test_what_the_app_says_under_our_names_never_leaves(
    vendor: FakeVendor, clock: MovingClock, parser: str
) -> None:
    """R15."""
    spoofed = [(b"X-Guest-Token", b"spoofed"), (b"x-GUEST-token", b"spoofed"), (b"etag", b'"1"')]
    async with staged(vendor, clock, parser, app=Living(headers=spoofed)) as stage:
        raw = await stage.token()
        clock.advance(NEAR)
        answer = await stage.ask(raw)
        assert successor_in(answer) not in (None, RawToken(b"spoofed"))
        assert answer.values(b"etag") == []


async def test_within_grace_the_successor_comes_first(stage: Stage) -> None:
    raw = await stage.token()
    stage.clock.advance(DUE)
    assert await passes(stage, raw) is not None
    assert stage.mints == ["ok"]


async def test_an_app_without_a_lifespan_gets_the_same(
    vendor: FakeVendor, clock: MovingClock, parser: str
) -> None:
    """(c): nobody owns a background, so it happens inside the request."""
    gate = gate_over(vendor.url, clock)
    async with serving(_WithoutLifespan(GuestTokenMiddleware(App(), gate=gate)), parser) as port:
        stage = Stage(vendor, clock, gate, port)
        raw = await stage.token()
        clock.advance(NEAR)
        assert await passes(stage, raw) is not None
        assert stage.mints == ["ok"]
    await gate.issuer.aclose()


class _WithoutLifespan(Living):
    """A host that mounts the middleware, and keeps the lifespan to itself."""

    def __init__(self, mounted: GuestTokenMiddleware) -> None:
        super().__init__()
        self.mounted = mounted

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await (self.mounted if scope["type"] == "http" else super().__call__)(scope, receive, send)


# --- R5, R6: the vendor's bad days --------------------------------------------------------------------------

FAULTS: dict[str, dict[str, object]] = {
    "429, seconds": {"action": "rate_limited", "retry_after": "seconds", "seconds": 30},
    "429, date": {"action": "rate_limited", "retry_after": "http_date", "seconds": 30},
    "429, past date": {"action": "rate_limited", "retry_after": "past"},
    "429, none": {"action": "rate_limited", "retry_after": "absent"},
    "429, garbage": {"action": "rate_limited", "retry_after": "garbage"},
    "429, a day": {"action": "rate_limited", "retry_after": "day"},
    "500": {"action": "server_error", "status": 500},
    "503": {"action": "server_error", "status": 503},
    "503, HTML": {"action": "server_error", "status": 503, "body": "html"},
    "HTML": {"action": "html"},
    "reset": {"action": "reset_before"},
    "minted, reply lost": {"action": "reset_after"},
    "truncated": {"action": "truncated"},
    "403": {"action": "forbidden"},
    "unsigned": {"action": "token_unsigned"},
    "unpublished key": {"action": "token_unpublished_key"},
    "line break": {"action": "token_with_line_break"},
    "expired": {"action": "token_expired"},
    "other issuer": {"action": "token_other_issuer"},
}
ATTEMPTS = 3
"""What one mint may ask for, within its deadline."""


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_failing_vendor_costs_nobody_a_request_and_is_not_stormed(stage: Stage, fault: str) -> None:
    """R5."""
    raw = await stage.token()
    stage.clock.advance(NEAR)
    stage.vendor.faults.add(**FAULTS[fault], route="mint")  # type: ignore[arg-type]  # of the table
    for _ in range(20):
        assert await passes(stage, raw) is None
    await landed(stage)
    assert 1 <= len(stage.mints) <= ATTEMPTS
    stage.vendor.faults.clear()
    assert await passes(stage, raw) is None  # the pause stands, though the vendor is well again
    assert len(stage.mints) <= ATTEMPTS


async def test_after_the_pause_that_the_vendor_asked_for_it_is_asked_once_more(stage: Stage) -> None:
    raw = await stage.token()
    stage.clock.advance(NEAR)
    stage.vendor.faults.add("rate_limited", route="mint", first=1, seconds=30)
    assert await passes(stage, raw) is None
    stage.clock.advance(25)
    assert await passes(stage, raw) is None
    assert stage.mints == ["too.many.requests.retry.after"]
    stage.clock.advance(6)
    assert await passes(stage, raw) is not None
    assert len(stage.mints) == 2


async def test_a_vendor_that_nobody_answers_for_costs_nobody_a_request(stage: Stage) -> None:
    """R5: refused. The gate's way out leads to a port that is closed, as a vendor's does that is down."""
    raw = await stage.token()
    assert await passes(stage, raw) is None
    stage.clock.advance(NEAR)
    async with serving(Living(), "h11") as port:
        pass  # and closed again
    stage.gate.rotation.issuer = gate_over(f"http://127.0.0.1:{port}", stage.clock).issuer
    for _ in range(20):
        assert await passes(stage, raw) is None
    await stage.gate.rotation.issuer.aclose()


@pytest.mark.parametrize(
    "fault", [{"action": "hang"}, {"action": "drip", "seconds": 0.2}], ids=["hang", "drip"]
)
async def test_a_hanging_vendor_delays_the_first_moment_and_nobody_after(
    vendor: FakeVendor, clock: MovingClock, parser: str, fault: dict[str, object]
) -> None:
    """R6."""
    policy = Policy(spread=0, rotation_wait=0.5, mint_deadline=3)
    async with staged(vendor, clock, parser, policy=policy) as stage:
        raw = await stage.token()
        assert await passes(stage, raw) is None
        clock.advance(NEAR)
        vendor.faults.add(**fault, route="mint")  # type: ignore[arg-type]  # of the table
        began = perf_counter()
        assert await passes(stage, raw) is None
        first = perf_counter() - began
        assert 0.4 <= first < 2.5
        began = perf_counter()
        for _ in range(20):
            assert await passes(stage, raw) is None
        assert perf_counter() - began < 20 * 0.5 / 4  # each on its own would have waited 0.5 s
        assert len(stage.mints) == 1
        vendor.faults.clear()


async def test_a_late_successor_goes_to_the_next_request(
    vendor: FakeVendor, clock: MovingClock, parser: str
) -> None:
    policy = Policy(spread=0, rotation_wait=0.05)
    async with staged(vendor, clock, parser, policy=policy) as stage:
        raw = await stage.token()
        clock.advance(NEAR)
        vendor.faults.add("slow", route="mint", seconds=0.4, first=1)
        assert await passes(stage, raw) is None
        await landed(stage)
        assert await passes(stage, raw) is not None
        assert stage.mints == ["ok"]


# --- R8: past its time --------------------------------------------------------------------------------------


async def test_an_expired_token_never_passes_without_a_successor(stage: Stage) -> None:
    """R8: 503 while the issuer is down, as a client that reads 401 throws its token away."""
    raw = await stage.token()
    stage.clock.advance(DUE)
    stage.vendor.faults.add("server_error", route="mint", status=500)
    answer = await stage.ask(raw)
    assert (answer.status, b'"code":"unavailable"' in answer.body) == (503, True)
    assert int(answer.values(b"retry-after")[0]) >= 1
    stage.clock.advance(30)
    answer = await stage.ask(raw)
    assert (answer.status, b'"code":"token_expired"' in answer.body) == (401, True)
    assert answer.values(b"www-authenticate") == [b'Bearer realm="guest", error="invalid_token"']
    assert len(stage.mints) == 1


# --- R9: the leader leaves ----------------------------------------------------------------------------------


@pytest.mark.parametrize("age", [NEAR, DUE])
async def test_a_leader_that_hangs_up_loses_nobody_anything(
    vendor: FakeVendor, clock: MovingClock, parser: str, age: float
) -> None:
    """R9."""
    async with staged(vendor, clock, parser, policy=Policy(spread=0, rotation_wait=5)) as stage:
        raw = await stage.token()
        clock.advance(age)
        vendor.faults.add("slow", route="mint", seconds=0.4)
        with anyio.fail_after(10):
            async with connected(stage.port) as leader:
                await leader.send(request(raw))
                while not stage.mints:  # the vendor notes a call before it answers, late
                    await anyio.lowlevel.checkpoint()
            followers: list[RawToken | None] = []

            async def follow() -> None:
                followers.append(await passes(stage, raw))

            async with anyio.create_task_group() as tasks:
                for _ in range(10):
                    tasks.start_soon(follow)
        assert len(set(followers)) == 1
        assert None not in followers
        assert stage.mints == ["ok"]


# --- R17: short lives ---------------------------------------------------------------------------------------


async def test_tokens_that_are_born_near_expiry_cost_one_mint_each(
    vendor: FakeVendor, clock: MovingClock, parser: str
) -> None:
    """R17: no loop, though every successor could be rotated at once."""
    vendor.guests.lifetime = 60
    async with staged(vendor, clock, parser, policy=Policy(spread=0, rotate_before=300)) as stage:
        raw: RawToken | None = await stage.token()
        for n in range(1, 4):
            clock.advance(10)
            assert raw is not None
            heirs = {await passes(stage, raw) for _ in range(5)}
            assert len(heirs) == 1
            assert stage.mints == ["ok"] * n
            raw = heirs.pop()


async def test_a_successor_that_does_not_live_longer_is_not_asked_for_again(
    vendor: FakeVendor, clock: MovingClock, parser: str
) -> None:
    """R17: within one second the vendor gives the same "exp" again."""
    async with staged(vendor, clock, parser, policy=Policy(spread=0, rotate_before=3000)) as stage:
        raw = await stage.token()
        vendor.faults.add("skew", route="mint", stamp="exp", seconds=-10)
        for _ in range(5):
            assert await passes(stage, raw) is None
        assert stage.mints == ["ok"]
