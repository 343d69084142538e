"""`ports.TokenStore` in Redis or Valkey: who mints, and what was minted, for every worker and host.

Records are sealed and their names are digests: whoever reads the database learns neither tokens nor whose
they are, and whoever writes to it can make us forget, never believe.
"""

import logging
import secrets
from typing import Any, Final

from guestpass import events
from guestpass.adapters.redis_link import RedisLink
from guestpass.adapters.sealing import Sealing
from guestpass.core.model import RawToken, Successor, TokenId, UnixTime, short
from guestpass.ports import Clock, Lease

_LONGEST_BLOCK: Final = 1.0
"""Seconds that a waiter blocks in one go, so that it notices within that time when Redis has hung."""

_NONE: Final = b""


class RedisStore:
    """Remembers successors in Redis; every method raises `Unavailable` while Redis is out of reach."""

    def __init__(self, link: RedisLink, sealing: Sealing, clock: Clock) -> None:
        """Use `link`, which is closed with this store."""
        self._link = link
        self._sealing = sealing
        self._clock = clock

    @property
    def degraded(self) -> bool:
        """As the port says."""
        return self._link.breaker.is_open

    async def successor_of(self, token_id: TokenId) -> Successor | None:
        """As the port says."""
        sealed: bytes | None = await self._link.command("GET", self._keys(token_id)[0])
        return None if sealed is None else self._opened(token_id, sealed)

    async def lead(self, token_id: TokenId, *, lease: float) -> Lease | Successor:
        """As the port says; waiters block on a stream that the result is announced on."""
        keys = self._keys(token_id)
        fence = secrets.token_hex(16)
        unreadable = _NONE
        while True:
            answer = await self._link.script("lead", keys, fence, int(lease * 1000), unreadable)
            match answer:
                case [b"lead", _]:
                    return Lease(token_id, fence)
                case [b"known", bytes(sealed)]:
                    successor = self._opened(token_id, sealed)
                    if successor is not None:
                        return successor
                    unreadable = sealed
                case [_, remaining]:
                    # A little past the lease: its end is announced to nobody.
                    seconds = max(0, remaining) / 1000 + 0.02
                    await self._link.await_entry(keys[2], seconds=min(_LONGEST_BLOCK, seconds))

    async def remember(self, lease: Lease, successor: Successor, *, until: UnixTime) -> Successor:
        """As the port says; never kept past the successor's own "exp"."""
        now = self._clock.time()
        token_id = lease.token_id
        # Before the successor can be seen: its chain must never look like a new one to anybody. Asked for
        # as long as the successor may still be exchanged, which is what `until` says of its predecessor.
        kept = successor.expires_at - now + max(0.0, until - now)
        chain = self._sealing.seal("chain", successor.token.id, {"started": successor.chain_started_at})
        await self._link.command("SET", self._chain_key(successor.token.id), chain, "PX", _milliseconds(kept))
        sealed = self._sealing.seal(
            "successor",
            token_id,
            {
                "token": successor.token.compact.decode("ascii"),
                "exp": successor.expires_at,
                "started": successor.chain_started_at,
            },
        )
        lifetime = _milliseconds(min(until, successor.expires_at) - now)
        unreadable = _NONE
        while True:
            winner: bytes = await self._link.script(
                "remember", self._keys(token_id), lease.fence, sealed, lifetime, unreadable
            )
            if winner == sealed:
                return successor
            if (standing := self._opened(token_id, winner)) is not None:
                return standing
            unreadable = winner

    async def abandon(self, lease: Lease) -> None:
        """As the port says."""
        _, lock, wake = self._keys(lease.token_id)
        await self._link.script("abandon", [lock, wake], lease.fence)

    async def chain_started_at(self, token_id: TokenId) -> UnixTime | None:
        """As the port says."""
        sealed: bytes | None = await self._link.command("GET", self._chain_key(token_id))
        content = None if sealed is None else self._read("chain", token_id, sealed)
        return None if content is None else UnixTime(content["started"])

    async def aclose(self) -> None:
        """Close the link; the store can be used again afterwards."""
        await self._link.aclose()

    def _keys(self, token_id: TokenId) -> list[str]:
        return [self._link.key("token", token_id, part) for part in (":successor", ":lock", ":wake")]

    def _chain_key(self, token_id: TokenId) -> str:
        return self._link.key("chain", token_id)

    def _opened(self, token_id: TokenId, sealed: bytes) -> Successor | None:
        content = self._read("successor", token_id, sealed)
        if content is None:
            return None
        token = RawToken(content["token"].encode("ascii"))
        return Successor(token, UnixTime(content["exp"]), UnixTime(content["started"]))

    def _read(self, purpose: str, token_id: TokenId, sealed: bytes) -> dict[str, Any] | None:
        """What a record holds, or None if it is not ours: then it counts as absent."""
        try:
            return self._sealing.open(purpose, token_id, sealed)
        except ValueError:
            events.emit(events.STORE_RECORD_IGNORED, level=logging.WARNING, token=short(token_id))
            return None


def _milliseconds(seconds: float) -> int:
    return max(1, int(seconds * 1000))  # Redis refuses a lifetime of 0
