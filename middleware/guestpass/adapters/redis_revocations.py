"""`ports.RevocationLog` in Redis: a stream of sealed entries, of which each worker reads what is new to it.

Its ids are instants of the server, so a server that came back empty gives later ones than any it gave
before, and workers keep what they know. What is lost then is lost for workers that start afterwards:
where revocations must outlive Redis, Redis must keep its data.
"""

import logging
from typing import Any, Final

from guestpass import events
from guestpass.adapters.redis_link import RedisLink
from guestpass.adapters.sealing import Sealing
from guestpass.core.model import TokenId, UnixTime
from guestpass.ports import Clock, Revocation

_BATCH: Final = 500
_MOST: Final = 100_000
_PURPOSE: Final = "revocation"


class RedisRevocations:
    """The list that a fleet shares; every method raises `Unavailable` while Redis is out of reach."""

    def __init__(self, link: RedisLink, sealing: Sealing, clock: Clock) -> None:
        self._link = link
        self._sealing = sealing
        self._clock = clock
        self._key = link.key("revoked")

    async def add(self, revocation: Revocation) -> None:
        """As the port says."""
        name = revocation.name
        # A subject may be an e-mail address: it is sealed like everything else.
        kind, text = ("token", name.hex()) if isinstance(name, bytes) else ("subject", name)
        entry = self._sealing.seal(_PURPOSE, b"", {kind: text, "until": revocation.until})
        lifetime = max(1, int((revocation.until - self._clock.time()) * 1000))
        await self._link.script("revoke", [self._key], entry, lifetime, _MOST)

    async def since(self, cursor: str) -> tuple[list[Revocation], str]:
        """As the port says; the cursor is the id of the last entry that was read."""
        found: list[Revocation] = []
        while True:
            start = f"({cursor}" if cursor else "-"
            batch = await self._link.command("XRANGE", self._key, start, "+", "COUNT", _BATCH)
            for entry_id, fields in batch:
                cursor = entry_id.decode()
                if (revocation := self._read(fields)) is not None:
                    found.append(revocation)
            if len(batch) < _BATCH:
                return found, cursor

    def _read(self, fields: dict[bytes, bytes]) -> Revocation | None:
        try:
            content: dict[str, Any] = self._sealing.open(_PURPOSE, b"", fields.get(b"r", b""))
        except ValueError:
            events.emit(events.STORE_RECORD_IGNORED, level=logging.WARNING)
            return None
        until = UnixTime(content["until"])
        if "token" in content:
            return Revocation(TokenId(bytes.fromhex(content["token"])), until)
        return Revocation(content["subject"], until)
