"""The values that every room speaks of: tokens, claims, instants, policy."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final, Literal, NewType

from guestpass.errors import ConfigError

UnixTime = NewType("UnixTime", float)
"""A wall-clock instant: seconds since the epoch (NumericDate, RFC 7519 §2). For claims."""

MonotonicTime = NewType("MonotonicTime", float)
"""An instant of a clock that never steps: seconds from an arbitrary start. For caches and deadlines."""

TokenDigest = NewType("TokenDigest", bytes)
"""SHA-256 of a token's compact serialization, 32 bytes: one spelling of one token, good or forged."""

TokenId = NewType("TokenId", bytes)
"""SHA-256 of a token's signing input (RFC 7515 §5.1), 32 bytes: names what was signed, without holding it.

The signature is left out because whoever holds an ECDSA token can write a second valid signature for it,
(r, n - s), without the key: two spellings must not be two tokens to rotate or to revoke. It is an identity
for verified tokens only; a forged signature shares it.
"""

Thumbprint = NewType("Thumbprint", str)
"""JWK SHA-256 thumbprint (RFC 7638): names a key by its content, whatever kid it is published under."""

Header = tuple[bytes, bytes]
"""One field line as ASGI has it: (lower-case name, value)."""


def token_digest(compact: bytes) -> TokenDigest:
    """The key of a cache of verdicts on tokens: every octet counts."""
    return sha256(compact).digest()  # type: ignore[return-value]  # a NewType's call costs as much as a look-up


class RawToken:
    """A token as it came, in compact serialization (RFC 7515 §7.1); nothing about it is trusted yet.

    It has no useful repr, so that no log, traceback or assertion can leak it.
    """

    __slots__ = ("_id", "compact")

    def __init__(self, compact: bytes) -> None:
        self.compact = compact
        self._id: TokenId | None = None

    @property
    def digest(self) -> TokenDigest:
        """The key of a cache of verdicts."""
        return token_digest(self.compact)

    @property
    def id(self) -> TokenId:
        """The name under which stores and logs know the token, once it is verified."""
        if self._id is None:
            signed, _, _ = self.compact.rpartition(b".")
            is_jws = signed.count(b".") == 1  # of an opaque token every octet counts
            self._id = TokenId(sha256(signed if is_jws else self.compact).digest())
        return self._id

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RawToken) and self.compact == other.compact

    def __hash__(self) -> int:
        return hash(self.compact)

    def __repr__(self) -> str:
        return f"RawToken(id={short(self.id)})"


def short(token_id: TokenId) -> str:
    """The first 12 hex digits of a digest: enough to follow one token through a log."""
    return token_id[:6].hex()


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What a token is minted for: the two fields that the issuer is asked with."""

    name: str
    email: str

    def __repr__(self) -> str:
        return "Identity(<redacted>)"  # personal data; it may stand in a traceback


@dataclass(frozen=True, slots=True, repr=False)
class Guest:
    """Who sent a request; the app finds it in `scope["state"]["guest"]`.

    It also answers what starlette asks of `scope["user"]`.

    Attributes:
        subject: "sub", or "".
        name: The guest's name, or "".
        email: The guest's e-mail address, or "".
        expires_at: When the token expires; infinity where there is none.
        anonymous: Whether the request came without a token.
        payload: The claims set as it was signed: UTF-8 JSON. Kept in place of the parsed mapping, which
            costs four times the memory in a cache of many tokens.
    """

    subject: str
    name: str
    email: str
    expires_at: UnixTime
    anonymous: bool
    payload: bytes = b"{}"

    @property
    def claims(self) -> Mapping[str, Any]:
        """Every verified claim, parsed anew at each call: most apps never ask."""
        claims: dict[str, Any] = json.loads(self.payload)
        return claims

    @property
    def is_authenticated(self) -> bool:
        """Whether a token was verified (starlette's `BaseUser`)."""
        return not self.anonymous

    @property
    def display_name(self) -> str:
        """The guest's name (starlette's `BaseUser`)."""
        return self.name

    @property
    def identity(self) -> str:
        """The guest's subject (starlette's `BaseUser`)."""
        return self.subject

    def __repr__(self) -> str:
        who = "anonymous" if self.anonymous else "<redacted>"
        return f"Guest({who}, expires_at={self.expires_at!r})"  # personal data; it may stand in a traceback


ANONYMOUS: Final = Guest(subject="", name="", email="", expires_at=UnixTime(float("inf")), anonymous=True)
"""A request without a token on a route where a token is optional."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims(Guest):
    """A verified claims set (RFC 7519 §4), and so a guest with a token. Only `core.claims.read` makes one.

    One value for us and for the app: two would say the same, and each remembered token would hold both.

    Attributes:
        issuer: "iss".
        issued_at: "iat", or None.
    """

    issuer: str
    issued_at: UnixTime | None
    payload: bytes
    anonymous: bool = field(default=False, init=False)

    @property
    def minted_for(self) -> Identity:
        """The identity that a successor is minted for."""
        return Identity(name=self.name, email=self.email)

    def __repr__(self) -> str:
        return f"Claims(issuer={self.issuer!r}, expires_at={self.expires_at!r}, <redacted>)"


@dataclass(frozen=True, slots=True)
class Successor:
    """The one token that replaces an old one, for everyone who still carries the old one.

    Attributes:
        token: The successor itself.
        expires_at: Its "exp", from our own verification, never from the issuer's word.
        chain_started_at: When the first token of its chain of rotations was issued.
    """

    token: RawToken
    expires_at: UnixTime
    chain_started_at: UnixTime


def _positive(field: str, value: float | None, *, zero: bool = True) -> None:
    if value is None:
        return
    if not (value >= 0 if zero else value > 0) or value == float("inf"):
        rule = "a finite number of seconds, zero or more" if zero else "a finite number of seconds above zero"
        raise ConfigError(field, f"must be {rule}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Windows and deadlines, all in seconds; instants are relative to a token's "exp".

    Attributes:
        leeway: Clock difference granted to "exp", "nbf" and "iat".
        grace: How long past "exp" a genuine token may still be exchanged for its successor; a grace
            shorter than the leeway grants nothing beyond it.
        rotate_before: The rotation window before "exp". None: the smaller of 300 s and a quarter of the
            token's lifetime; a number is taken as it stands.
        prefetch: How long before the rotation window the successor is minted in the background.
        spread: By how much a token's rotation point may move earlier, derived from its id, so that tokens
            minted together do not rotate together. The first token of a chain moves by up to three quarters
            of its life before the window, later ones by up to a fifth of the window; all by less where the
            window is under five minutes. For crowds who arrive within a minute set it to two thirds of a
            token's life (`guestpass simulate`), at the price of up to a fifth more mints.
        rotation_wait: How long a response may wait for a successor that is being minted.
        mint_deadline: The most that one mint may take, retries included.
        backoff: How long a token is left alone after a mint for it failed or did not expire later.
        max_session_age: The most that a chain of rotations may last; None: for ever.
        max_lifetime: The longest lifetime ("exp" - "iat") that is accepted; None: any.
        on_subject_change: What happens to a successor whose subject differs from its predecessor's:
            `flag` logs and accepts it, `refuse` discards it.

    `prefetch` never takes more than a fifth of the rotation window, and neither does the spread of a
    successor, so that short-lived tokens are not rotated for most of their life.
    """

    leeway: float = 30.0
    grace: float = 60.0
    rotate_before: float | None = None
    prefetch: float = 60.0
    spread: float = 60.0
    rotation_wait: float = 1.0
    mint_deadline: float = 8.0
    backoff: float = 60.0
    max_session_age: float | None = 86_400.0
    max_lifetime: float | None = None
    on_subject_change: Literal["flag", "refuse"] = "flag"

    def __post_init__(self) -> None:
        for name in ("leeway", "grace", "rotate_before", "prefetch", "spread", "rotation_wait", "backoff"):
            _positive(f"policy.{name}", getattr(self, name))
        for name in ("mint_deadline", "max_session_age", "max_lifetime"):
            _positive(f"policy.{name}", getattr(self, name), zero=False)
        if self.on_subject_change not in ("flag", "refuse"):
            raise ConfigError("policy.on_subject_change", "must be 'flag' or 'refuse'")
