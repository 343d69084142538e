"""Verdict in, decision out: forward a token, rotate it, or reject it. Pure arithmetic on instants.

|---- fresh ----|-- prefetch --|---- rotate ----| exp + leeway |-- grace --| rejected
                ^ mint ahead   ^ deliver the successor          ^ successor first, or rejected
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Final, assert_never

from guestpass.core.model import Claims, Policy, Thumbprint, TokenId, UnixTime
from guestpass.errors import SessionExpired, TokenError, TokenExpired, TokenMissing


@dataclass(frozen=True, slots=True)
class Absent:
    """The request carries no token."""


@dataclass(frozen=True, slots=True)
class Invalid:
    """The request carries a token that is not genuine."""

    error: TokenError


@dataclass(frozen=True, slots=True)
class Genuine:
    """Signature and every claim but "exp" hold.

    Attributes:
        claims: What was signed.
        token_id: The digest of the token.
        key: The thumbprint of the key that verified it; None where there was no key (an opaque token).
        chain_started_at: When the first token of this one's chain was issued; None if nobody knows, in
            which case the token counts as its own first.
    """

    claims: Claims
    token_id: TokenId
    key: Thumbprint | None = None
    chain_started_at: UnixTime | None = None


Verdict = Absent | Invalid | Genuine


@dataclass(frozen=True, slots=True)
class Forward:
    """Pass the request on: with these claims, or as anonymous.

    `prefetch`: its successor should be minted in the background, as the rotation window is near.
    """

    genuine: Genuine | None
    prefetch: bool = False


@dataclass(frozen=True, slots=True)
class Rotate:
    """Deliver the successor. `required`: the token no longer passes by itself, so mint first."""

    genuine: Genuine
    required: bool


@dataclass(frozen=True, slots=True)
class Reject:
    """Answer in place of the app."""

    error: TokenError


Decision = Forward | Rotate | Reject


class Phase(IntEnum):
    """Where in its life a token is, in order."""

    FRESH = 0
    PREFETCH = 1
    ROTATE = 2
    EXPIRED = 3
    REFUSED = 4
    ENDED = 5


# By name, as in Python 3.11 each look-up of an enum's member through its class takes 0.1 us.
_FRESH, _PREFETCH, _ROTATE, _EXPIRED, _REFUSED, _ENDED = Phase


@dataclass(frozen=True, slots=True)
class Schedule:
    """The instants at which a token's treatment changes, in order; computed once per token.

    Attributes:
        prefetch_at: From here its successor is minted ahead.
        rotate_at: From here its successor is delivered.
        expires_at: "exp" + leeway: from here it does not pass by itself.
        refused_at: From here it cannot be exchanged any more.
        session_ends_at: From here its chain is too old, whatever its own "exp"; infinity if unlimited.
    """

    prefetch_at: UnixTime
    rotate_at: UnixTime
    expires_at: UnixTime
    refused_at: UnixTime
    session_ends_at: UnixTime

    def phase(self, now: UnixTime) -> Phase:
        """Where the token is at `now`; never moves back as `now` grows."""
        if now >= self.session_ends_at:
            return _ENDED
        if now >= self.refused_at:
            return _REFUSED
        if now >= self.expires_at:
            return _EXPIRED
        if now >= self.rotate_at:
            return _ROTATE
        return _PREFETCH if now >= self.prefetch_at else _FRESH


_FOR_EVER: Final = float("inf")
_QUARTER: Final = 0.25
_MOST: Final = 300.0
_FIFTH: Final = 0.2
_THREE_QUARTERS: Final = 0.75
_UNKNOWN_LIFETIME: Final = 1800.0


def schedule(genuine: Genuine, policy: Policy) -> Schedule:
    """Place a token's instants on the wall clock.

    Args:
        genuine: The verified token.
        policy: Windows in seconds, relative to "exp".
    """
    return place(
        expires_at=genuine.claims.expires_at,
        issued_at=genuine.claims.issued_at,
        chain_started_at=genuine.chain_started_at,
        # Derived from the digest, so that every worker and host moves this token by the same amount.
        part=int.from_bytes(genuine.token_id[:4], "big") / 2**32,
        policy=policy,
    )


def place(
    *,
    expires_at: UnixTime,
    issued_at: UnixTime | None,
    chain_started_at: UnixTime | None,
    part: float,
    policy: Policy,
) -> Schedule:
    """As `schedule`, of a token known by its instants alone: the simulation has millions of them.

    Args:
        expires_at: Its "exp".
        issued_at: Its "iat".
        chain_started_at: As in `Genuine`: None for the first token of a chain.
        part: By which part of the spread its rotation point moves, 0 to 1.
        policy: Windows in seconds, relative to "exp".
    """
    exp = expires_at
    lifetime = _UNKNOWN_LIFETIME if issued_at is None else max(0.0, exp - issued_at)
    window = min(_MOST, _QUARTER * lifetime) if policy.rotate_before is None else policy.rotate_before
    first = chain_started_at is None and issued_at is not None
    rotate_at = exp - window - part * _spread(lifetime, window, policy, first=first)
    started = chain_started_at
    if started is None:
        started = issued_at if issued_at is not None else UnixTime(exp - lifetime)
    age = _FOR_EVER if policy.max_session_age is None else policy.max_session_age
    return Schedule(
        prefetch_at=UnixTime(rotate_at - min(policy.prefetch, _FIFTH * window)),
        rotate_at=UnixTime(rotate_at),
        expires_at=UnixTime(exp + policy.leeway),
        refused_at=UnixTime(exp + max(policy.grace, policy.leeway)),
        session_ends_at=UnixTime(started + age),
    )


def _spread(lifetime: float, window: float, policy: Policy, *, first: bool) -> float:
    """By how many seconds at most a rotation point moves earlier.

    Guests who arrive in one minute rotate in one minute, for ever after, unless something parts them. A
    spread of P parts them by P once, and later rotations keep them apart, as every later token lives
    equally long; so a wide one is for the first token of a chain alone, which pays for it once. With three
    quarters of its life before the window, a crowd's mints come at 4/3 of their mean rate over the
    rotation period instead of 12 times (measured with `guestpass simulate`; with two thirds, 3/2).

    Where the window is shorter than the usual one, so is the spread, in proportion.
    """
    most = _THREE_QUARTERS * max(0.0, lifetime - window) if first else _FIFTH * window
    return min(policy.spread * min(1.0, window / _MOST), most)


def decide(verdict: Verdict, policy: Policy, *, anonymous: bool, now: UnixTime) -> Decision:
    """Choose what happens to a request; total, pure, and monotone in time.

    `Genuine` says the signature and every claim but "exp" hold: expiry is not a fault here, it is the
    question. A token expires *on* its "exp" plus leeway (RFC 7519 §4.1.4).

    Args:
        verdict: What the verifier found.
        policy: Windows in seconds, relative to "exp".
        anonymous: Whether the route lets a request without a token pass; a bad token never does.
        now: Wall-clock seconds since the epoch (NumericDate, RFC 7519 §2).
    """
    match verdict:
        case Absent():
            return Forward(None) if anonymous else Reject(TokenMissing())
        case Invalid(error):
            return Reject(error)
        case Genuine():
            return _in_phase(schedule(verdict, policy).phase(now), verdict)
    assert_never(verdict)


def _in_phase(phase: Phase, genuine: Genuine) -> Decision:
    match phase:
        case Phase.FRESH | Phase.PREFETCH:
            return Forward(genuine, prefetch=phase is Phase.PREFETCH)
        case Phase.ROTATE | Phase.EXPIRED:
            return Rotate(genuine, required=phase is Phase.EXPIRED)
        case Phase.REFUSED:
            return Reject(TokenExpired())
        case Phase.ENDED:
            return Reject(SessionExpired())
    assert_never(phase)
