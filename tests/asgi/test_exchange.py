"""Which token a visitor leaves the endpoint with: every row of the table, and never somebody else's."""

import logging

import anyio
import pytest
from kit import ADA, ALGORITHMS, BOB, NOW, HeldClock, World, jwks, token, world
from shells import DEAD, DUE, NEAR

from guestpass import events
from guestpass.adapters.ratelimit import MemoryLimiter
from guestpass.adapters.static_jwks import StaticJwks
from guestpass.admission import Admitted
from guestpass.core.model import Identity, MonotonicTime, Policy, RawToken
from guestpass.errors import (
    ClaimInvalid,
    SignatureInvalid,
    TokenExpired,
    TokenRefused,
    TooManyRequests,
    Unavailable,
)
from guestpass.exchange import Exchange, Issued, Outcome

pytestmark = pytest.mark.anyio

FRESH = NOW + 1000
TAMPERED = RawToken(token().compact[:-8] + b"AAAAAAAA")


async def issue(
    w: World, current: RawToken | None = None, identity: Identity = ADA, *, refuse: bool = False
) -> Issued:
    return await Exchange(w.gate, refuse_invalid=refuse).issue(identity, current, client="192.0.2.1")


async def owner(w: World, issued: Issued) -> Identity:
    return (await w.gate.entry(issued.token)).genuine.claims.minted_for


@pytest.mark.parametrize(
    ("current", "outcome", "mints"),
    [
        (None, Outcome.FIRST, 1),
        (token(exp=FRESH), Outcome.SAME, 0),
        (token(exp=NOW + 301), Outcome.SAME, 0),
        (token(exp=NOW + 300), Outcome.ROTATED, 1),
        (token(exp=NEAR), Outcome.ROTATED, 1),
        (token(exp=NOW), Outcome.ROTATED, 1),
        (token(exp=DUE), Outcome.ROTATED, 1),
        (token(exp=NOW - 59), Outcome.ROTATED, 1),
        (token(exp=DEAD), Outcome.REPLACED_EXPIRED, 1),
        (token(exp=NOW - 100_000), Outcome.REPLACED_EXPIRED, 1),
        (TAMPERED, Outcome.REPLACED_INVALID, 1),
        (RawToken(b"rubbish"), Outcome.REPLACED_INVALID, 1),
        (token(identity=BOB), Outcome.REPLACED_OTHER_IDENTITY, 1),
        (token(exp=NEAR, identity=BOB), Outcome.REPLACED_OTHER_IDENTITY, 1),
        (token(exp=DUE, identity=BOB), Outcome.REPLACED_OTHER_IDENTITY, 1),
        (token(exp=DEAD, identity=BOB), Outcome.REPLACED_OTHER_IDENTITY, 1),
    ],
)
async def test_the_table(current: RawToken | None, outcome: Outcome, mints: int) -> None:
    """DESIGN §10."""
    w = world()
    issued = await issue(w, current)
    assert issued.outcome is outcome
    assert issued.rotated is (mints == 1)
    assert w.issuer.calls == [ADA] * mints
    assert await owner(w, issued) == ADA
    assert issued.expires_at == (
        NOW + 1800 if mints else (await w.gate.entry(issued.token)).genuine.claims.expires_at
    )


@pytest.mark.parametrize(
    ("current", "error"),
    [
        (TAMPERED, SignatureInvalid),
        (token(exp=DEAD), TokenExpired),
        (token(identity=BOB), ClaimInvalid),
    ],
)
async def test_where_bad_tokens_are_refused_they_make_no_new_one(
    current: RawToken, error: type[Exception]
) -> None:
    w = world()
    with pytest.raises(error):
        await issue(w, current, refuse=True)
    assert w.issuer.calls == []
    assert (await issue(w, token(exp=NEAR), refuse=True)).outcome is Outcome.ROTATED


async def test_bob_with_adas_token_gets_one_of_his_own() -> None:
    """VENDOR §4: also when Ada's has a successor already, which is hers."""
    w = world()
    ada = await issue(w, token(exp=NEAR))
    bob = await issue(w, token(exp=NEAR), BOB)
    assert bob.token != ada.token
    assert await owner(w, bob) == BOB
    assert (await issue(w, token(exp=NEAR))).token == ada.token


@pytest.mark.parametrize(
    "near", [Identity(name="ada", email=ADA.email), Identity(name="Ada", email="a@b.cc")]
)
async def test_half_the_identity_is_another_identity(near: Identity) -> None:
    assert (await issue(world(), token(), near)).outcome is Outcome.REPLACED_OTHER_IDENTITY


async def test_it_gives_what_the_middleware_gives_and_asks_the_issuer_once() -> None:
    w = world()
    raw = token(exp=NEAR)
    issued = await issue(w, raw)
    outcome = await w.admit(raw)
    assert isinstance(outcome, Admitted)
    assert outcome.delivery is not None
    successor = await outcome.delivery.wait()
    assert successor is not None
    assert successor.token == issued.token
    assert len(w.issuer.calls) == 1


async def test_a_mint_that_fails_takes_no_valid_token_away() -> None:
    w = world()
    w.issuer.failure = Unavailable()
    issued = await issue(w, token(exp=NEAR))
    assert (issued.token, issued.outcome, issued.expires_at) == (token(exp=NEAR), Outcome.SAME, NEAR)


@pytest.mark.parametrize("failure", [Unavailable(retry_after=3), TokenRefused()])
@pytest.mark.parametrize("current", [None, token(exp=DUE)])
async def test_without_a_valid_token_the_failure_is_the_answer(
    failure: Exception, current: RawToken | None
) -> None:
    w = world()
    w.issuer.failure = failure
    with pytest.raises(type(failure)):
        await issue(w, current)


class NoKeys(StaticJwks):
    """Keys that nobody can have."""

    @property
    def recheck_at(self) -> MonotonicTime:
        return MonotonicTime(float("-inf"))

    async def recheck(self) -> None:
        raise Unavailable


@pytest.mark.parametrize("refuse", [True, False])
async def test_without_keys_a_token_is_neither_good_nor_bad_and_nothing_is_minted(refuse: bool) -> None:
    """VENDOR §4: any failure turned into a mint would hand tokens out for as long as an outage lasts."""
    w = world(keys=NoKeys(jwks("rsa"), algorithms=ALGORITHMS))
    with pytest.raises(Unavailable):
        await issue(w, token(), refuse=refuse)
    assert w.issuer.calls == []


async def test_who_fails_too_often_gets_no_more_signatures_checked_here_either() -> None:
    clock = HeldClock()
    w = world(clock=clock, failed_verification=MemoryLimiter(1, 60, clock))
    assert (await issue(w, TAMPERED)).outcome is Outcome.REPLACED_INVALID
    with pytest.raises(TooManyRequests):
        await issue(w, TAMPERED)
    assert len(w.issuer.calls) == 1


@pytest.mark.parametrize(
    ("minted", "reason"),
    [
        (token(key="unpublished"), "key_unknown"),
        (RawToken(b"rubbish\r\nx: y"), "malformed"),
        (token(exp=NOW), "expired"),
        (token(exp=NOW - 1), "expired"),
    ],
)
async def test_what_the_issuer_mints_is_verified_before_anyone_gets_it(
    minted: RawToken, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    w = world()
    w.issuer.answer = lambda _: minted
    with caplog.at_level(logging.INFO, logger="guestpass"), pytest.raises(Unavailable):
        await issue(w)
    discarded = [r for r in caplog.records if getattr(r, "event", "") == events.SUCCESSOR_DISCARDED]
    assert [record.fields["reason"] for record in discarded] == [reason]  # type: ignore[attr-defined]
    assert w.gate.rotation.health.closed_for() > 0


async def test_every_mint_says_why_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    w = world()
    with caplog.at_level(logging.INFO, logger="guestpass"):
        for current in (None, TAMPERED, token(exp=DEAD), token(identity=BOB)):
            await issue(w, current)
    minted = [r for r in caplog.records if getattr(r, "event", "") == events.ENDPOINT_MINTED]
    reasons = [record.fields["reason"] for record in minted]  # type: ignore[attr-defined]
    assert reasons == ["first", "replaced_invalid", "replaced_expired", "replaced_other_identity"]


async def test_an_issuer_that_hangs_is_given_up_and_left_alone() -> None:
    w = world(policy=Policy(spread=0, mint_deadline=0.02))
    w.issuer.hold = anyio.Event()
    with anyio.fail_after(5):
        for _ in range(3):
            with pytest.raises(Unavailable):
                await issue(w)
    assert len(w.issuer.calls) == 1


async def test_a_visitor_who_leaves_does_not_undo_the_issuers_work() -> None:
    w = world()
    w.issuer.hold = anyio.Event()
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(issue, w)
            await w.issuer.asked.wait()
            tasks.cancel_scope.cancel()
            w.issuer.hold.set()
    assert w.gate.rotation.minted == 1


async def test_a_first_token_is_never_shared() -> None:
    """No cache by name or e-mail, ever: whoever knows an address would get its owner's session."""
    w = world()
    w.issuer.answer = lambda identity: token(identity=identity, jti=str(len(w.issuer.calls)))
    first, second = await issue(w), await issue(w)
    assert first.token != second.token
    assert w.issuer.calls == [ADA, ADA]
