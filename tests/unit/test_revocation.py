"""Revocation in one worker: within a second, remembered tokens included, with nobody in the background."""

import anyio
import pytest
from kit import NOW, World, token, world

from guestpass.adapters.memory_revocations import MemoryRevocations
from guestpass.admission import Admitted, Refused
from guestpass.core.model import RawToken, UnixTime
from guestpass.errors import TokenRevoked, Unavailable
from guestpass.gate import Gate
from guestpass.ports import Revocation
from guestpass.revocation import revoke_token

pytestmark = pytest.mark.anyio

FOR_AN_HOUR = UnixTime(NOW + 3600)


class Log(MemoryRevocations):
    """Counts how often it is asked, and can be out of reach."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0
        self.down = False

    async def since(self, cursor: str) -> tuple[list[Revocation], str]:
        self.asked += 1
        await anyio.lowlevel.checkpoint()
        if self.down:
            raise Unavailable
        return await super().since(cursor)


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
def w(log: Log) -> World:
    return world(revocations=log)


def is_revoked(outcome: Admitted | Refused) -> bool:
    return isinstance(outcome, Refused) and isinstance(outcome.error, TokenRevoked)


@pytest.mark.parametrize("by", ["token", "subject"])
async def test_a_remembered_token_is_refused_within_a_second(w: World, log: Log, by: str) -> None:
    raw = token()
    assert isinstance(await w.admit(raw), Admitted)
    await log.add(Revocation(raw.id if by == "token" else "sub-of-Ada", FOR_AN_HOUR))
    w.clock.advance(0.999)
    assert isinstance(await w.admit(raw), Admitted)
    w.clock.advance(0.001)
    assert is_revoked(await w.admit(raw))
    assert len(w.gate.entries.cache) == 0


async def test_a_token_that_was_never_seen_is_refused_too(w: World, log: Log) -> None:
    raw = token()
    await log.add(Revocation(raw.id, FOR_AN_HOUR))
    assert is_revoked(await w.admit(raw))
    assert isinstance(await w.admit(token(exp=NOW + 1700)), Admitted)


async def test_a_revocation_ends_at_its_instant(w: World, log: Log) -> None:
    raw = token()
    await log.add(Revocation(raw.id, UnixTime(NOW + 60)))
    await log.add(Revocation(raw.id, UnixTime(NOW + 30)))  # never shortens an earlier one
    w.clock.advance(59.9)
    assert is_revoked(await w.admit(raw))
    w.clock.advance(0.1)
    assert isinstance(await w.admit(raw), Admitted)


async def test_the_list_is_asked_for_once_a_second_however_many_requests_come(w: World, log: Log) -> None:
    raw = token()
    for _ in range(3):
        async with anyio.create_task_group() as tasks:
            for _ in range(50):
                tasks.start_soon(w.admit, raw)
        w.clock.advance(1)
    assert log.asked == 3


async def test_in_the_background_no_request_asks(w: World, log: Log) -> None:
    raw = token()
    async with w.gate.background():
        with anyio.fail_after(5):
            while not log.asked:
                await anyio.lowlevel.checkpoint()
        asked = log.asked
        for _ in range(5):
            assert isinstance(await w.admit(raw), Admitted)
        assert log.asked == asked


async def test_while_the_list_is_out_of_reach_what_is_known_stays_in_force(w: World, log: Log) -> None:
    revoked, fine = token(), token(exp=NOW + 1700)
    await log.add(Revocation(revoked.id, FOR_AN_HOUR))
    assert is_revoked(await w.admit(revoked))
    log.down = True
    w.clock.advance(1)
    assert is_revoked(await w.admit(revoked))
    assert isinstance(await w.admit(fine), Admitted)


async def test_a_revoked_token_takes_its_successors_with_it(w: World, log: Log) -> None:
    old = token(exp=NOW + 200)
    new = await _rotated(w, old)
    assert await revoke_token(old.id, FOR_AN_HOUR, log=log, store=w.store) == 2
    w.clock.advance(1)
    assert is_revoked(await w.admit(old))
    assert is_revoked(await w.admit(new))


async def test_what_was_revoked_long_ago_takes_no_memory(w: World, log: Log) -> None:
    for number in range(1500):
        await log.add(Revocation(f"guest {number}", UnixTime(NOW + 10)))
    await w.admit(token())
    assert len(w.gate.revocations) == 1500
    w.clock.advance(10)
    await log.add(Revocation("another", FOR_AN_HOUR))
    await w.admit(token())
    assert len(w.gate.revocations) == 1


async def test_without_a_list_nothing_is_ever_due() -> None:
    gate: Gate = world().gate
    assert gate.revocations.due_at == float("inf")


async def _rotated(w: World, raw: RawToken) -> RawToken:
    outcome = await w.admit(raw)
    assert isinstance(outcome, Admitted)
    assert outcome.delivery is not None
    successor = await outcome.delivery.wait()
    assert successor is not None
    return successor.token
