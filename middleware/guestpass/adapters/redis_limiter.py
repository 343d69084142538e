"""`ports.Limiter` in Redis: one moving window per key for the whole fleet."""

from guestpass.adapters.redis_link import RedisLink
from guestpass.adapters.sealing import Sealing
from guestpass.adapters.single_flight import SingleFlight
from guestpass.ports import Quota

_SEPARATOR = b"\0"


class RedisLimiter:
    """One limit, counted for all workers together; raises `Unavailable` while Redis is out of reach."""

    def __init__(self, link: RedisLink, sealing: Sealing, name: str, *, amount: int, seconds: float) -> None:
        """Allow `amount` hits in any `seconds` for each key; `name` tells this limit from others."""
        self._link = link
        self._sealing = sealing
        self._name = name
        self._amount = amount
        self._window = max(1, int(seconds * 1000))
        self._peeks: SingleFlight[tuple[str, ...], Quota] = SingleFlight()

    async def hit(self, *key: str, cost: int = 1) -> Quota:
        """As the port says.

        Raises:
            Unavailable: Redis is out of reach.
        """
        return await self._ask(key, cost)

    async def peek(self, *key: str) -> Quota:
        """As the port says; who looks at the same time looks once.

        Raises:
            Unavailable: Redis is out of reach.
        """
        return await self._peeks.ask(key, self._look)

    async def _look(self, key: tuple[str, ...]) -> Quota:
        return await self._ask(key, 0)

    async def _ask(self, key: tuple[str, ...], cost: int) -> Quota:
        name = _SEPARATOR.join(part.encode() for part in (self._name, *key))
        keys = [self._link.key("limit", self._sealing.digest(name))]
        allowed, remaining, wait = await self._link.script("hit", keys, self._amount, self._window, cost)
        return Quota(bool(allowed), self._amount, max(0, remaining), wait / 1000)
