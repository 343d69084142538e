"""Counts and times the calls of an issuer, whoever makes them."""

from collections.abc import Awaitable

from guestpass.core.model import Claims, Identity, RawToken
from guestpass.errors import GuestpassError
from guestpass.metrics import Tally
from guestpass.ports import Clock, TokenIssuer


class MeteredIssuer:
    """`ports.TokenIssuer` that passes every call on.

    A call that is cancelled, as its deadline ends, counts as `unavailable`, which its caller makes of it.
    """

    def __init__(self, issuer: TokenIssuer, tally: Tally, clock: Clock) -> None:
        self._issuer = issuer
        self._tally = tally
        self._clock = clock

    async def mint(self, identity: Identity) -> RawToken:
        """As the port says."""
        return await self.metered(self._issuer.mint(identity))

    async def rotate(self, token: RawToken, claims: Claims) -> RawToken:
        """As the port says."""
        return await self.metered(self._issuer.rotate(token, claims))

    async def aclose(self) -> None:
        """As the port says."""
        await self._issuer.aclose()

    async def metered(self, call: Awaitable[RawToken]) -> RawToken:
        """Count and time any other call that gives a token."""
        began = self._clock.monotonic()
        outcome = "unavailable"
        try:
            minted = await call
        except GuestpassError as error:
            outcome = error.reason
            raise
        else:
            outcome = "minted"
            return minted
        finally:
            self._tally.mints[outcome] += 1
            self._tally.mint_seconds.observe(self._clock.monotonic() - began)
