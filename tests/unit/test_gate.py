"""The gate as a whole: who is admitted, as whom, with what for the response; on asyncio and trio."""

import anyio
import pytest
from forge import rsa_key
from kit import ADA, ALGORITHMS, BOB, NOW, HeldClock, World, jwks, token, world

from guestpass.adapters.memory_store import MemoryStore
from guestpass.adapters.ratelimit import MemoryLimiter
from guestpass.adapters.static_jwks import StaticJwks
from guestpass.admission import Admitted, Delivery, Refused
from guestpass.core.bearer import Sources
from guestpass.core.matching import Protection, Rule
from guestpass.core.model import MonotonicTime, Policy, RawToken, Successor, Thumbprint, TokenId, UnixTime
from guestpass.core.surface import Surface
from guestpass.errors import (
    KeyUnknown,
    PathAmbiguous,
    SessionExpired,
    SignatureInvalid,
    TokenAmbiguous,
    TokenExpired,
    TokenMissing,
    TooManyRequests,
    Unavailable,
)
from guestpass.gate import Gate
from guestpass.ports import Retired

pytestmark = pytest.mark.anyio

NEAR = NOW + 200  # in the rotation window of 300 s
DUE = NOW - 40  # past the leeway, within grace


async def admitted(w: World, raw: RawToken | None = None, **request: object) -> Admitted:
    outcome = await w.admit(raw, **request)
    assert isinstance(outcome, Admitted), outcome
    return outcome


async def refused(w: World, raw: RawToken | None = None, **request: object) -> Refused:
    outcome = await w.admit(raw, **request)
    assert isinstance(outcome, Refused), outcome
    return outcome


def identity_of(outcome: Admitted) -> dict[bytes, bytes]:
    return {name: value for name, value in outcome.headers if name.startswith(b"x-guest-")}


async def delivered(outcome: Admitted) -> RawToken | None:
    assert outcome.delivery is not None
    successor = await outcome.delivery.wait()
    return None if successor is None else successor.token


# --- admission ------------------------------------------------------------------------------------------


async def test_a_fresh_token_admits_its_guest_and_costs_the_issuer_nothing() -> None:
    w = world()
    outcome = await admitted(w, token())
    assert outcome.guest is not None
    assert outcome.guest.email == ADA.email
    assert identity_of(outcome) == {
        b"x-guest-subject": b"sub-of-Ada",
        b"x-guest-name": b"Ada",
        b"x-guest-email": b"ada@example.org",
    }
    assert outcome.delivery is None
    assert w.issuer.calls == []


async def test_a_repeated_token_is_not_verified_again() -> None:
    w = world()
    raw = token()
    first, second = await admitted(w, raw), await admitted(w, RawToken(raw.compact))
    assert first.guest is second.guest
    assert (w.gate.entries.cache.hits, len(w.gate.entries.cache)) == (1, 1)


async def test_what_a_client_claims_to_be_never_arrives() -> None:
    outcome = await world().admit(token(), (b"x_guest_subject", b"root"), (b"X-Guest-Name", b"root"))
    assert isinstance(outcome, Admitted)
    assert b"root" not in [value for _, value in outcome.headers]


@pytest.mark.parametrize("path", ["/open", "/livez"])
async def test_on_an_open_route_a_token_is_neither_read_nor_passed_on_and_forged_fields_go(path: str) -> None:
    w = world(rules=[Rule(None, "/open", Protection.OFF)])
    outcome = await w.admit(
        RawToken(b"rubbish"), (b"x-guest-subject", b"root"), path=path, raw_path=path.encode()
    )
    assert isinstance(outcome, Admitted)
    assert outcome.guest is None
    assert outcome.headers == [(b"host", b"app")]


async def test_a_preflight_passes_without_a_token_and_a_fake_one_does_not() -> None:
    w = world()
    origin, method = (b"origin", b"https://a.example"), (b"access-control-request-method", b"PUT")
    assert isinstance(await w.admit(None, origin, method, method="OPTIONS"), Admitted)
    for headers, verb in (((origin,), "OPTIONS"), ((method,), "OPTIONS"), ((origin, method), "GET")):
        outcome = await w.admit(None, *headers, method=verb)
        assert isinstance(outcome, Refused)
        assert isinstance(outcome.error, TokenMissing)


async def test_an_ambiguous_path_is_refused_before_any_rule_is_asked() -> None:
    w = world(rules=[Rule(None, "/public/*", Protection.OFF)])
    outcome = await refused(w, token(), path="/public/../admin", raw_path=b"/public/%2e%2e/admin")
    assert isinstance(outcome.error, PathAmbiguous)
    assert not outcome.guarded


async def test_where_a_token_is_optional_none_is_anonymous_and_a_bad_one_is_refused() -> None:
    w = world(rules=[Rule(None, "/*", Protection.OPTIONAL)])
    outcome = await admitted(w)
    assert outcome.guest is not None
    assert outcome.guest.anonymous
    assert isinstance((await refused(w, token(key="other"))).error, Exception)


async def test_a_forged_token_is_refused_and_causes_no_mint() -> None:
    w = world()
    raw = token(exp=NEAR)
    forged = RawToken(raw.compact[:-8] + b"AAAAAAAA")
    assert isinstance((await refused(w, forged)).error, SignatureInvalid)
    assert w.issuer.calls == []


async def test_two_tokens_are_refused() -> None:
    outcome = await world().admit(token(), (b"x-guest-token", b"another"))
    assert isinstance(outcome, Refused)
    assert isinstance(outcome.error, TokenAmbiguous)


async def test_a_websocket_may_bring_its_token_as_a_subprotocol_and_in_the_query() -> None:
    w = world(surface=Surface(sources=Sources(query="guest_token")))
    raw = token()
    offered = ["chat", "guestpass.token." + raw.compact.decode()]
    assert (await admitted(w, websocket=True, subprotocols=offered)).guest is not None
    outcome = await admitted(w, websocket=True, query=b"a=1&guest_token=" + raw.compact)
    assert outcome.query == b"a=1"
    stream = await w.admit(None, (b"accept", b"text/event-stream"), query=b"guest_token=" + raw.compact)
    assert isinstance(stream, Admitted)
    plain = await w.admit(None, (b"accept", b"text/html"), query=b"guest_token=" + raw.compact)
    assert isinstance(plain, Refused)


async def test_a_forwarded_token_stays_in_the_query() -> None:
    w = world(surface=Surface(sources=Sources(query="t"), forward_token=True))
    raw = token()
    assert (await admitted(w, websocket=True, query=b"t=" + raw.compact)).query == b"t=" + raw.compact


async def test_a_client_that_keeps_failing_is_refused_before_any_signature_work() -> None:
    clock = HeldClock()
    w = world(clock=clock, failed_verification=MemoryLimiter(2, 60, clock))
    good = token()
    for _ in range(2):
        await refused(w, RawToken(b"bad"), peer="192.0.2.7")
    outcome = await refused(w, good, peer="192.0.2.7")
    assert isinstance(outcome.error, TooManyRequests)
    assert outcome.error.retry_after == pytest.approx(60)
    assert (await admitted(w, good, peer="192.0.2.8")).guest is not None
    assert (await admitted(w, good, peer="192.0.2.7")).guest is not None  # known good costs nothing
    clock.advance(60)
    assert (await admitted(w, token(exp=NOW + 1801), peer="192.0.2.7")).guest is not None


# --- rotation -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("background", [True, False])
async def test_near_expiry_the_successor_is_delivered(background: bool) -> None:
    """R1: one mint, and the request itself goes on with the token it came with."""
    w = world()
    raw = token(exp=NEAR)
    async with anyio.create_task_group() as tasks:
        if background:
            await tasks.start(_in_background, w.gate)
        outcome = await admitted(w, raw)
        new = await delivered(outcome)
        assert new is not None
        assert new != raw
        assert w.issuer.calls == [ADA]
        assert isinstance(await w.admit(new), Admitted)
        tasks.cancel_scope.cancel()


async def _in_background(gate: Gate, *, task_status: anyio.abc.TaskStatus[None]) -> None:
    async with gate.background():
        task_status.started()
        await anyio.sleep_forever()


@pytest.mark.parametrize("background", [True, False])
async def test_a_thousand_requests_with_one_token_cost_one_mint_and_get_one_successor(
    background: bool,
) -> None:
    """R2."""
    w = world()
    raw = token(exp=NEAR)
    w.issuer.hold = anyio.Event()
    found: list[RawToken | None] = []

    async def one() -> None:
        found.append(await delivered(await admitted(w, raw)))

    async with anyio.create_task_group() as outer:
        if background:
            await outer.start(_in_background, w.gate)
        async with anyio.create_task_group() as tasks:
            for _ in range(1000):
                tasks.start_soon(one)
            await w.issuer.asked.wait()
            w.issuer.hold.set()
        outer.cancel_scope.cancel()
    assert len(w.issuer.calls) == 1
    assert len(found) == 1000
    assert len(set(found)) == 1
    assert None not in found


async def test_a_client_that_never_adopts_gets_the_same_successor_again() -> None:
    w = world()
    raw = token(exp=NEAR)
    first = await delivered(await admitted(w, raw))
    w.clock.advance(100)
    again = await admitted(w, raw)
    assert await delivered(again) == first
    assert len(w.issuer.calls) == 1


async def test_the_app_sees_the_successors_claims_once_it_stands() -> None:
    """F19: claims that change at rotation show at once."""
    w = world()
    w.issuer.answer = lambda _: token(exp=NOW + 1800, identity=ADA, name="Ada L.")
    raw = token(exp=NEAR)
    await delivered(await admitted(w, raw))
    assert identity_of(await admitted(w, raw))[b"x-guest-name"] == b"Ada%20L."


async def test_within_grace_the_successor_comes_first_and_is_who_the_app_sees() -> None:
    w = world()
    outcome = await admitted(w, token(exp=DUE))
    assert (await delivered(outcome)) is not None
    assert outcome.guest is not None
    assert outcome.guest.expires_at == NOW + 1800


async def test_within_grace_without_a_successor_there_is_no_way_in() -> None:
    """R8: never pass; an issuer that is down is 503, as a client that reads 401 throws its token away."""
    w = world()
    w.issuer.failure = Unavailable(retry_after=7)
    outcome = await refused(w, token(exp=DUE))
    assert isinstance(outcome.error, Unavailable)
    assert outcome.error.retry_after == pytest.approx(7)


@pytest.mark.parametrize(("exp", "error"), [(NOW - 60, TokenExpired), (NOW - 61, TokenExpired)])
async def test_past_grace_there_is_no_mint(exp: float, error: type[Exception]) -> None:
    w = world()
    assert isinstance((await refused(w, token(exp=exp))).error, error)
    assert w.issuer.calls == []


async def test_the_age_of_a_chain_is_remembered_through_its_rotations() -> None:
    w = world(policy=Policy(spread=0, max_session_age=4000))
    raw: RawToken | None = token()
    for _ in range(2):
        w.clock.advance(1600)
        raw = await delivered(await admitted(w, raw))
    assert len(w.issuer.calls) == 2
    w.clock.advance(4000 - 3200 - 1)
    assert isinstance(await w.admit(raw), Admitted)
    w.clock.advance(1)
    assert isinstance((await refused(w, raw)).error, SessionExpired)


@pytest.mark.parametrize("exp", [NOW + 330, NOW + 360])
async def test_a_successor_is_minted_ahead_in_the_background(exp: float) -> None:
    w = world()
    raw = token(exp=exp)
    async with anyio.create_task_group() as tasks:
        await tasks.start(_in_background, w.gate)
        with anyio.fail_after(5):
            assert (await admitted(w, raw)).delivery is None
            await w.issuer.asked.wait()
            while await w.gate.rotation.known((await w.gate.entry(raw)).genuine) is None:
                await anyio.lowlevel.checkpoint()
        assert (await admitted(w, raw)).delivery is None
        w.clock.advance(100)
        assert (await delivered(await admitted(w, raw))) is not None
        assert len(w.issuer.calls) == 1
        tasks.cancel_scope.cancel()


async def test_without_the_background_nothing_is_minted_ahead() -> None:
    w = world()
    assert (await admitted(w, token(exp=NOW + 330))).delivery is None
    assert w.issuer.calls == []


# --- keys ----------------------------------------------------------------------------------------------


class Keys(StaticJwks):
    """Static keys that can be retired, and can be out of reach."""

    def __init__(self) -> None:
        super().__init__(jwks("rsa"), algorithms=ALGORITHMS)
        self.callbacks: list[Retired] = []
        self.due = MonotonicTime(float("inf"))
        self.down = False

    @property
    def recheck_at(self) -> MonotonicTime:
        return self.due

    async def recheck(self) -> None:
        if self.down:
            raise Unavailable(retry_after=1)
        self.due = MonotonicTime(float("inf"))

    def on_retired(self, callback: Retired) -> None:
        self.callbacks.append(callback)

    def retire(self, kid: str) -> None:
        thumbprint = Thumbprint(rsa_key(kid).thumbprint())
        for callback in self.callbacks:
            callback(frozenset({thumbprint}))


async def test_a_retired_key_takes_its_remembered_tokens_with_it_at_once() -> None:
    keys = Keys()
    w = world(keys=keys)
    await admitted(w, token())
    keys.retire("other")
    assert len(w.gate.entries.cache) == 1
    keys.retire("rsa")
    assert len(w.gate.entries.cache) == 0


async def test_a_remembered_token_does_not_outlive_the_trust_in_its_keys() -> None:
    """Past `max_stale` nothing is known any more, so even a token that was good a moment ago is 503."""
    keys = Keys()
    w = world(keys=keys)
    raw = token()
    await admitted(w, raw)
    keys.due, keys.down = MonotonicTime(0), True
    assert isinstance((await refused(w, raw)).error, Unavailable)
    keys.down = False
    assert isinstance(await w.admit(raw), Admitted)
    assert keys.due == float("inf")


async def test_a_verdict_from_before_a_retirement_is_not_remembered() -> None:
    keys = Keys()
    w = world(keys=keys)
    generation = w.gate.entries.cache.generation
    raw = token()
    entry = await w.gate.entry(raw)
    keys.retire("rsa")
    w.gate.entries.cache.put(raw.digest, entry, generation=generation)
    assert len(w.gate.entries.cache) == 0


# --- life cycle ----------------------------------------------------------------------------------------


async def test_the_background_is_entered_once_and_closes_what_was_opened() -> None:
    w = world()
    async with w.gate.background():
        with pytest.raises(RuntimeError, match="once"):
            async with w.gate.background():
                raise AssertionError
    assert w.issuer.closed == 1
    async with w.gate.background():
        pass
    assert w.issuer.closed == 2


async def test_a_delivery_that_nobody_started_is_empty() -> None:
    assert await Delivery(world().gate.rotation).wait() is None


async def test_bobs_token_never_stands_for_ada() -> None:
    w = world()
    ada, bob = token(exp=NEAR), token(exp=NEAR, identity=BOB)
    first, second = await delivered(await admitted(w, ada)), await delivered(await admitted(w, bob))
    assert first is not None
    assert second is not None
    assert identity_of(await admitted(w, first))[b"x-guest-name"] == b"Ada"
    assert identity_of(await admitted(w, second))[b"x-guest-name"] == b"Bob"
    assert w.issuer.calls == [ADA, BOB]


async def test_what_is_raised_beside_the_background_is_raised_as_it_is() -> None:
    """A host's own lifespan enters it: an exception of the host's must not come out as a group."""
    w = world()
    raised = LookupError()
    with pytest.raises(LookupError) as caught:
        async with w.gate.background():
            raise raised
    assert caught.value is raised
    assert w.issuer.closed == 1


class Stored(MemoryStore):
    """A store whose one record is a successor that nobody can verify any more."""

    async def successor_of(self, token_id: TokenId) -> Successor | None:
        return Successor(token(key="retired"), UnixTime(NOW + 1800), UnixTime(NOW))


async def test_a_successor_that_no_longer_verifies_never_fails_a_valid_token() -> None:
    clock = HeldClock()
    w = world(clock=clock, store=Stored(clock))
    outcome = await admitted(w, token(exp=NEAR))
    assert outcome.delivery is None
    assert isinstance((await refused(w, token(exp=DUE))).error, KeyUnknown)
