"""The warm pool: tokens minted ahead for the one anonymous identity, each of them handed out once.

A visitor who has not said who they are is asked for by the site with one configured name and e-mail
address. Only a call for exactly that identity is answered from the pool, and a call for any other never is:
so nobody gets a token that was minted for someone else. What a visitor gets is a token of their own all
the same, as no two calls are given the same one.
"""

import logging
from dataclasses import dataclass
from typing import Final, NoReturn

import anyio

from guestpass import events
from guestpass.core.decision import Genuine
from guestpass.core.model import Identity, UnixTime
from guestpass.core.shares import Priority
from guestpass.errors import GuestpassError, Unavailable
from guestpass.minting import Minted, mint_first
from guestpass.ports import TokenPool
from guestpass.rotation import Rotation

_EVERY: Final = 1.0
"""Seconds between two looks at how full the pool is, unless a token was taken here."""

_LEASE_MARGIN: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Reserve:
    """What is kept ready.

    Attributes:
        tokens: Where; shared by all workers where the store is.
        identity: Whom the tokens are minted for: the site's name for a visitor it does not know.
        size: How many are kept, all workers together.
        min_remaining: Seconds that a token must have left to be handed out.
    """

    tokens: TokenPool
    identity: Identity
    size: int
    min_remaining: float


class WarmPool:
    """Hands out tokens of a reserve, and fills it up beside requests, by at most half of the mint budget."""

    def __init__(self, reserve: Reserve, rotation: Rotation) -> None:
        """Mint with the parts of `rotation`."""
        self.reserve = reserve
        self._rotation = rotation
        self._taken = anyio.Event()

    async def take(self, identity: Identity) -> Minted | None:
        """A token for `identity`; None if it is not the pool's, or there is none: then it is minted."""
        if identity != self.reserve.identity:
            return None
        try:
            # Each round takes one out, so this ends.
            while (token := await self.reserve.tokens.pop(self._least_exp())) is not None:
                self._taken.set()
                # Again, as its key may have been retired since.
                verdict = await self._rotation.verifier.verify(token)
                if isinstance(verdict, Genuine) and verdict.claims.minted_for == identity:
                    return Minted(token, verdict.claims.expires_at)
        except Unavailable:
            pass  # the store, or our keys: minting says what is to be said
        return None

    async def level(self) -> int | None:
        """How many tokens are ready; None while nobody can say."""
        try:
            return await self.reserve.tokens.count(self._least_exp())
        except Unavailable:
            return None

    async def run(self) -> NoReturn:
        """Keep the pool full, from the start and for ever."""
        while True:
            self._taken = anyio.Event()
            try:
                await self._fill()
            except GuestpassError as exc:
                events.emit(events.POOL_NOT_FILLED, level=logging.WARNING, reason=exc.reason)
                await anyio.sleep(_EVERY)
            else:
                with anyio.move_on_after(_EVERY):
                    await self._taken.wait()

    async def _fill(self) -> None:
        tokens, rotation = self.reserve.tokens, self._rotation
        lease = rotation.policy.mint_deadline + _LEASE_MARGIN
        # One worker of the fleet fills, or each would; the lease is taken anew for every token.
        while (
            await tokens.may_fill(lease=lease) and await tokens.count(self._least_exp()) < self.reserve.size
        ):
            minted = await mint_first(rotation, self.reserve.identity, Priority.PREFETCH)
            if minted.expires_at <= self._least_exp():
                raise Unavailable("the issuer's tokens live shorter than what must be left of a pooled one")
            await tokens.push(minted.token, expires_at=minted.expires_at)

    def _least_exp(self) -> UnixTime:
        return UnixTime(self._rotation.clock.time() + self.reserve.min_remaining)
