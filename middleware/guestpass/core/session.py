"""Tokens that no published key verifies: what our own record of them says, and what they say themselves."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from guestpass.core import base64url, strict_json
from guestpass.core.claims import LAST_INSTANT
from guestpass.core.model import Claims, RawToken, TokenId, UnixTime

LONGEST: Final = 900.0
"""Seconds: the vendor's tokens of this kind live no longer, whatever one of them may say."""

_NO_TOKEN: Final = UnixTime(0.0)
_PARTS: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """An authorization code, and what was sent to get it (RFC 6749 §4.1.3, RFC 7636 §4.5)."""

    code: str = field(repr=False)
    redirect_uri: str
    code_verifier: str | None = field(default=None, repr=False)
    nonce: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """One token that was issued to us, and by us to a guest.

    Attributes:
        session: The name of the session that it belongs to.
        subject: Who the guest is, if the token does not say so itself.
        issued_at: When it was had.
        expires_at: When it ends.
    """

    session: str
    subject: str
    issued_at: UnixTime
    expires_at: UnixTime


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One login of a guest at the vendor.

    Attributes:
        name: Random; means nothing to anyone else.
        subject: Who the guest is, from the first token on.
        refresh_token: What the next token is had for. Never leaves the server.
        tokens: Every token of it that may still be alive, and until when it has to be remembered.
        latest: The youngest of them; None before there is one.
        latest_ends: When that one ends.
    """

    name: str
    subject: str
    refresh_token: str = field(repr=False)
    tokens: Mapping[TokenId, UnixTime]
    latest: RawToken | None = None
    latest_ends: UnixTime = _NO_TOKEN

    @property
    def until(self) -> UnixTime:
        """When its last token is past everything, so that nobody can ask for another one."""
        return max(self.tokens.values())

    def later_than(self, recorded: Recorded, *, now: UnixTime) -> RawToken | None:
        """The token that whoever carries an earlier one is to have, if it was had already and is alive."""
        return self.latest if self.latest_ends > max(recorded.expires_at, now) else None

    def merged(self, other: "Session", *, now: UnixTime) -> "Session":
        """Both, where two have gone on from one state: what belongs to the youngest token, and all others.

        Those that nobody has to remember any more are left out.
        """
        ahead = self if self.latest_ends >= other.latest_ends else other
        tokens = {**other.tokens, **self.tokens}
        return replace(ahead, tokens={known: until for known, until in tokens.items() if now < until})


def unverified_members(token: RawToken) -> dict[str, Any]:
    """The claims set of a token that came from the vendor itself; empty if it is no readable JWT.

    Nothing proves them but the way they came: never call it on a token that a client sent, unless our own
    record knows that token, octet by octet.
    """
    parts = token.compact.split(b".")
    if len(parts) != _PARTS:
        return {}
    try:
        return strict_json.loads_object(base64url.decode(parts[1]))
    except ValueError:
        return {}


def expiry(members: Mapping[str, Any], *, now: UnixTime) -> UnixTime:
    """When a token that was had at `now` ends: by its own "exp" if that is sooner than the vendor's limit."""
    limit = UnixTime(now + LONGEST)
    exp = members.get("exp")
    if isinstance(exp, bool) or not isinstance(exp, int | float) or not 0 <= exp <= LAST_INSTANT:
        return limit
    return min(UnixTime(exp), limit)


def recorded_claims(token: RawToken, recorded: Recorded, *, name_claim: str, email_claim: str) -> Claims:
    """The claims of a token that our record knows: its own, but for the instants, which the record has."""
    members = unverified_members(token)
    members["sub"] = _text(members, "sub") or recorded.subject
    return Claims(
        issuer=_text(members, "iss"),
        subject=members["sub"],
        expires_at=recorded.expires_at,
        issued_at=recorded.issued_at,
        name=_text(members, name_claim),
        email=_text(members, email_claim),
        payload=json.dumps(members, separators=(",", ":")).encode(),
    )


def _text(members: Mapping[str, Any], name: str) -> str:
    value = members.get(name)
    return value if isinstance(value, str) else ""
