"""What one process remembers: successors and chain starts, bounded by count and by age."""

import secrets
from typing import Final

from guestpass.adapters.aging import Aging
from guestpass.core.model import Successor, TokenId, UnixTime
from guestpass.ports import Clock, Lease

_MOST: Final = 100_000


class MemoryStore:
    """`ports.TokenStore` for a single process.

    Rotation already lets one task in per token, so in one process whoever asks to lead, leads.
    """

    def __init__(self, clock: Clock, *, most: int = _MOST) -> None:
        """Remember at most `most` records of each kind."""
        self._clock = clock
        self._successors: Aging[TokenId, Successor] = Aging(most)
        self._chains: Aging[TokenId, UnixTime] = Aging(most)

    @property
    def degraded(self) -> bool:
        """Never: all that there is, is here."""
        return False

    async def successor_of(self, token_id: TokenId) -> Successor | None:
        """As the port says."""
        return self._successors.get(token_id, self._clock.time())

    async def lead(self, token_id: TokenId, *, lease: float) -> Lease | Successor:
        """As the port says; there is no one to wait for."""
        del lease  # held by a task of this process, which always ends it
        return await self.successor_of(token_id) or Lease(token_id, secrets.token_hex(8))

    async def remember(self, lease: Lease, successor: Successor, *, until: UnixTime) -> Successor:
        """As the port says."""
        now = self._clock.time()
        if winner := self._successors.get(lease.token_id, now):
            return winner
        self._successors.put(lease.token_id, successor, until, now)
        # The chain is asked for as long as the successor itself may still be exchanged.
        kept_until = UnixTime(successor.expires_at + max(0.0, until - now))
        self._chains.put(successor.token.id, successor.chain_started_at, kept_until, now)
        return successor

    async def abandon(self, lease: Lease) -> None:
        """As the port says."""

    async def chain_started_at(self, token_id: TokenId) -> UnixTime | None:
        """As the port says."""
        return self._chains.get(token_id, self._clock.time())

    async def aclose(self) -> None:
        """Nothing is open."""
