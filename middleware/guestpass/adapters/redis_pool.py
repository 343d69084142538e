"""`ports.TokenPool` in Redis: sealed tokens, each of which one host takes out, in one step."""

import logging
import secrets

from guestpass import events
from guestpass.adapters.redis_link import RedisLink
from guestpass.adapters.sealing import Sealing
from guestpass.core.model import Identity, RawToken, UnixTime
from guestpass.ports import Clock

_PURPOSE = "pool"


class RedisPool:
    """One pool per identity; every method raises `Unavailable` while Redis is out of reach."""

    def __init__(self, link: RedisLink, sealing: Sealing, clock: Clock, identity: Identity) -> None:
        """Keep tokens that were minted for `identity`: those of another one do not even open."""
        self._link = link
        self._sealing = sealing
        self._clock = clock
        # Name and e-mail address could be guessed from a plain digest.
        self._name = sealing.digest(f"{identity.name}\0{identity.email}".encode())
        self._keys = [link.key("pool", self._name)]
        self._lock = [link.key("pool", self._name, ":filling")]
        self._worker = secrets.token_hex(16)

    async def pop(self, least_exp: UnixTime) -> RawToken | None:
        """As the port says."""
        while (sealed := await self._link.script("pool_pop", self._keys, least_exp)) is not None:
            try:
                content = self._sealing.open(_PURPOSE, self._name, sealed)
            except ValueError:
                events.emit(events.STORE_RECORD_IGNORED, level=logging.WARNING)
            else:
                return RawToken(content["token"].encode("ascii"))
        return None

    async def push(self, token: RawToken, *, expires_at: UnixTime) -> None:
        """As the port says."""
        sealed = self._sealing.seal(_PURPOSE, self._name, {"token": token.compact.decode("ascii")})
        lifetime = max(1, int((expires_at - self._clock.time()) * 1000))
        await self._link.script("pool_push", self._keys, expires_at, sealed, lifetime)

    async def count(self, least_exp: UnixTime) -> int:
        """As the port says."""
        count: int = await self._link.command("ZCOUNT", self._keys[0], f"({least_exp}", "+inf")
        return count

    async def may_fill(self, *, lease: float) -> bool:
        """As the port says."""
        return bool(await self._link.script("pool_may_fill", self._lock, self._worker, int(lease * 1000)))
