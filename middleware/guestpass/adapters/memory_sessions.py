"""What one process remembers of sessions and of the tokens that were issued in them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import anyio

from guestpass.adapters.aging import Aging
from guestpass.core.model import RawToken, TokenDigest
from guestpass.core.session import Recorded, Session
from guestpass.ports import Clock

_MOST: Final = 100_000


class MemorySessions:
    """`ports.SessionStore` for a single process. Its sessions end with it: guests then log in anew."""

    def __init__(self, clock: Clock, *, most: int = _MOST) -> None:
        """Remember at most `most` sessions, and four tokens for each of so many."""
        self._clock = clock
        self._sessions: Aging[str, Session] = Aging(most)
        self._tokens: Aging[TokenDigest, Recorded] = Aging(4 * most)
        self._holders: dict[str, anyio.Event] = {}

    async def ready(self) -> None:
        """Return: memory is always at hand."""

    @asynccontextmanager
    async def held(self, name: str, *, lease: float) -> AsyncIterator[Session | None]:
        """As the port says; the lease is of no use, as a holder that dies takes its memory with it."""
        del lease
        while (holder := self._holders.get(name)) is not None:
            await holder.wait()
        self._holders[name] = anyio.Event()
        try:
            yield await self.session(name)
        finally:
            self._holders.pop(name).set()

    async def open(self, session: Session, token: RawToken, recorded: Recorded) -> None:
        """As the port says."""
        now = self._clock.time()
        self._sessions.put(session.name, session, session.until, now)
        self._tokens.put(token.digest, recorded, session.tokens[token.id], now)

    async def extend(self, session: Session, token: RawToken, recorded: Recorded) -> bool:
        """As the port says."""
        known = await self.session(session.name)
        if known is None:
            return False
        await self.open(session.merged(known, now=self._clock.time()), token, recorded)
        return True

    async def recorded(self, token: RawToken) -> Recorded | None:
        """As the port says."""
        found = self._tokens.get(token.digest, self._clock.time())
        return None if found is None or await self.session(found.session) is None else found

    async def session(self, name: str) -> Session | None:
        """As the port says."""
        return self._sessions.get(name, self._clock.time())

    async def close(self, name: str) -> Session | None:
        """As the port says."""
        return self._sessions.pop(name, self._clock.time())

    async def run(self) -> None:
        """Wait for ever: nothing is ever left to be recorded."""
        await anyio.sleep_forever()
