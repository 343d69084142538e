"""`ports.IssuerPause` in Redis: a fleet that the issuer turned away comes back as one."""

from contextlib import suppress
from typing import Final

from guestpass.adapters.redis_link import RedisLink
from guestpass.errors import Unavailable

_LONGEST: Final = 86_400.0
"""Seconds that are believed: whoever can write to Redis must not be able to stop us for ever."""


class RedisPause:
    """One pause for all workers; while Redis is out of reach each worker knows of its own only."""

    def __init__(self, link: RedisLink) -> None:
        self._link = link
        self._keys = [link.key("pause")]

    async def start(self, seconds: float, reason: str) -> None:
        """As the port says."""
        with suppress(Unavailable):
            await self._link.script("pause", self._keys, max(1, int(min(seconds, _LONGEST) * 1000)), reason)

    async def left(self) -> tuple[float, str]:
        """As the port says."""
        with suppress(Unavailable):
            left, reason = await self._link.script("pause", self._keys, 0, "")
            if left > 0:
                return min(left / 1000, _LONGEST), reason.decode("ascii", "replace")
        return 0.0, ""
