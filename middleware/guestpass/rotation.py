"""Rotation: one successor per token, for everyone who still carries the old one.

In one process requests share a flight; across processes the store decides who mints. A mint is never
abandoned because a client hung up: the issuer may have spent the token already.
"""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import anyio
from anyio.abc import TaskGroup

from guestpass import events
from guestpass.backoff import IssuerHealth, Rest
from guestpass.budget import Budget
from guestpass.core.decision import Genuine, Invalid, Phase, schedule
from guestpass.core.inject import is_deliverable
from guestpass.core.model import MonotonicTime, Policy, RawToken, Successor, TokenId, UnixTime, short
from guestpass.core.shares import Priority
from guestpass.errors import Fault, GuestpassError, MintBudgetSpent, Unavailable
from guestpass.metrics import Tally
from guestpass.ports import Clock, IssuerPause, Lease, Limiter, TokenIssuer, TokenStore, Verifier

_LEASE_MARGIN: Final = 2.0
"""A lease outlasts the mint deadline by this many seconds, for the store's own round trips."""

_WAIT_MARGIN: Final = 0.1
"""Seconds by which a worker that waits for another one's mint gives up before its own deadline."""

_SOON: Final = 1.0


class Flight:
    """One rotation under way, which any number of requests may watch."""

    __slots__ = ("done", "started_at", "successor")

    def __init__(self, started_at: MonotonicTime) -> None:
        self.started_at = started_at
        self.done = anyio.Event()
        self.successor: Successor | None = None


class Rotation:
    """Finds or mints successors; owns the back-off towards the issuer."""

    def __init__(
        self,
        *,
        issuer: TokenIssuer,
        verifier: Verifier,
        store: TokenStore,
        policy: Policy,
        clock: Clock,
        budget: Limiter | None = None,
        pause: IssuerPause | None = None,
        tally: Tally | None = None,
    ) -> None:
        """Wire the parts together.

        `budget` counts every call of the issuer, None: no limit of ours. `pause` is the fleet's back-off.
        """
        self.tally = tally or Tally()
        self.issuer = issuer
        self.verifier = verifier
        self.store = store
        self.policy = policy
        self.clock = clock
        self.budget = Budget(budget)
        self.health = IssuerHealth(clock, pause)
        self.minted = 0
        self._told_of_cut = False
        self._rest = Rest(clock)
        self._flights: dict[TokenId, Flight] = {}
        self._locks: dict[TokenId, _Lock] = {}

    async def known(self, genuine: Genuine) -> Successor | None:
        """The successor that already stands for a token; None also while the store is out of reach."""
        try:
            return await self.store.successor_of(genuine.token_id)
        except Unavailable as exc:
            _failed(genuine, exc)
            return None

    def begin(self, tasks: TaskGroup, token: RawToken, genuine: Genuine) -> Flight | None:
        """Rotate in the background, unless that is under way already; None while it would be pointless."""
        flight = self._flights.get(genuine.token_id)
        if flight is None and self._may_mint(genuine):
            flight = self._flights[genuine.token_id] = Flight(self.clock.monotonic())
            tasks.start_soon(self._fly, flight, token, genuine)
        return flight

    async def _fly(self, flight: Flight, token: RawToken, genuine: Genuine) -> None:
        try:
            flight.successor = await self.rotate(token, genuine, deadline=self.policy.mint_deadline)
        except GuestpassError:
            pass  # logged where it was raised; a bug, which is anything else, propagates
        finally:
            del self._flights[genuine.token_id]
            flight.done.set()

    async def watch(self, flight: Flight) -> Successor | None:
        """Wait for a flight, no longer than `rotation_wait` from its start, whoever started it.

        So a hanging issuer delays the requests of that first moment, and none that come later (R6).
        """
        left = flight.started_at + self.policy.rotation_wait - self.clock.monotonic()
        with anyio.move_on_after(max(0.0, left)):
            await flight.done.wait()
        return flight.successor

    async def rotate_here(self, token: RawToken, genuine: Genuine) -> Successor | None:
        """Rotate inside a request, no longer than `rotation_wait`, where there is no background to do it in.

        An issuer that is slower than that is asked in vain each time, until the grace: said once, with the
        remedy, as a host that mounts the middleware has to know.
        """
        wait, began = self.policy.rotation_wait, anyio.current_time()
        try:
            return await self.rotate(token, genuine, deadline=wait)
        except GuestpassError:
            if not self._told_of_cut and anyio.current_time() - began >= wait:
                self._told_of_cut = True
                events.emit(
                    events.ROTATION_CUT_SHORT,
                    level=logging.WARNING,
                    seconds=wait,
                    remedy="enter gate.background() in the app's lifespan: mints then outlive their request",
                )
            return None

    def _may_mint(self, genuine: Genuine) -> bool:
        return not self._rest.left(genuine.token_id) and not self.health.closed_for()

    async def rotate(self, token: RawToken, genuine: Genuine, *, deadline: float) -> Successor:
        """The successor of `token`: the one that stands, or else a new one.

        Args:
            token: A genuine token.
            genuine: The verdict on it.
            deadline: The most that this may take, in seconds, waiting for another's mint included.

        Raises:
            TokenError: The issuer refused, or answered with a token that is not a fit successor.
            Fault: The issuer, its keys or the store gave no answer, or back-off is in force.
        """
        try:
            with anyio.fail_after(deadline) as scope:
                async with self._hold(genuine.token_id):  # leader cancelled: the next waiter leads
                    if known := await self.known(genuine):
                        return known
                    return await self._lead(token, genuine, scope.deadline - anyio.current_time())
        except TimeoutError as exc:
            raise Unavailable("another request's mint is taking too long", retry_after=_SOON) from exc

    async def _lead(self, token: RawToken, genuine: Genuine, deadline: float) -> Successor:
        self.health.check()
        if resting := self._rest.left(genuine.token_id):
            raise Unavailable("backing off from the issuer", retry_after=resting)
        try:
            # Shielded: a client that hangs up must not lose a token the issuer already spent.
            with anyio.move_on_after(deadline, shield=True):
                return await self._mint(token, genuine)
            raise self.health.failed(Unavailable("the issuer did not answer in time"))
        except GuestpassError as exc:
            self.tally.rotations[exc.reason] += 1
            self._rest.start(genuine.token_id, self._rest_after(exc))
            await self.health.tell()
            if not isinstance(exc, MintBudgetSpent):  # told where it happened: nothing has failed
                _failed(genuine, exc)
            raise

    async def _mint(self, token: RawToken, genuine: Genuine) -> Successor:
        lease = await self._lease(genuine.token_id)
        if isinstance(lease, Successor):
            self.tally.rotations["shared"] += 1
            return lease
        try:
            # After the lease: whoever held it before may have been turned away.
            await self.health.learn()
            self.health.check()
            await self._spend(genuine)
            began = self.clock.monotonic()
            with self.health.observing():
                minted = await self.issuer.rotate(token, genuine.claims)
                self.minted += 1
                fresh = await self._verified(minted, genuine)
            self._check_fit(fresh, genuine)
            claims = genuine.claims
            started = genuine.chain_started_at or claims.issued_at or self.clock.time()
            successor = Successor(minted, fresh.claims.expires_at, started)
            grace = max(self.policy.grace, self.policy.leeway)
            until = UnixTime(max(claims.expires_at, self.clock.time()) + grace)
            winner = await self.store.remember(lease, successor, until=until)
        except BaseException:
            with anyio.CancelScope(shield=True):
                await self.health.tell()  # before the next in line may ask
                await self.store.abandon(lease)
            raise
        self.tally.rotations["rotated"] += 1
        seconds = round(self.clock.monotonic() - began, 3)
        events.emit(
            events.TOKEN_ROTATED,
            token=short(genuine.token_id),
            successor=short(winner.token.id),
            seconds=seconds,
        )
        return winner

    async def _lease(self, token_id: TokenId) -> Lease | Successor:
        """Lead, or wait for who does, and give up a little early: the issuer is not to blame for the wait."""
        left = anyio.current_effective_deadline() - anyio.current_time() - _WAIT_MARGIN
        try:
            with anyio.fail_after(max(0.0, left)):
                return await self.store.lead(token_id, lease=self.policy.mint_deadline + _LEASE_MARGIN)
        except TimeoutError as exc:
            raise Unavailable("another worker's mint is taking too long", retry_after=_SOON) from exc

    async def _spend(self, genuine: Genuine) -> None:
        """Take one call of the issuer out of the budget; the nearer the token's end, the more there is."""
        now = self.clock.time()
        ahead = schedule(genuine, self.policy).phase(now) < Phase.ROTATE
        priority = Priority.PREFETCH if ahead else Priority.ROTATION
        wait = await self.budget.take(priority, left=genuine.claims.expires_at - now)
        if wait is None:
            return
        events.emit(
            events.MINT_DEFERRED,
            level=logging.DEBUG if ahead else logging.WARNING,
            token=short(genuine.token_id),
            priority=priority.value,
            retry_after=wait,
        )
        raise MintBudgetSpent("the mint budget is used up", retry_after=wait)

    async def _verified(self, minted: RawToken, genuine: Genuine) -> Genuine:
        """Verify a minted token as if a client had sent it; the issuer's word alone is not enough."""
        verdict = await self.verifier.verify(minted)
        if isinstance(verdict, Invalid) or not is_deliverable(minted.compact):
            _discarded(genuine, verdict.error.reason if isinstance(verdict, Invalid) else "not_a_field_value")
            raise Unavailable("the issuer minted a token that is not genuine")
        return verdict

    def _check_fit(self, fresh: Genuine, genuine: Genuine) -> None:
        old, new = genuine.claims, fresh.claims
        if new.expires_at <= old.expires_at or new.expires_at <= self.clock.time():
            _discarded(genuine, "not_later")
            raise Unavailable("the successor does not expire later", retry_after=self.policy.backoff)
        if (new.subject, new.name, new.email) != (old.subject, old.name, old.email):
            token, successor = short(genuine.token_id), short(fresh.token_id)
            events.emit(events.SUBJECT_CHANGED, level=logging.WARNING, token=token, successor=successor)
            if self.policy.on_subject_change == "refuse":
                _discarded(genuine, "subject_changed")
                raise Unavailable("the successor is for another subject", retry_after=self.policy.backoff)

    def _rest_after(self, exc: GuestpassError) -> float:
        """How long this one token is left alone; what concerns every token is `health`'s matter."""
        if isinstance(exc, Fault) and exc.retry_after is not None:
            return exc.retry_after
        return self.policy.backoff

    @asynccontextmanager
    async def _hold(self, token_id: TokenId) -> AsyncIterator[None]:
        lock = self._locks.setdefault(token_id, _Lock())
        lock.users += 1
        try:
            async with lock.lock:
                yield
        finally:
            lock.users -= 1
            if not lock.users:
                del self._locks[token_id]


class _Lock:
    __slots__ = ("lock", "users")

    def __init__(self) -> None:
        self.lock = anyio.Lock()
        self.users = 0


def _discarded(genuine: Genuine, reason: str) -> None:
    token = short(genuine.token_id)
    events.emit(events.SUCCESSOR_DISCARDED, level=logging.WARNING, token=token, reason=reason)


def _failed(genuine: Genuine, exc: GuestpassError) -> None:
    events.emit(
        events.ROTATION_FAILED,
        level=logging.WARNING,
        token=short(genuine.token_id),
        reason=exc.reason,
        retry_after=exc.retry_after if isinstance(exc, Fault) else None,
    )
