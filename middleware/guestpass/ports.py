"""What the gate needs from the world outside, as promises of behaviour; adapters keep them."""

from collections.abc import Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from guestpass.core.decision import Genuine, Invalid
from guestpass.core.jwk import Jwk
from guestpass.core.model import (
    Claims,
    Identity,
    MonotonicTime,
    RawToken,
    Successor,
    Thumbprint,
    TokenId,
    UnixTime,
)
from guestpass.core.session import Grant, Recorded, Session

Job = Callable[[], Coroutine[Any, Any, None]]
"""What runs beside requests until it is cancelled. Optional: all that it does also happens without it."""


class Clock(Protocol):
    """The two clocks, so that a test can hold them."""

    def time(self) -> UnixTime:
        """Wall-clock seconds since the epoch, for claims."""
        ...

    def monotonic(self) -> MonotonicTime:
        """Seconds that never step, for caches and deadlines."""
        ...


Retired = Callable[[frozenset[Thumbprint]], None]
"""Told at once which keys no longer verify anything."""


class KeySource(Protocol):
    """The issuer's published keys (JWKS, RFC 7517 §5): cached, refreshed ahead, stale on error.

    `recheck_at` is the instant from which what the source has said must be asked for again; until then a
    caller may rely on it without a call. It moves with every refresh and with every failed attempt.
    """

    @property
    def recheck_at(self) -> MonotonicTime:
        """From here on `recheck` must be awaited before any earlier answer is relied on."""
        ...

    async def recheck(self) -> None:
        """Refresh if due. While known keys may still serve (`max_stale`) a failed refresh is not an error.

        One caller leads the refresh and waits for it; others with usable keys return at once.

        Raises:
            Unavailable: No usable keys: never fetched, or staler than `max_stale`.
        """
        ...

    async def find(self, kid: str | None, algorithm: str) -> Sequence[Jwk]:
        """The keys that fit a token's header: usually one, none if the source has no such key.

        An unknown kid causes at most one refetch per cooldown, whoever asks.

        Raises:
            Unavailable: No usable keys at all, so nothing can be said of any token.
        """
        ...

    def on_retired(self, callback: Retired) -> None:
        """Have `callback` called, synchronously, whenever keys have left the set."""
        ...

    async def run(self) -> None:
        """Refresh ahead of time, for ever; never raises `Unavailable`. Optional: `find` works without."""
        ...


class Signer(Protocol):
    """Signs with a key that others can find in a JWKS of ours."""

    async def sign(self, payload: bytes, *, typ: str) -> bytes:
        """The compact JWS of `payload` (RFC 7515 §7.1); calls nobody, and never raises.

        Args:
            payload: The claims set, UTF-8 JSON.
            typ: What kind of JWT it is (RFC 7519 §5.1).
        """
        ...


class Verifier(Protocol):
    """Says whether a token is genuine; expiry is another question, asked by `core.decision`."""

    @property
    def recheck_at(self) -> MonotonicTime:
        """As `KeySource.recheck_at`: until then an earlier verdict stands without a call."""
        ...

    async def recheck(self) -> None:
        """As `KeySource.recheck`."""
        ...

    async def verify(self, token: RawToken) -> Genuine | Invalid:
        """Verify signature and every claim but "exp".

        Raises:
            Unavailable: It cannot be said now, as no keys are at hand: a fault, never a verdict.
        """
        ...

    def on_retired(self, callback: Retired) -> None:
        """As `KeySource.on_retired`: verdicts that rest on these keys are void."""
        ...

    async def run(self) -> None:
        """As `KeySource.run`."""
        ...


class TokenIssuer(Protocol):
    """The authority that mints guest tokens (the "iss" of RFC 7519 §4.1.1).

    The caller sets the deadline with a cancel scope; an adapter may retry inside it (it reads
    `anyio.current_effective_deadline`), and fails at once when a wait would outlast it.
    """

    async def mint(self, identity: Identity) -> RawToken:
        """Mint a first token for `identity`.

        Raises:
            TokenRefused: The issuer answered and said no to this identity; asking again is pointless.
            IssuerMisconfigured: It refuses our own credentials or permissions.
            Unavailable: No answer, a 5xx or a 429; `retry_after` as the issuer told, if it did.
        """
        ...

    async def rotate(self, token: RawToken, claims: Claims) -> RawToken:
        """Exchange a genuine `token` for its successor.

        Raises:
            TokenRefused: The issuer answered and said no; asking again is pointless.
            IssuerMisconfigured: It refuses our own credentials or permissions.
            Unavailable: No answer, a 5xx or a 429; an unexpired token may still be forwarded.
        """
        ...

    async def aclose(self) -> None:
        """Close connections; the issuer can be used again afterwards."""
        ...


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to mint for one token, until it runs out; `fence` tells this holder from a later one."""

    token_id: TokenId
    fence: str


class SessionIssuer(TokenIssuer, Protocol):
    """An issuer whose first tokens are had for an authorization code; `mint` refuses every identity."""

    async def exchange(self, grant: Grant) -> RawToken:
        """Exchange a code, which works once, for the first token of a session.

        Raises:
            GrantRefused: The issuer answered and said no to this code.
            IssuerMisconfigured: It refuses our own settings.
            Unavailable: No answer, a 5xx or a 429.
        """
        ...

    async def revoke(self, token: RawToken) -> None:
        """End the session of `token` at the issuer; nothing to say if it has ended already.

        Raises:
            Fault: It could not be told.
        """
        ...


class SessionStore(Protocol):
    """Our own record of what was issued, for tokens that no published key verifies.

    Every record ends by itself, with the last token of its session. Each method may raise `Unavailable`,
    where the record is out of reach.
    """

    async def ready(self) -> None:
        """Return if something could be recorded now: asked before a code is spent, which works once."""
        ...

    def held(self, name: str, *, lease: float) -> AbstractAsyncContextManager[Session | None]:
        """Have a session alone, among all workers, as whoever had it last has left it; None: it is over.

        A refresh token may work once, so nobody may use it without this. Waits while another has it, for
        `lease` seconds at most, after which that one counts as dead.
        """
        ...

    async def open(self, session: Session, token: RawToken, recorded: Recorded) -> None:
        """Record a new session and its first token."""
        ...

    async def extend(self, session: Session, token: RawToken, recorded: Recorded) -> bool:
        """Record one more token of a session; False, and nothing is recorded, if the session was closed.

        If it raises `Unavailable`, the session is still kept for when the record is back: what the issuer
        gave for a refresh token that works once must not be lost.
        """
        ...

    async def recorded(self, token: RawToken) -> Recorded | None:
        """What is known of a token; None if it was never issued, or its session is over."""
        ...

    async def session(self, name: str) -> Session | None:
        """A session that is open."""
        ...

    async def close(self, name: str) -> Session | None:
        """End a session, and so every token of it; what it was, for exactly one caller."""
        ...

    async def run(self) -> None:
        """Record what could not be recorded when it came, for ever. Optional: `held` does so too."""
        ...


@dataclass(frozen=True, slots=True)
class Logins:
    """What guests log in with: who takes their codes, and the record that their tokens are verified by."""

    issuer: SessionIssuer
    sessions: SessionStore


class TokenStore(Protocol):
    """What has to be remembered between requests, and between workers and hosts where it is shared.

    In one process a memory store is enough; across processes every method is a race that the store
    decides. Values a store hands out are verified by the caller before anyone gets them.
    """

    @property
    def degraded(self) -> bool:
        """Whether less than the whole store is at hand, so that work goes on with this process' own state."""
        ...

    async def successor_of(self, token_id: TokenId) -> Successor | None:
        """The successor that stands for `token_id`, if there is one."""
        ...

    async def lead(self, token_id: TokenId, *, lease: float) -> Lease | Successor:
        """Become the one who mints for `token_id`, or wait for the result of whoever is.

        Waits no longer than the present holder's lease, after which the next waiter leads. `lease` is in
        seconds and must outlast the mint deadline.
        """
        ...

    async def remember(self, lease: Lease, successor: Successor, *, until: UnixTime) -> Successor:
        """Record the successor until `until`, end the lease, and wake those who wait.

        First writer wins: the return value is the successor that stands, which everyone must use.
        """
        ...

    async def abandon(self, lease: Lease) -> None:
        """End a lease without a result, so that the next waiter may lead. Idempotent."""
        ...

    async def chain_started_at(self, token_id: TokenId) -> UnixTime | None:
        """When the chain of rotations that led to `token_id` began; None if it was never a successor."""
        ...

    async def aclose(self) -> None:
        """Close connections; the store can be used again afterwards."""
        ...


class TokenPool(Protocol):
    """Tokens that were minted ahead. Each is handed out once, whoever asks, on whichever host.

    Where it is shared every method may raise `Unavailable`: then there is no pool for the moment.
    """

    async def pop(self, least_exp: UnixTime) -> RawToken | None:
        """Take one out that expires after `least_exp`, if there is one; the others are dropped."""
        ...

    async def push(self, token: RawToken, *, expires_at: UnixTime) -> None:
        """Put one in."""
        ...

    async def count(self, least_exp: UnixTime) -> int:
        """How many there are that expire after `least_exp`."""
        ...

    async def may_fill(self, *, lease: float) -> bool:
        """Whether this worker is the one that fills the pool, for `lease` seconds from now."""
        ...


class IssuerPause(Protocol):
    """For how long nobody in the fleet asks the issuer. At best effort: no method raises."""

    async def start(self, seconds: float, reason: str) -> None:
        """Have everyone pause for `seconds`, or for longer where that was told already."""
        ...

    async def left(self) -> tuple[float, str]:
        """Seconds left of the pause, and its reason; 0 and "" if there is none, or nobody can say."""
        ...


@dataclass(frozen=True, slots=True)
class Revocation:
    """A token, by its id, or every token of a subject, by its name: refused until `until`."""

    name: TokenId | str
    until: UnixTime


class RevocationLog(Protocol):
    """The list of revocations, to which every worker can add and which every worker reads."""

    async def add(self, revocation: Revocation) -> None:
        """Append one.

        Raises:
            Unavailable: It cannot be written; nothing was revoked.
        """
        ...

    async def since(self, cursor: str) -> tuple[list[Revocation], str]:
        """What was added after `cursor` ("" for everything), and the cursor from there on.

        Raises:
            Unavailable: It cannot be read now.
        """
        ...


@dataclass(frozen=True, slots=True)
class Quota:
    """What a limiter says of one hit.

    Attributes:
        allowed: Whether the hit fits.
        limit: Hits per window.
        remaining: Hits left in the window.
        reset_after: Seconds until at least one hit fits again (0 if one fits now).
    """

    allowed: bool
    limit: int
    remaining: int
    reset_after: float


class Limiter(Protocol):
    """Counts hits per key in a moving window; bounded in memory under a flood of distinct keys."""

    async def hit(self, *key: str, cost: int = 1) -> Quota:
        """Count `cost` hits for `key`, unless they do not fit."""
        ...

    async def peek(self, *key: str) -> Quota:
        """The state of `key`, without counting."""
        ...
