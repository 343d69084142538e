"""A shared store that this process falls back from: what it has seen serves on while Redis is away."""

from contextlib import suppress

from guestpass.adapters.single_flight import SingleFlight
from guestpass.core.model import Successor, TokenId, UnixTime
from guestpass.errors import Unavailable
from guestpass.ports import Lease, TokenStore


class DegradingStore:
    """`ports.TokenStore` over a shared and a local one; never raises `Unavailable`.

    The local store is also the read-through cache: a successor never changes once it stands, so one that
    was seen is not asked for again. While the shared store is out of reach this process decides alone,
    so at worst each process mints one successor for a token.
    """

    def __init__(self, shared: TokenStore, local: TokenStore) -> None:
        """Compose two stores; both are closed with this one."""
        self._shared = shared
        self._local = local
        self._successors: SingleFlight[TokenId, Successor | None] = SingleFlight()
        self._chains: SingleFlight[TokenId, UnixTime | None] = SingleFlight()

    @property
    def degraded(self) -> bool:
        """As the port says."""
        return self._shared.degraded

    async def successor_of(self, token_id: TokenId) -> Successor | None:
        """As the port says."""
        known = await self._local.successor_of(token_id)
        if known is None:
            with suppress(Unavailable):
                known = await self._successors.ask(token_id, self._shared.successor_of)
                if known is not None:
                    await self._keep(token_id, known)
        return known

    async def lead(self, token_id: TokenId, *, lease: float) -> Lease | Successor:
        """As the port says."""
        try:
            led = await self._shared.lead(token_id, lease=lease)
        except Unavailable:
            return await self._local.lead(token_id, lease=lease)
        if isinstance(led, Successor):
            return await self._keep(token_id, led)
        return led

    async def remember(self, lease: Lease, successor: Successor, *, until: UnixTime) -> Successor:
        """As the port says. Shared where that is possible by now, whichever store gave the lease."""
        with suppress(Unavailable):
            successor = await self._shared.remember(lease, successor, until=until)
        return await self._local.remember(lease, successor, until=until)

    async def abandon(self, lease: Lease) -> None:
        """As the port says; a lease that cannot be ended runs out."""
        with suppress(Unavailable):
            await self._shared.abandon(lease)
        await self._local.abandon(lease)

    async def chain_started_at(self, token_id: TokenId) -> UnixTime | None:
        """As the port says."""
        started = await self._local.chain_started_at(token_id)
        if started is None:
            with suppress(Unavailable):
                started = await self._chains.ask(token_id, self._shared.chain_started_at)
        return started

    async def aclose(self) -> None:
        """Close both; they can be used again afterwards."""
        await self._shared.aclose()
        await self._local.aclose()

    async def _keep(self, token_id: TokenId, successor: Successor) -> Successor:
        lease = Lease(token_id, fence="")
        return await self._local.remember(lease, successor, until=successor.expires_at)
