"""Verified payload in, claims out: every rule on a claims set but expiry (RFC 7519 §4, RFC 8725 §3.8-3.9)."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any, Final

from guestpass.core.jws import VerifiedPayload
from guestpass.core.model import Claims, UnixTime
from guestpass.errors import ClaimInvalid, ConfigError

LAST_INSTANT: Final = 253_402_300_799
"""9999-12-31T23:59:59Z: the last second that ISO 8601 and `datetime` can say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimRules:
    """What a claims set must say.

    Attributes:
        issuer: "iss", compared octet by octet. One, as one set of keys speaks for one issuer only.
        audience: "aud" must name one of these; None: it is not asked for, whatever it says.
        leeway: Seconds of clock difference granted to "nbf" and "iat".
        max_lifetime: Most seconds from "iat" to "exp"; None: any.
        name_claim: Where the guest's name stands.
        email_claim: Where the guest's e-mail address stands.
    """

    issuer: str
    audience: frozenset[str] | None = None
    leeway: float = 30.0
    max_lifetime: float | None = None
    name_claim: str = "name"
    email_claim: str = "email"

    def __post_init__(self) -> None:
        for name in ("issuer", "name_claim", "email_claim"):
            if not getattr(self, name):
                raise ConfigError(f"verify.{name}", "must not be empty")
        if self.audience is not None and not (self.audience and all(self.audience)):
            raise ConfigError("verify.audience", "must name at least one audience, none of them empty")
        if not (isfinite(self.leeway) and self.leeway >= 0):
            raise ConfigError("verify.leeway", "must be a finite number of seconds, zero or more")
        if self.max_lifetime is not None and not (isfinite(self.max_lifetime) and self.max_lifetime > 0):
            raise ConfigError("verify.max_lifetime", "must be a finite number of seconds above zero")


def read(payload: VerifiedPayload, rules: ClaimRules, *, now: UnixTime) -> Claims:
    """Read the claims of a token, expired or not: a genuine token past its "exp" may still be rotated.

    Args:
        payload: What was signed.
        rules: What it must say.
        now: Wall-clock seconds since the epoch (NumericDate, RFC 7519 §2).

    Raises:
        ClaimInvalid: A claim is missing, of the wrong type, or breaks its rule. No value is quoted.
    """
    members = payload.members
    issuer = _text(members, "iss", "iss")
    if issuer != rules.issuer:
        raise ClaimInvalid("iss", "is not the configured issuer")
    audience = _audience(members)
    if rules.audience is not None and rules.audience.isdisjoint(audience):
        raise ClaimInvalid("aud", "does not name us")
    expires_at = _instant(members, "exp")
    if expires_at is None:
        raise ClaimInvalid("exp", "is required")
    issued_at = _instant(members, "iat")
    for claim, start in (("iat", issued_at), ("nbf", _instant(members, "nbf"))):
        if start is not None and start > now + rules.leeway:
            raise ClaimInvalid(claim, "lies in the future")
    if rules.max_lifetime is not None:
        if issued_at is None:
            raise ClaimInvalid("iat", "is required where lifetimes are limited")
        if expires_at - issued_at > rules.max_lifetime:
            raise ClaimInvalid("exp", "is too long after iat")
    return Claims(
        issuer=rules.issuer,  # equal, and one string for all remembered tokens
        subject=_text(members, "sub", "sub"),
        expires_at=expires_at,
        issued_at=issued_at,
        name=_text(members, rules.name_claim, "name"),
        email=_text(members, rules.email_claim, "email"),
        payload=payload.raw,
    )


def _text(members: Mapping[str, Any], member: str, claim: str) -> str:
    """The string at `member`, or "" if there is none; `claim` is our word for it in an error."""
    value = members.get(member, "")
    if not isinstance(value, str):
        raise ClaimInvalid(claim, "is not a string")
    return value


def _audience(members: Mapping[str, Any]) -> tuple[str, ...]:
    value = members.get("aud", [])
    if isinstance(value, str):
        return (value,)
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ClaimInvalid("aud", "is not a string or a list of strings")
    return tuple(value)


def _instant(members: Mapping[str, Any], claim: str) -> UnixTime | None:
    if claim not in members:
        return None
    value = members[claim]
    # JSON true is 1 in Python, and not a number. The range ends where a date can still be written, and so
    # refuses NaN, infinities and what float arithmetic would lose.
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= LAST_INSTANT:
        raise ClaimInvalid(claim, "is not a NumericDate")
    return UnixTime(value)
