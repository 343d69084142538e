"""Mints a first token: within budget, back-off and deadline, and verified before anyone gets it."""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import anyio

from guestpass import events
from guestpass.core.decision import Invalid
from guestpass.core.model import Identity, RawToken, UnixTime
from guestpass.core.shares import Priority
from guestpass.errors import Fault, MintBudgetSpent, Unavailable
from guestpass.rotation import Rotation


@dataclass(frozen=True, slots=True)
class Minted:
    """A token of the issuer's, verified by us. `expires_at` is its own "exp", never an invented one."""

    token: RawToken
    expires_at: UnixTime


async def mint_first(rotation: Rotation, identity: Identity, priority: Priority) -> Minted:
    """Mint a token that is nobody's successor, for `identity`; otherwise as `ask_first`.

    Raises:
        TokenRefused: The issuer will not mint for this identity.
    """
    return await ask_first(rotation, lambda: rotation.issuer.mint(identity), priority)


async def ask_first(rotation: Rotation, ask: Callable[[], Awaitable[RawToken]], priority: Priority) -> Minted:
    """Have the issuer asked for a token that is nobody's successor.

    Args:
        rotation: Its verifier, budget and back-off are used.
        ask: The call of the issuer; whatever it raises is raised.
        priority: How much of the budget this call may use.

    Raises:
        IssuerMisconfigured: The issuer refuses our own credentials.
        MintBudgetSpent: The budget is used up for this priority.
        Unavailable: No answer, or one that is not a genuine token.
    """
    health = rotation.health
    await health.learn()
    health.check()
    if (wait := await rotation.budget.take(priority)) is not None:
        raise MintBudgetSpent("the mint budget is used up", retry_after=wait)
    try:
        # Shielded: a visitor who leaves must not make the issuer's work be lost uncounted.
        with anyio.move_on_after(rotation.policy.mint_deadline, shield=True), health.observing():
            token = await ask()
            rotation.minted += 1
            return await _verified(rotation, token)
        raise health.failed(Unavailable("the issuer did not answer in time"))
    except Fault:
        await health.tell()
        raise


async def _verified(rotation: Rotation, token: RawToken) -> Minted:
    verdict = await rotation.verifier.verify(token)
    if isinstance(verdict, Invalid) or verdict.claims.expires_at <= rotation.clock.time():
        reason = verdict.error.reason if isinstance(verdict, Invalid) else "expired"
        events.emit(events.SUCCESSOR_DISCARDED, level=logging.WARNING, reason=reason)
        raise Unavailable("the issuer minted a token that is not genuine")
    return Minted(token, verdict.claims.expires_at)
