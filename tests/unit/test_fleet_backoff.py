"""Back-off in a fleet: one worker that is turned away keeps all away, and waiting is nobody's fault."""

import anyio
import pytest
from kit import NOW, World, token, world

from guestpass.adapters.memory_store import MemoryStore
from guestpass.admission import Admitted
from guestpass.core.model import Identity, Policy, RawToken, Successor, TokenId
from guestpass.errors import Fault, IssuerMisconfigured, Unavailable
from guestpass.exchange import Exchange
from guestpass.ports import Lease

pytestmark = pytest.mark.anyio

NEAR = NOW + 200
VISITOR = Identity(name="Ada", email="ada@example.org")


class Pause:
    """What the workers of a fleet tell each other."""

    def __init__(self) -> None:
        self.told: list[tuple[float, str]] = []

    async def start(self, seconds: float, reason: str) -> None:
        await anyio.lowlevel.checkpoint()
        self.told.append((seconds, reason))

    async def left(self) -> tuple[float, str]:
        return max(self.told, default=(0.0, ""))


async def rotate(w: World, raw: RawToken) -> Successor | None:
    outcome = await w.admit(raw)
    assert isinstance(outcome, Admitted)
    return None if outcome.delivery is None else await outcome.delivery.wait()


@pytest.mark.parametrize(
    ("failure", "told"),
    [
        (Unavailable(retry_after=30), "unavailable"),
        (IssuerMisconfigured(retry_after=30), "issuer_misconfigured"),
    ],
)
async def test_what_one_worker_is_told_keeps_every_worker_away(failure: Fault, told: str) -> None:
    pause = Pause()
    first, second = world(pause=pause), world(pause=pause)
    first.issuer.failure = failure
    assert await rotate(first, token(exp=NEAR)) is None
    assert pause.told == [(30, told)]
    assert await rotate(second, token(exp=NEAR)) is None
    with pytest.raises(type(failure)) as caught:
        await Exchange(second.gate).issue(VISITOR, None)
    assert isinstance(caught.value, Fault)
    assert caught.value.retry_after == pytest.approx(30)
    assert second.issuer.calls == []
    second.clock.advance(30)
    pause.told.clear()
    assert await rotate(second, token(exp=NEAR)) is not None


async def test_the_token_endpoint_tells_the_fleet_as_well() -> None:
    pause = Pause()
    w = world(pause=pause)
    w.issuer.failure = Unavailable(retry_after=30)
    with pytest.raises(Unavailable):
        await Exchange(w.gate).issue(VISITOR, None)
    assert pause.told == [(30, "unavailable")]


async def test_an_issuer_that_hangs_is_told_of_too() -> None:
    pause = Pause()
    w = world(pause=pause, policy=Policy(spread=0, mint_deadline=0.3, rotation_wait=0.2))
    w.issuer.hold = anyio.Event()
    assert await rotate(w, token(exp=NEAR)) is None
    assert [reason for _, reason in pause.told] == ["unavailable"]


class Led(MemoryStore):
    """Another worker holds the lease for as long as anyone waits."""

    async def lead(self, token_id: TokenId, *, lease: float) -> Lease | Successor:
        await anyio.sleep_forever()
        raise AssertionError


async def test_who_waits_for_another_workers_mint_does_not_blame_the_issuer() -> None:
    w = world(policy=Policy(spread=0, mint_deadline=0.3, rotation_wait=0.3))
    w.gate.rotation.store = Led(w.clock)
    assert await rotate(w, token(exp=NEAR)) is None
    assert w.gate.rotation.health.closed_for() == 0
    assert w.issuer.calls == []
