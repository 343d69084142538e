"""A raw token in, its prepared entry out: remembered, or verified now; never one that is revoked."""

from dataclasses import replace

from guestpass.core.decision import Genuine, Invalid, schedule
from guestpass.core.identity import IdentityMap, identity_headers
from guestpass.core.model import MonotonicTime, Policy, RawToken
from guestpass.errors import TokenRevoked, TooManyRequests, Unavailable
from guestpass.metrics import Tally
from guestpass.ports import Clock, Limiter, TokenStore, Verifier
from guestpass.revocation import Revocations
from guestpass.verified import Entry, VerifiedTokens


class Entries:
    """The entries of tokens, and what makes them."""

    def __init__(
        self,
        *,
        verifier: Verifier,
        store: TokenStore,
        clock: Clock,
        policy: Policy,
        identity: IdentityMap,
        revocations: Revocations,
        failed_verification: Limiter | None,
        cache_size: int,
        tally: Tally,
    ) -> None:
        """Wire the parts together; those of the gate's constructor mean what they mean there."""
        self.cache = VerifiedTokens(cache_size)
        self.due_at = MonotonicTime(float("-inf"))
        """When something must be asked again before a remembered token passes; as `find` last saw it."""
        self._verifier = verifier
        self._store = store
        self._clock = clock
        self._policy = policy
        self._identity = identity
        self._revocations = revocations
        self._failed = failed_verification
        self._tally = tally
        verifier.on_retired(self.cache.drop_keys)
        revocations.on_added(self._drop_revoked)

    async def find(self, token: RawToken, *, client: str = "") -> Entry:
        """The prepared entry of a token: from the cache, or verified now.

        Args:
            token: As it came.
            client: The key under which failed verifications are counted; "": they are not.

        Raises:
            TokenError: The token is not genuine, or is revoked.
            TooManyRequests: This client sent too many that were not.
            Unavailable: No keys, so nothing can be said.
        """
        if self._clock.monotonic() >= self._verifier.recheck_at:
            await self._verifier.recheck()
        if self._clock.monotonic() >= self._revocations.due_at:
            await self._revocations.sync()
        self.due_at = min(self._verifier.recheck_at, self._revocations.due_at)
        digest = token.digest
        known = self.cache.get(digest)
        if known is not None:
            return known
        if self._failed is not None and client:
            quota = await self._failed.peek(client)
            if not quota.allowed:
                raise TooManyRequests("too many failed verifications", retry_after=quota.reset_after)
        generation = self.cache.generation
        verdict = await self._verifier.verify(token)
        if isinstance(verdict, Invalid):
            self._tally.verifications[verdict.error.reason] += 1
            if self._failed is not None and client:
                await self._failed.hit(client)
            raise verdict.error
        self._tally.verifications["genuine"] += 1
        if self._revocations.refuses(verdict):
            raise TokenRevoked
        entry = await self._prepared(verdict)
        if self._clock.time() < entry.dead_at:
            self.cache.put(digest, entry, generation=generation)
        return entry

    def _drop_revoked(self) -> None:
        self.cache.drop_where(lambda entry: self._revocations.refuses(entry.genuine))

    async def _prepared(self, verdict: Genuine) -> Entry:
        try:
            started = await self._store.chain_started_at(verdict.token_id)
        except Unavailable:
            started = None  # a store that is down must not fail a valid token: it counts as its own first
        genuine = verdict if started is None else replace(verdict, chain_started_at=started)
        at = schedule(genuine, self._policy)
        return Entry(
            genuine,
            identity_headers(genuine.claims, self._identity),
            fresh_until=min(at.prefetch_at, at.session_ends_at),
            dead_at=min(at.refused_at, at.session_ends_at),
        )
