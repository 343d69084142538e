"""The use case: a request's fields in, `Admitted` or `Refused` out. This file alone knows the order.

Every shell (middleware, reverse proxy, forward-auth, token endpoint) stands over this one gate.
"""

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Final, Self, assert_never

import anyio
from anyio.abc import TaskGroup

from guestpass.admission import Admitted, Delivery, Refused, Request
from guestpass.core import bearer
from guestpass.core.cors import NO_ORIGINS
from guestpass.core.decision import Absent, Forward, Genuine, Reject, Rotate, decide, schedule
from guestpass.core.forwarded import NOBODY, Trust
from guestpass.core.identity import owned
from guestpass.core.limit_key import client_key
from guestpass.core.matching import Protection, Rule, Rules, is_preflight
from guestpass.core.model import ANONYMOUS, Guest, Header, Policy, RawToken, Successor
from guestpass.core.paths import unambiguous
from guestpass.core.surface import Surface
from guestpass.entries import Entries
from guestpass.errors import (
    GuestpassError,
    OriginForeign,
    PathAmbiguous,
    TokenError,
)
from guestpass.metering import MeteredIssuer
from guestpass.metrics import Tally
from guestpass.pool import Reserve, WarmPool
from guestpass.ports import (
    Clock,
    IssuerPause,
    Job,
    Limiter,
    Logins,
    RevocationLog,
    TokenIssuer,
    TokenStore,
    Verifier,
)
from guestpass.refusals import Refusals
from guestpass.revocation import Revocations
from guestpass.rotation import Rotation
from guestpass.verified import Entry, Handover

OPEN_PATHS: Final = ("/guestpass/token", "/guestpass/client.js", "/livez", "/readyz")
"""Ours, and never guarded: the token endpoint, the client script, health."""

_REMEMBERED: Final = 512
_SHORT: Final = 128
"""Paths that are known to be usual: how many at most, and how long; a crowd of others costs no memory."""


class Gate:
    """Admits or refuses requests; rotates tokens; owns what runs beside requests.

    Opens nothing until it is used, so it may be made at import, before any loop runs.
    """

    def __init__(
        self,
        *,
        verifier: Verifier,
        issuer: TokenIssuer,
        store: TokenStore,
        clock: Clock,
        policy: Policy | None = None,
        rules: Sequence[Rule] = (),
        open_paths: Sequence[str] = OPEN_PATHS,
        surface: Surface | None = None,
        failed_verification: Limiter | None = None,
        budget: Limiter | None = None,
        pause: IssuerPause | None = None,
        reserve: Reserve | None = None,
        cache_size: int = 20_000,
        revocations: RevocationLog | None = None,
        jobs: Sequence[Job] = (),
        trust: Trust = NOBODY,
        logins: Logins | None = None,
    ) -> None:
        """Wire the parts together.

        Args:
            verifier: Says whether a token is genuine.
            issuer: Mints tokens and successors.
            store: Remembers successors.
            clock: Wall and monotonic time.
            policy: Windows and deadlines.
            rules: Which routes are guarded, first match wins; everything else is required.
            open_paths: Exact paths that are never guarded, before any rule.
            surface: Which fields are read and set.
            failed_verification: Limits failed verifications per client address; None: no limit.
            budget: Limits calls of the issuer, all together; None: no limit of ours.
            pause: The fleet's back-off from the issuer; None: this process is alone.
            reserve: Anonymous tokens that are kept ready; None: none.
            cache_size: The most verified tokens to remember.
            revocations: What is refused though it is genuine; None: nothing.
            jobs: What else runs in the background, such as the watch over a shared store.
            trust: Proxies whose word on a client's address counts, for limits by address.
            logins: What the session endpoint works with; None: guests do not log in.
        """
        self.policy = policy or Policy()
        self.surface = surface or Surface()
        self.verifier = verifier
        self.tally = Tally()
        self.issuer = MeteredIssuer(issuer, self.tally, clock)
        self.store = store
        self.clock = clock
        self.trust = trust
        self.logins = logins
        self.refusals = Refusals(self.tally, trust, clock)
        self.rotation = Rotation(
            issuer=self.issuer,
            verifier=verifier,
            store=store,
            policy=self.policy,
            clock=clock,
            budget=budget,
            pause=pause,
            tally=self.tally,
        )
        self._rules = Rules([*(Rule(None, path, Protection.OFF) for path in open_paths), *rules])
        self.uniform = not rules
        """Whether every route but our own is guarded alike, so that one decision on a token holds for all."""
        self.revocations = Revocations(revocations, clock)
        self.entries = Entries(
            verifier=verifier,
            store=store,
            clock=clock,
            policy=self.policy,
            identity=self.surface.identity,
            revocations=self.revocations,
            failed_verification=failed_verification,
            cache_size=cache_size,
            tally=self.tally,
        )
        self.pool = None if reserve is None else WarmPool(reserve, self.rotation)
        own: list[Job] = [verifier.run]
        if revocations is not None:
            own.append(self.revocations.run)
        if self.pool is not None:
            own.append(self.pool.run)
        self._jobs = (*own, *jobs)
        names = owned(self.surface.identity, self.surface.fields, extra=self.surface.reserved)
        self._sieve = bearer.Sieve(
            self.surface.sources, owned=names, forward_token=self.surface.forward_token
        )
        self._reads_query = self.surface.sources.query is not None
        self._usual_paths: dict[bytes, str] = {}
        self._time, self._monotonic = clock.time, clock.monotonic
        self._tasks: TaskGroup | None = None

    def add_jobs(self, *jobs: Job) -> None:
        """Have `jobs` run in the background too, such as what reports on this gate; before `background`."""
        self._jobs = (*self._jobs, *jobs)

    @classmethod
    def from_env(cls) -> Self:
        """Build a gate from the same environment and `guestpass.toml` as the command line.

        Raises:
            ConfigError: A setting is missing or breaks a rule; or the extra `settings` is not installed.
        """
        # At call time, and here only: the one import against the direction of the rooms, so that a user
        # who wires a gate by hand never loads an adapter (tests/test_architecture.py names it).
        from guestpass.wiring.gates import gate_from_env  # noqa: PLC0415

        gate: Self = gate_from_env(cls)
        return gate

    @asynccontextmanager
    async def background(self) -> AsyncIterator[None]:
        """Run what makes requests faster: keys refreshed ahead, successors minted beside the app.

        One lifespan enters this: the middleware where it wraps the whole app, or the host's own where
        the middleware is mounted. Without it all the same happens inside requests.

        Raises:
            RuntimeError: It is entered already.
        """
        if self._tasks is not None:
            raise RuntimeError("this gate runs in the background already: enter background() once")
        failure: Exception | None = None
        async with anyio.create_task_group() as tasks:
            self._tasks = tasks
            try:
                for job in self._jobs:
                    tasks.start_soon(job)
                yield
            except Exception as exc:  # noqa: BLE001  raised again below, as it is: the group would wrap it
                failure = exc
            finally:
                self._tasks = None
                tasks.cancel_scope.cancel()
                with anyio.CancelScope(shield=True):
                    await self.issuer.aclose()
                    await self.store.aclose()
        if failure is not None:
            raise failure

    def recall(
        self, method: str, path: str, raw_path: bytes, headers: Iterable[Header]
    ) -> tuple[list[Header], Guest, bytes | None, Successor | None] | None:
        """Admit the usual HTTP request in as few steps as it takes.

        Usual is: its token stands in its own field, is known, and is fresh or has a known successor.

        Args:
            method: As in `Request`.
            path: As in `Request`.
            raw_path: As in `Request`.
            headers: As in `Request`.

        Returns:
            The fields that the app sees, who it is, the Origin field, and the successor to deliver, if any.
            None: ask `admit`, which decides the same of every request that this admits (a test holds them
            to it).
        """
        usual = self._sieve.sift_usual(headers)
        if usual is None or self._reads_query:  # a token in the query might differ, which only `admit` sees
            return None
        kept, token, origin = usual
        known = self.entries.cache.recent(token)
        if (
            known is None
            or self._monotonic() >= self.entries.due_at
            or (self._usual_paths.get(raw_path) != path and not self._is_usual(method, path, raw_path))
        ):
            return None
        entry, fields = known
        now = self._time()
        if now < entry.fresh_until:
            self.tally.fresh += 1
            kept.extend(fields)
            return kept, entry.genuine.claims, origin, None
        handover = entry.handover
        if handover is None or not self.entries.cache.stands(handover, now):
            return None
        self.tally.decisions["rotate"] += 1
        kept.extend(handover.headers)
        return kept, handover.guest, origin, handover.successor

    def _is_usual(self, method: str, path: str, raw_path: bytes) -> bool:
        """Whether a path is guarded and read alike by everybody; remembered of some, as it never changes."""
        if not unambiguous(raw_path, path) or self._rules.protection(method, path) is Protection.OFF:
            return False
        if self._rules.by_path_alone and len(self._usual_paths) < _REMEMBERED and len(raw_path) <= _SHORT:
            self._usual_paths[raw_path] = path
        return True

    async def admit(self, request: Request) -> Admitted | Refused:
        """Decide on one request. Never raises a `GuestpassError`: a refusal is a value."""
        sifted = self._sieve.sift(request.headers)
        if not unambiguous(request.raw_path, request.path):
            ambiguous = PathAmbiguous("the path can be read in two ways")
            self.refusals.name_request(request.peer, request.headers)
            return self._refused(ambiguous, request, sifted.origin, guarded=False)
        guarded = self._protection(request, sifted)
        if guarded is Protection.OFF:
            self.tally.decisions["unguarded"] += 1
            return Admitted(sifted.headers, request.query, None, origin=sifted.origin)
        self.refusals.name_request(request.peer, request.headers)
        try:
            token, query = self._token(request, sifted)
            outcome = await self._decide(token, request, anonymous=guarded is Protection.OPTIONAL)
        except GuestpassError as error:
            return self._refused(error, request, sifted.origin)
        entry, delivery = outcome
        if entry is None:
            return Admitted(sifted.headers, query, ANONYMOUS, origin=sifted.origin)
        sifted.headers.extend(entry.headers)
        return Admitted(sifted.headers, query, entry.genuine.claims, delivery, sifted.origin, entry.dead_at)

    def _refused(
        self, error: GuestpassError, request: Request, origin: bytes | None, *, guarded: bool = True
    ) -> Refused:
        self.tally.decisions["refused"] += 1
        self.refusals.report(error, request.path)
        return Refused(error, origin, guarded)

    def token_of(self, request: Request) -> RawToken | None:
        """The one token of a request that this gate does not guard.

        Raises:
            TokenAmbiguous: It carries more than one.
        """
        return self._token(request, self._sieve.sift(request.headers))[0]

    def client_of(self, peer: str | None, headers: Iterable[Header]) -> str:
        """The key under which a request's client is counted."""
        return client_key(self.trust, peer, headers)

    def _protection(self, request: Request, sifted: bearer.Sifted) -> Protection:
        if sifted.preflight_method and is_preflight(request.method, sifted.origin is not None, True):
            return Protection.OFF
        return self._rules.protection(request.method, request.path)

    def _token(self, request: Request, sifted: bearer.Sifted) -> tuple[RawToken | None, bytes]:
        query = request.query
        elsewhere: list[bytes] = []
        if request.websocket and request.subprotocols and self.surface.sources.subprotocol:
            elsewhere, _ = bearer.split_subprotocols(request.subprotocols)
        name = self.surface.sources.query
        if name is not None and query and (request.websocket or _is_event_stream(request)):
            tokens, rest = bearer.split_query(query, name)
            elsewhere.extend(tokens)
            query = query if self.surface.forward_token else rest
        token = sifted.token(*elsewhere)
        if request.websocket and token is not None and not elsewhere and sifted.ambient:
            self._require_own_page(request, sifted.origin)
        return token, query

    def _require_own_page(self, request: Request, origin: bytes | None) -> None:
        """Refuse a WebSocket that some other site's page opened in the guest's name (CSWSH)."""
        host = next((value for name, value in request.headers if name == b"host"), None)
        if origin is not None and not (self.surface.cors or NO_ORIGINS).shares_page(origin, host):
            raise OriginForeign("origin: must be the host's own, or one of headers.cors_origins")

    async def _decide(
        self, token: RawToken | None, request: Request, *, anonymous: bool
    ) -> tuple[Entry | None, Delivery | None]:
        if token is None:
            decision = decide(Absent(), self.policy, anonymous=anonymous, now=self.clock.time())
        else:
            entry = await self.entry(token, client=self.client_of(request.peer, request.headers))
            now = self.clock.time()
            if now < entry.fresh_until:  # decided when it was prepared, as for `recall`
                self.tally.decisions["fresh"] += 1
                return entry, None
            decision = decide(entry.genuine, self.policy, anonymous=anonymous, now=now)
        match decision:
            case Reject(error):
                raise error
            case Rotate(genuine, required):
                assert token is not None  # noqa: S101  narrows for mypy: only a token can be genuine
                rotated = await self._rotated(token, entry, genuine, required=required)
                self.tally.decisions["rotate"] += 1
                return rotated
            case Forward(None):
                self.tally.decisions["anonymous"] += 1
                return None, None
            case Forward():  # with a token that is fresh no longer, as that was said above
                assert token is not None  # noqa: S101  as above
                self.tally.decisions["prefetch"] += 1
                await self._prefetch(token, entry)
                return entry, None
        assert_never(decision)

    async def _prefetch(self, token: RawToken, entry: Entry) -> None:
        genuine = entry.genuine
        if self._tasks is None:
            return
        if await self.rotation.known(genuine) is None:
            self.rotation.begin(self._tasks, token, genuine)
        else:  # nothing more to do before it is delivered
            at = schedule(genuine, self.policy)
            entry.fresh_until = min(at.rotate_at, at.session_ends_at)

    async def _rotated(
        self, token: RawToken, entry: Entry, genuine: Genuine, *, required: bool
    ) -> tuple[Entry, Delivery | None]:
        successor = await self.rotation.known(genuine)
        if successor is None and required:
            successor = await self.rotation.rotate(token, genuine, deadline=self.policy.mint_deadline)
        if successor is not None:
            generation = self.entries.cache.generation
            try:
                # The app sees the newest genuine claims at once.
                newest = await self.entry(successor.token)
            except TokenError:
                if required:
                    raise
                return entry, None  # its key was retired, or it was revoked: the old token is still valid
            until = min(entry.dead_at, newest.fresh_until)
            # Of the newest entry only what requests need: entries that hold the next are bounded by nothing.
            entry.handover = Handover(newest.genuine.claims, newest.headers, successor, until, generation)
            return newest, Delivery(self.rotation, successor)
        if self._tasks is None:
            return entry, Delivery(self.rotation, token=token, genuine=genuine)
        flight = self.rotation.begin(self._tasks, token, genuine)
        return entry, None if flight is None else Delivery(self.rotation, flight=flight)

    async def entry(self, token: RawToken, *, client: str = "") -> Entry:
        """As `Entries.find`."""
        return await self.entries.find(token, client=client)


def _is_event_stream(request: Request) -> bool:
    """EventSource sets this and no field of the page's choosing, so only it may use the query."""
    return any(name == b"accept" and b"text/event-stream" in value for name, value in request.headers)
