"""The store that falls back: what this process has seen serves on, and is shared again when it can be."""

import pytest
from kit import NOW, HeldClock

from guestpass.adapters.degrading_store import DegradingStore
from guestpass.adapters.memory_store import MemoryStore
from guestpass.core.model import RawToken, Successor, TokenId, UnixTime
from guestpass.errors import Unavailable
from guestpass.ports import Lease

pytestmark = pytest.mark.anyio

OLD = RawToken(b"o.l.d").id
NEW = Successor(RawToken(b"n.e.w"), UnixTime(NOW + 1800), UnixTime(NOW - 100))
UNTIL = UnixTime(NOW + 60)


class Shared(MemoryStore):
    """What several workers share, as long as it is there."""

    def __init__(self) -> None:
        super().__init__(HeldClock())
        self.down = False
        self.reads = 0

    @property
    def degraded(self) -> bool:
        return self.down

    def _reached(self) -> None:
        if self.down:
            raise Unavailable

    async def successor_of(self, token_id: TokenId) -> Successor | None:
        self._reached()
        self.reads += 1
        return await super().successor_of(token_id)

    async def lead(self, token_id: TokenId, *, lease: float) -> Lease | Successor:
        self._reached()
        return await super().lead(token_id, lease=lease)

    async def remember(self, lease: Lease, successor: Successor, *, until: UnixTime) -> Successor:
        self._reached()
        return await super().remember(lease, successor, until=until)

    async def abandon(self, lease: Lease) -> None:
        self._reached()
        await super().abandon(lease)

    async def chain_started_at(self, token_id: TokenId) -> UnixTime | None:
        self._reached()
        return await super().chain_started_at(token_id)


@pytest.fixture
def shared() -> Shared:
    return Shared()


def worker(shared: Shared) -> DegradingStore:
    return DegradingStore(shared, MemoryStore(HeldClock()))


async def lead(store: DegradingStore) -> Lease:
    led = await store.lead(OLD, lease=10)
    assert isinstance(led, Lease)
    return led


@pytest.mark.parametrize("seen_by", ["remembering", "reading", "leading"])
async def test_a_successor_that_was_seen_serves_on_without_the_shared_store(
    shared: Shared, seen_by: str
) -> None:
    first, store = worker(shared), worker(shared)
    await first.remember(await lead(first), NEW, until=UNTIL)
    if seen_by == "remembering":
        store = first
    elif seen_by == "reading":
        assert await store.successor_of(OLD) == NEW
    else:
        assert await store.lead(OLD, lease=10) == NEW
    shared.down = True
    assert store.degraded
    assert await store.successor_of(OLD) == NEW
    assert await store.lead(OLD, lease=10) == NEW
    assert await store.chain_started_at(NEW.token.id) == NEW.chain_started_at


async def test_a_successor_that_was_seen_is_not_asked_for_again(shared: Shared) -> None:
    first, second = worker(shared), worker(shared)
    await first.remember(await lead(first), NEW, until=UNTIL)
    for _ in range(5):
        assert await second.successor_of(OLD) == NEW
    assert shared.reads <= 2


async def test_what_was_led_alone_is_shared_if_that_is_possible_by_then(shared: Shared) -> None:
    store, other = worker(shared), worker(shared)
    shared.down = True
    lease = await lead(store)
    shared.down = False
    await store.remember(lease, NEW, until=UNTIL)
    assert await other.successor_of(OLD) == NEW


async def test_what_was_led_together_is_finished_alone(shared: Shared) -> None:
    store = worker(shared)
    lease = await lead(store)
    shared.down = True
    assert await store.remember(lease, NEW, until=UNTIL) == NEW
    assert await store.successor_of(OLD) == NEW
    await store.abandon(lease)


async def test_a_worker_takes_the_winner_of_the_fleet_for_its_own(shared: Shared) -> None:
    first, second = worker(shared), worker(shared)
    late = await lead(second)
    await first.remember(await lead(first), NEW, until=UNTIL)
    mine = Successor(RawToken(b"m.i.ne"), NEW.expires_at, NEW.chain_started_at)
    assert await second.remember(late, mine, until=UNTIL) == NEW
    shared.down = True
    assert await second.successor_of(OLD) == NEW


async def test_nothing_it_does_fails_while_the_shared_store_is_away(shared: Shared) -> None:
    shared.down = True
    store = worker(shared)
    assert await store.successor_of(OLD) is None
    assert await store.chain_started_at(OLD) is None
    lease = await lead(store)
    await store.abandon(lease)
    await store.aclose()
