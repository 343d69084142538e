"""The ports in spans: each call of a verifier, an issuer or a store passed on, as one span of the trace."""

from guestpass import spans
from guestpass.core.decision import Genuine, Invalid
from guestpass.core.model import Claims, Identity, MonotonicTime, RawToken, Successor, TokenId, UnixTime
from guestpass.ports import Lease, Retired, TokenIssuer, TokenStore, Verifier
from guestpass.spans import SpanKind


class TracedVerifier:
    """`ports.Verifier` that shows each verification, with its verdict; a remembered token has none."""

    def __init__(self, verifier: Verifier) -> None:
        self._verifier = verifier

    @property
    def recheck_at(self) -> MonotonicTime:
        """As the port says."""
        return self._verifier.recheck_at

    async def recheck(self) -> None:
        """As the port says."""
        await self._verifier.recheck()

    async def verify(self, token: RawToken) -> Genuine | Invalid:
        """As the port says."""
        with spans.span(spans.VERIFY) as span:
            verdict = await self._verifier.verify(token)
            reason = verdict.error.reason if isinstance(verdict, Invalid) else "genuine"
            span.set_attribute(spans.VERDICT, reason)
            return verdict

    def on_retired(self, callback: Retired) -> None:
        """As the port says."""
        self._verifier.on_retired(callback)

    async def run(self) -> None:
        """As the port says."""
        await self._verifier.run()


class TracedIssuer:
    """`ports.TokenIssuer` that shows each call, retries and logins included."""

    def __init__(self, issuer: TokenIssuer) -> None:
        self._issuer = issuer

    async def mint(self, identity: Identity) -> RawToken:
        """As the port says."""
        with spans.span(spans.MINT):
            return await self._issuer.mint(identity)

    async def rotate(self, token: RawToken, claims: Claims) -> RawToken:
        """As the port says."""
        with spans.span(spans.ROTATE):
            return await self._issuer.rotate(token, claims)

    async def aclose(self) -> None:
        """As the port says."""
        await self._issuer.aclose()


class TracedStore:
    """`ports.TokenStore` that shows each call, the wait for another worker's result included."""

    def __init__(self, store: TokenStore) -> None:
        self._store = store

    @property
    def degraded(self) -> bool:
        """As the port says."""
        return self._store.degraded

    async def successor_of(self, token_id: TokenId) -> Successor | None:
        """As the port says."""
        with spans.span(spans.STORE + "successor_of", SpanKind.CLIENT):
            return await self._store.successor_of(token_id)

    async def lead(self, token_id: TokenId, *, lease: float) -> Lease | Successor:
        """As the port says."""
        with spans.span(spans.STORE + "lead", SpanKind.CLIENT):
            return await self._store.lead(token_id, lease=lease)

    async def remember(self, lease: Lease, successor: Successor, *, until: UnixTime) -> Successor:
        """As the port says."""
        with spans.span(spans.STORE + "remember", SpanKind.CLIENT):
            return await self._store.remember(lease, successor, until=until)

    async def abandon(self, lease: Lease) -> None:
        """As the port says."""
        with spans.span(spans.STORE + "abandon", SpanKind.CLIENT):
            await self._store.abandon(lease)

    async def chain_started_at(self, token_id: TokenId) -> UnixTime | None:
        """As the port says."""
        with spans.span(spans.STORE + "chain_started_at", SpanKind.CLIENT):
            return await self._store.chain_started_at(token_id)

    async def aclose(self) -> None:
        """As the port says."""
        await self._store.aclose()
