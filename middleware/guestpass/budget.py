"""The mint budget: one limit on calls of the issuer, shared by all workers, spent on who needs it most."""

from typing import Final

from guestpass.core.shares import AGAIN, Priority, fits, share
from guestpass.ports import Limiter

_EVERY_CALL: Final = "mint"
"""One key for all: the issuer counts our calls together."""


class Budget:
    """Hands out calls of the issuer by the shares of `core.shares`.

    The limit itself is kept by the limiter, in one step whoever asks. A share is read first and counted
    then, so workers that ask in the same moment may go over a share by a few calls, never over the limit;
    those of this process count each other.
    """

    def __init__(self, limiter: Limiter | None = None) -> None:
        """Stand over `limiter`; None: no limit of ours."""
        self._limiter = limiter
        self._asking = 0

    async def take(self, priority: Priority, *, left: float = 0.0) -> float | None:
        """Count one call, unless it does not fit.

        Args:
            priority: Why the issuer is to be called.
            left: Seconds to the token's "exp"; of no account for a first token.

        Returns:
            None if the call may be made, else the seconds until it is worth asking again.
        """
        if self._limiter is None:
            return None
        if share(priority, left=left) >= 1:
            return await self._hit(self._limiter)
        self._asking += 1
        try:
            quota = await self._limiter.peek(_EVERY_CALL)
            remaining = quota.remaining - (self._asking - 1)
            if not fits(priority, left=left, remaining=remaining, limit=quota.limit):
                return max(quota.reset_after, AGAIN)
            return await self._hit(self._limiter)
        finally:
            self._asking -= 1

    async def remaining(self) -> int | None:
        """Calls left in the present window; None without a limit."""
        return None if self._limiter is None else (await self._limiter.peek(_EVERY_CALL)).remaining

    async def _hit(self, limiter: Limiter) -> float | None:
        quota = await limiter.hit(_EVERY_CALL)
        return None if quota.allowed else max(quota.reset_after, AGAIN)
