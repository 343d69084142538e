"""The token endpoint's use case: a name, an e-mail and perhaps a current token in, a token out.

Nobody ever gets a token that was minted for someone else: a current token that does not fit the identity
asked for is treated as if none had been sent (or refused, if so configured).
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import assert_never

from guestpass import events
from guestpass.core.decision import Forward, Genuine, Reject, Rotate, decide
from guestpass.core.model import Identity, RawToken, UnixTime
from guestpass.core.shares import Priority
from guestpass.errors import ClaimInvalid, GuestpassError, MintBudgetSpent, TokenError, TooManyRequests
from guestpass.gate import Gate
from guestpass.minting import mint_first


class Outcome(StrEnum):
    """Why the endpoint answered as it did: the label of a metric, and of a log line."""

    FIRST = "first"
    SAME = "same"
    ROTATED = "rotated"
    REPLACED_EXPIRED = "replaced_expired"
    REPLACED_INVALID = "replaced_invalid"
    REPLACED_OTHER_IDENTITY = "replaced_other_identity"


@dataclass(frozen=True, slots=True)
class Issued:
    """What the endpoint hands out. `expires_at` is the token's own "exp", never an invented one."""

    token: RawToken
    expires_at: UnixTime
    outcome: Outcome

    @property
    def rotated(self) -> bool:
        """Whether the token differs from the one that was sent."""
        return self.outcome is not Outcome.SAME


class Exchange:
    """Hands out tokens over a gate."""

    def __init__(self, gate: Gate, *, refuse_invalid: bool = False) -> None:
        """Stand over `gate`.

        Args:
            gate: Its verifier, issuer, policy and rotation are used.
            refuse_invalid: Answer a current token that is no good with `invalid_token` in place of a
                new token.
        """
        self.gate = gate
        self.refuse_invalid = refuse_invalid

    async def issue(self, identity: Identity, current: RawToken | None, *, client: str = "") -> Issued:
        """The token for `identity`: the current one, its successor, or a new one.

        Raises:
            TokenError: The current token is no good, and such tokens are refused.
            TokenRefused: The issuer will not mint for this identity.
            TooManyRequests: This client sent too many tokens that were not genuine.
            IssuerMisconfigured: The issuer refuses our own credentials.
            Unavailable: The issuer or its keys cannot be had; never answered with a mint.
        """
        if current is None:
            return await self._mint(identity, Outcome.FIRST)
        try:
            entry = await self.gate.entry(current, client=client)
        except TokenError as error:
            return await self._replace(identity, Outcome.REPLACED_INVALID, error)
        if entry.genuine.claims.minted_for != identity:
            other = ClaimInvalid("identity", "the current token is for another one")
            return await self._replace(identity, Outcome.REPLACED_OTHER_IDENTITY, other)
        gone_on = await _gone_on(self.gate, current, entry.genuine)
        if isinstance(gone_on, TokenError):
            return await self._replace(identity, Outcome.REPLACED_EXPIRED, gone_on)
        return gone_on

    async def _replace(self, identity: Identity, outcome: Outcome, error: TokenError) -> Issued:
        if self.refuse_invalid:
            raise error
        return await self._mint(identity, outcome)

    async def _mint(self, identity: Identity, outcome: Outcome) -> Issued:
        gate = self.gate
        minted = None if gate.pool is None else await gate.pool.take(identity)
        if minted is None:
            try:
                minted = await mint_first(gate.rotation, identity, Priority.FIRST)
            except MintBudgetSpent as exc:
                raise TooManyRequests(str(exc), retry_after=exc.retry_after) from exc
        events.emit(events.ENDPOINT_MINTED, reason=outcome.value)
        return Issued(minted.token, minted.expires_at, outcome)


async def go_on(gate: Gate, current: RawToken, genuine: Genuine) -> Issued:
    """The current token while it is fresh, its successor from then on.

    Raises:
        TokenError: It is past its grace, or expired and the issuer refuses a successor.
        Fault: It has expired, and no successor can be had now.
    """
    gone_on = await _gone_on(gate, current, genuine)
    if isinstance(gone_on, TokenError):
        raise gone_on
    return gone_on


async def _gone_on(gate: Gate, current: RawToken, genuine: Genuine) -> Issued | TokenError:
    """As `go_on`, but that the token is past everything is a value: what the issuer refuses is not."""
    decision = decide(genuine, gate.policy, anonymous=False, now=gate.clock.time())
    match decision:
        case Forward():
            return Issued(current, genuine.claims.expires_at, Outcome.SAME)
        case Rotate(_, required):
            try:
                deadline = gate.policy.mint_deadline
                successor = await gate.rotation.rotate(current, genuine, deadline=deadline)
            except GuestpassError:
                if required:
                    raise
                # A failed mint never takes a valid token away from anyone.
                return Issued(current, genuine.claims.expires_at, Outcome.SAME)
            return Issued(successor.token, successor.expires_at, Outcome.ROTATED)
        case Reject(error):
            return error
    assert_never(decision)
