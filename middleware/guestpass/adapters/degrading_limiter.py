"""A shared limit that this process counts by itself while Redis is away."""

from guestpass.errors import Unavailable
from guestpass.ports import Limiter, Quota


class DegradingLimiter:
    """`ports.Limiter` over a shared and a local one; never raises `Unavailable`.

    While the shared one is out of reach each worker allows the whole amount: a limit that is looser for a
    while is better than one that refuses everybody, or nobody.
    """

    def __init__(self, shared: Limiter, local: Limiter) -> None:
        self._shared = shared
        self._local = local

    async def hit(self, *key: str, cost: int = 1) -> Quota:
        """As the port says."""
        try:
            return await self._shared.hit(*key, cost=cost)
        except Unavailable:
            return await self._local.hit(*key, cost=cost)

    async def peek(self, *key: str) -> Quota:
        """As the port says."""
        try:
            return await self._shared.peek(*key)
        except Unavailable:
            return await self._local.peek(*key)
