"""Rotation when things go wrong: nobody loses a valid token, and nobody storms the issuer."""

import logging

import anyio
import pytest
from kit import ADA, NOW, HeldClock, World, token, world

from guestpass import events
from guestpass.adapters.memory_store import MemoryStore
from guestpass.adapters.ratelimit import MemoryLimiter
from guestpass.admission import Admitted, Refused
from guestpass.backoff import Rest
from guestpass.core.model import Identity, Policy, RawToken, Successor, TokenId, UnixTime
from guestpass.errors import Fault, IssuerMisconfigured, TokenRefused, Unavailable
from guestpass.ports import Lease

pytestmark = pytest.mark.anyio

NEAR = NOW + 200
DUE = NOW - 40


async def successor_for(w: World, raw: RawToken) -> RawToken | None:
    """What a request with `raw` finds in its response; the request itself must be admitted."""
    outcome = await w.admit(raw)
    assert isinstance(outcome, Admitted), outcome
    if outcome.delivery is None:
        return None
    successor = await outcome.delivery.wait()
    return None if successor is None else successor.token


@pytest.mark.parametrize(
    "failure",
    [Unavailable(), Unavailable(retry_after=5), IssuerMisconfigured(retry_after=30), TokenRefused()],
)
async def test_a_failed_mint_never_fails_a_request_whose_token_is_still_valid(failure: Exception) -> None:
    """R5."""
    w = world()
    w.issuer.failure = failure
    raw = token(exp=NEAR)
    for _ in range(10):
        assert await successor_for(w, raw) is None
    assert len(w.issuer.calls) == 1


async def test_a_mint_that_its_request_cuts_short_is_told_of_once_with_the_remedy(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A host that does not enter `gate.background()` would never learn why nobody gets a successor."""
    w = world(policy=Policy(spread=0, rotation_wait=0.05))
    w.issuer.hold = anyio.Event()
    for exp in (NEAR, NEAR + 1):
        assert await successor_for(w, token(exp=exp)) is None
        w.clock.advance(120)  # past every pause and rest
    [told] = [text for text in caplog.messages if text.startswith(events.ROTATION_CUT_SHORT)]
    assert "gate.background()" in told
    assert len(w.issuer.calls) == 2


@pytest.mark.parametrize(("told", "pause"), [(5.0, 5.0), (None, 1.0)])
async def test_after_a_failure_nobody_asks_until_the_pause_is_over_whoever_asks(
    told: float | None, pause: float
) -> None:
    w = world()
    w.issuer.failure = Unavailable(retry_after=told)
    assert await successor_for(w, token(exp=NEAR)) is None
    assert await successor_for(w, token(exp=NEAR + 1)) is None
    assert len(w.issuer.calls) == 1
    w.clock.advance(pause)
    w.issuer.failure = None
    assert await successor_for(w, token(exp=NEAR)) is not None
    assert len(w.issuer.calls) == 2


async def test_the_pause_doubles_without_a_word_from_the_issuer_and_ends_with_its_first_answer() -> None:
    w = world()
    health = w.gate.rotation.health
    pauses = []
    for _ in range(8):
        health.failed(Unavailable())
        pauses.append(health.closed_for())
        w.clock.advance(pauses[-1])
    for n, pause in enumerate(pauses):
        assert min(30, 2**n) / 2 <= pause <= min(30, 2**n)
    assert health.closed_for() == 0
    with health.observing():
        pass
    assert health.failures == 0


async def test_a_refusal_rests_the_one_token_and_leaves_the_issuer_open() -> None:
    w = world()
    w.issuer.failure = TokenRefused()
    raw = token(exp=NEAR)
    assert await successor_for(w, raw) is None
    w.issuer.failure = None
    assert await successor_for(w, token(exp=NEAR + 1)) is not None
    assert await successor_for(w, raw) is None
    w.clock.advance(60)
    assert await successor_for(w, raw) is not None


def _stranger(_: Identity) -> RawToken:
    return token(identity=Identity(name="Eve", email="eve@example.org"))


@pytest.mark.parametrize(
    ("minted", "reason"),
    [
        (lambda _: token(key="unpublished"), "key_unknown"),
        (lambda _: RawToken(b"rubbish"), "malformed"),
        (lambda _: RawToken(b"a\r\nset-cookie: x"), "malformed"),
        (lambda _: token(iss="someone-else"), "claim_iss"),
        (lambda _: token(exp=NEAR), "not_later"),
        (lambda _: token(exp=NEAR - 1), "not_later"),
    ],
)
async def test_a_minted_token_that_is_no_fit_successor_goes_to_nobody(
    minted: object, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    w = world()
    w.issuer.answer = minted  # type: ignore[assignment]  # parametrized
    with caplog.at_level(logging.INFO, logger="guestpass"):
        assert await successor_for(w, token(exp=NEAR)) is None
    discarded = [r for r in caplog.records if getattr(r, "event", "") == events.SUCCESSOR_DISCARDED]
    assert [record.fields["reason"] for record in discarded] == [reason]  # type: ignore[attr-defined]
    assert await w.store.successor_of(token(exp=NEAR).id) is None


async def test_a_successor_that_does_not_expire_later_is_not_asked_for_again_for_a_minute() -> None:
    w = world()
    raw = token(exp=NEAR)
    w.issuer.answer = lambda _: token(exp=NEAR)
    for _ in range(3):
        w.clock.advance(19)
        assert await successor_for(w, raw) is None
    assert len(w.issuer.calls) == 1
    w.clock.advance(60)
    assert await successor_for(w, raw) is None
    assert len(w.issuer.calls) == 2


async def test_a_successor_that_is_dead_on_arrival_lets_nobody_in() -> None:
    w = world()
    w.issuer.answer = lambda _: token(exp=NOW - 10)
    outcome = await w.admit(token(exp=DUE))
    assert isinstance(outcome, Refused)
    assert isinstance(outcome.error, Unavailable)


@pytest.mark.parametrize(("policy", "passes"), [("flag", True), ("refuse", False)])
async def test_another_subject_is_flagged_or_refused_as_the_policy_says(
    policy: str, passes: bool, caplog: pytest.LogCaptureFixture
) -> None:
    w = world(policy=Policy(spread=0, on_subject_change=policy))  # type: ignore[arg-type]  # parametrized
    w.issuer.answer = _stranger
    with caplog.at_level(logging.INFO, logger="guestpass"):
        assert (await successor_for(w, token(exp=NEAR)) is not None) is passes
    assert events.SUBJECT_CHANGED in caplog.text
    assert "Eve" not in caplog.text


async def test_a_chain_of_short_tokens_costs_one_mint_each() -> None:
    """R17: a successor that is itself near expiry starts no loop."""
    w = world(policy=Policy(spread=0, rotate_before=300))
    w.issuer.answer = lambda _: token(exp=w.clock.wall + 60, lifetime=60)
    raw: RawToken | None = token(exp=NOW + 30, lifetime=60)
    for n in range(1, 4):
        w.clock.advance(10)
        assert raw is not None
        heirs = {await successor_for(w, raw) for _ in range(5)}
        assert len(heirs) == 1
        assert len(w.issuer.calls) == n
        raw = heirs.pop()


async def test_the_budget_is_kept_and_never_fails_a_valid_token() -> None:
    clock = HeldClock()
    w = world(clock=clock, budget=MemoryLimiter(2, 60, clock))
    found = [await successor_for(w, token(exp=NEAR + n)) for n in range(4)]
    assert [new is not None for new in found] == [True, True, False, False]
    assert len(w.issuer.calls) == 2
    assert w.gate.rotation.health.failures == 0
    clock.advance(60)
    assert await successor_for(w, token(exp=NEAR + 3)) is not None


# --- waiting -----------------------------------------------------------------------------------------------


async def test_a_hanging_issuer_delays_the_first_moment_only_and_followers_not_at_all() -> None:
    """R6: nobody waits longer than `rotation_wait` from the start of the flight, and none who come later."""
    w = world(policy=Policy(spread=0, rotation_wait=0.05, mint_deadline=0.2))
    w.issuer.hold = anyio.Event()
    raw = token(exp=NEAR)
    async with w.gate.background():
        with anyio.fail_after(5):
            assert await successor_for(w, raw) is None  # waited 50 ms of real time
            w.clock.advance(0.05)
            before = anyio.current_time()
            for _ in range(20):
                assert await successor_for(w, raw) is None
            assert anyio.current_time() - before < 0.05
            assert len(w.issuer.calls) == 1


async def test_a_mint_that_outlasts_its_deadline_is_given_up_and_backs_off() -> None:
    w = world(policy=Policy(spread=0, mint_deadline=0.02, rotation_wait=0.02))
    w.issuer.hold = anyio.Event()
    with anyio.fail_after(5):
        outcome = await w.admit(token(exp=DUE))
    assert isinstance(outcome, Refused)
    assert isinstance(outcome.error, Unavailable)
    assert w.gate.rotation.health.closed_for() > 0


async def test_who_waits_for_anothers_mint_gives_up_at_the_same_deadline() -> None:
    w = world(policy=Policy(spread=0, mint_deadline=0.05))
    w.issuer.hold = anyio.Event()
    raw = token(exp=DUE)
    outcomes = []

    async def one() -> None:
        outcomes.append(await w.admit(raw))

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(one)
    assert all(isinstance(o, Refused) and isinstance(o.error, Unavailable) for o in outcomes)
    assert len(w.issuer.calls) == 1


@pytest.mark.parametrize("exp", [NEAR, DUE])
async def test_a_leader_who_hangs_up_loses_nothing(exp: float) -> None:
    """R9: the mint finishes once, and whoever comes next gets its result."""
    w = world()
    w.issuer.hold = anyio.Event()
    raw = token(exp=exp)
    followers: list[RawToken | None] = []

    async def leader() -> None:
        await successor_for(w, raw)

    async def follower() -> None:
        followers.append(await successor_for(w, raw))

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks, anyio.create_task_group() as client:
            client.start_soon(leader)
            await w.issuer.asked.wait()
            for _ in range(10):
                tasks.start_soon(follower)
            await anyio.lowlevel.checkpoint()
            client.cancel_scope.cancel()
            w.issuer.hold.set()
    assert len(w.issuer.calls) == 1
    assert len(set(followers)) == 1
    assert None not in followers


# --- the store ---------------------------------------------------------------------------------------------


class Unreachable(MemoryStore):
    """A store that fails each call that is named."""

    def __init__(self, clock: HeldClock, *failing: str) -> None:
        super().__init__(clock)
        self.failing = failing
        self.abandoned: list[Lease] = []

    def _try(self, name: str) -> None:
        if name in self.failing:
            raise Unavailable

    async def successor_of(self, token_id: TokenId) -> Successor | None:
        self._try("successor_of")
        return await super().successor_of(token_id)

    async def chain_started_at(self, token_id: TokenId) -> UnixTime | None:
        self._try("chain_started_at")
        return await super().chain_started_at(token_id)

    async def remember(self, lease: Lease, successor: Successor, *, until: UnixTime) -> Successor:
        self._try("remember")
        return await super().remember(lease, successor, until=until)

    async def abandon(self, lease: Lease) -> None:
        self.abandoned.append(lease)


@pytest.mark.parametrize("failing", ["successor_of", "chain_started_at", "remember"])
async def test_a_store_that_is_down_never_fails_a_valid_token(failing: str) -> None:
    clock = HeldClock()
    w = world(clock=clock, store=Unreachable(clock, failing))
    assert isinstance(await w.admit(token()), Admitted)
    await successor_for(w, token(exp=NEAR))


async def test_a_lease_without_a_result_is_given_back() -> None:
    clock = HeldClock()
    store = Unreachable(clock)
    w = world(clock=clock, store=store)
    w.issuer.failure = Unavailable()
    await successor_for(w, token(exp=NEAR))
    assert [lease.token_id for lease in store.abandoned] == [token(exp=NEAR).id]


class Led(MemoryStore):
    """Somebody else minted while this process waited to lead."""

    async def lead(self, token_id: TokenId, *, lease: float) -> Lease | Successor:
        return Successor(token(exp=NOW + 1700), UnixTime(NOW + 1700), UnixTime(NOW))


async def test_another_process_result_is_everyones_result() -> None:
    clock = HeldClock()
    w = world(clock=clock, store=Led(clock))
    assert await successor_for(w, token(exp=NEAR)) == token(exp=NOW + 1700)
    assert w.issuer.calls == []


async def test_the_first_writer_wins() -> None:
    clock = HeldClock()
    store = MemoryStore(clock)
    first, second = (Successor(token(exp=NOW + n), UnixTime(NOW + n), UnixTime(NOW)) for n in (1, 2))
    lease = await store.lead(ADA_ID, lease=10)
    assert isinstance(lease, Lease)
    assert await store.remember(lease, first, until=UnixTime(NOW + 60)) == first
    assert await store.remember(lease, second, until=UnixTime(NOW + 60)) == first
    assert await store.lead(ADA_ID, lease=10) == first
    clock.advance(60)
    assert await store.successor_of(ADA_ID) is None


ADA_ID = token(identity=ADA).id


def test_only_so_many_tokens_rest_at_once() -> None:
    clock = HeldClock()
    rest = Rest(clock)
    for n in range(10_050):
        rest.start(TokenId(b"%d" % n), 60)
    rest.start(TokenId(b"none"), 0)
    assert rest.left(TokenId(b"10049")) == 60
    assert rest.left(TokenId(b"0")) == 0
    assert rest.left(TokenId(b"none")) == 0
    clock.advance(60)
    assert rest.left(TokenId(b"10049")) == 0


def test_a_fault_says_why_without_saying_what() -> None:
    assert isinstance(IssuerMisconfigured(), Fault)
    assert IssuerMisconfigured().reason == "issuer_misconfigured"


# --- the pause after a fault ------------------------------------------------------------------------------


async def test_a_retry_after_that_is_over_already_is_no_licence_to_ask_at_once() -> None:
    """R5: 0 and a date in the past come from clocks that differ, and would have every request ask."""
    w = world()
    w.issuer.failure = Unavailable(retry_after=0)
    for n in range(20):
        assert await successor_for(w, token(exp=NEAR + n % 2)) is None
    assert len(w.issuer.calls) == 1


async def test_while_the_issuer_refuses_us_it_is_said_so_and_not_that_it_is_down() -> None:
    w = world()
    w.issuer.failure = IssuerMisconfigured(retry_after=30)
    for _ in range(2):
        outcome = await w.admit(token(exp=DUE))
        assert isinstance(outcome, Refused)
        assert isinstance(outcome.error, IssuerMisconfigured)
        assert outcome.error.retry_after == pytest.approx(30)
    assert len(w.issuer.calls) == 1


class Held(MemoryStore):
    """Another worker leads, and takes its time."""

    async def lead(self, token_id: TokenId, *, lease: float) -> Lease | Successor:
        await anyio.sleep_forever()
        raise AssertionError


async def test_waiting_for_another_workers_mint_is_no_fault_of_the_issuers() -> None:
    clock = HeldClock()
    w = world(clock=clock, store=Held(clock), policy=Policy(spread=0, mint_deadline=0.15))
    with anyio.fail_after(5):
        outcome = await w.admit(token(exp=DUE))
    assert isinstance(outcome, Refused)
    assert isinstance(outcome.error, Unavailable)
    assert w.gate.rotation.health.closed_for() == 0
