"""Verdict in, decision out: forward a token, rotate it, or reject it. Pure arithmetic on instants.

|---- fresh ----|-- prefetch --|---- rotate ----| exp + leeway |-- grace --| rejected
                ^ mint ahead   ^ deliver the successor          ^ successor first, or rejected
"""

from dataclasses import dataclass
from typing import assert_never

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


_QUARTER = 0.25
_MOST = 300.0
_FIFTH = 0.2
_UNKNOWN_LIFETIME = 1800.0


def schedule(genuine: Genuine, policy: Policy) -> Schedule:
    """Place a token's instants on the wall clock.

    Args:
        genuine: The verified token.
        policy: Windows in seconds, relative to "exp".
    """
    claims = genuine.claims
    exp = claims.expires_at
    lifetime = _UNKNOWN_LIFETIME if claims.issued_at is None else max(0.0, exp - claims.issued_at)
    window = min(_MOST, _QUARTER * lifetime) if policy.rotate_before is None else policy.rotate_before
    # Derived from the digest, so that every worker and host moves this token by the same amount.
    share = int.from_bytes(genuine.token_id[:4], "big") / 2**32
    rotate_at = exp - window - share * min(policy.spread, _FIFTH * window)
    started = genuine.chain_started_at
    if started is None:
        started = claims.issued_at if claims.issued_at is not None else UnixTime(exp - lifetime)
    age = float("inf") if policy.max_session_age is None else policy.max_session_age
    return Schedule(
        prefetch_at=UnixTime(rotate_at - min(policy.prefetch, _FIFTH * window)),
        rotate_at=UnixTime(rotate_at),
        expires_at=UnixTime(exp + policy.leeway),
        refused_at=UnixTime(exp + max(policy.grace, policy.leeway)),
        session_ends_at=UnixTime(started + age),
    )


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
            at = schedule(verdict, policy)
            if now >= at.session_ends_at:
                return Reject(SessionExpired())
            if now >= at.refused_at:
                return Reject(TokenExpired())
            if now >= at.rotate_at:
                return Rotate(verdict, required=now >= at.expires_at)
            return Forward(verdict, prefetch=now >= at.prefetch_at)
    assert_never(verdict)
