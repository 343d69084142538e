"""`ports.SessionStore` in Redis or Valkey: what was issued, and to whom, for every worker and host.

As with successors, records are sealed, their names are digests of what nobody can guess, and each has an end.
Whoever reads the database learns neither tokens nor refresh tokens; whoever writes to it can make us forget,
or go back to what once stood, never believe.
"""

import logging
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

import anyio

from guestpass import events
from guestpass.adapters.redis_link import RedisLink
from guestpass.adapters.sealing import Sealing
from guestpass.core.model import RawToken, TokenId, UnixTime
from guestpass.core.session import Recorded, Session
from guestpass.errors import Unavailable
from guestpass.ports import Clock

_LONGEST_BLOCK: Final = 1.0
"""Seconds that a waiter blocks in one go, so that it notices within that time when Redis has hung."""

_SETTLE_EVERY: Final = 0.5


class RedisSessions:
    """The record that a fleet shares; every method raises `Unavailable` while Redis is out of reach.

    What is known of a session changes by comparing and replacing, so that a worker that was overtaken, or
    that comes late because Redis was away, adds what it has and takes nothing back.
    """

    def __init__(self, link: RedisLink, sealing: Sealing, clock: Clock) -> None:
        """Use `link`, which others use and close as well."""
        self._link = link
        self._sealing = sealing
        self._clock = clock
        self._unwritten: dict[str, tuple[Session, RawToken, Recorded]] = {}

    async def ready(self) -> None:
        """As the port says: a Redis that is full, or read-only, still reads."""
        await self._link.command("SET", self._link.key("sessions"), 1, "PX", 1000)

    async def open(self, session: Session, token: RawToken, recorded: Recorded) -> None:
        """As the port says."""
        await self._put_token(session, token, recorded)
        sealed, lifetime = self._sealed(session)
        await self._link.command("SET", self._keys(session.name)[0], sealed, "PX", lifetime)

    @asynccontextmanager
    async def held(self, name: str, *, lease: float) -> AsyncIterator[Session | None]:
        """As the port says; waiters block on a stream on which the holder says that it has done."""
        await self._settle(name)
        _, lock, wake = self._keys(name)
        fence = secrets.token_hex(16)
        try:
            yield await self._hold(name, fence, lease)
        finally:
            # Not if its new refresh token is known here alone: until it is recorded, nobody else may try the
            # old one. The lease then runs out by itself.
            if name not in self._unwritten:
                with anyio.CancelScope(shield=True), suppress(Unavailable):
                    await self._link.script("abandon", [lock, wake], fence)

    async def extend(self, session: Session, token: RawToken, recorded: Recorded) -> bool:
        """As the port says."""
        self._unwritten[session.name] = session, token, recorded
        return await self._settle(session.name)

    async def recorded(self, token: RawToken) -> Recorded | None:
        """As the port says."""
        sealed: bytes | None = await self._link.command("GET", self._token_key(token))
        content = None if sealed is None else self._read("issued", token.digest, sealed)
        if content is None or await self.session(content["session"]) is None:
            return None
        return Recorded(
            session=content["session"],
            subject=content["subject"],
            issued_at=UnixTime(content["issued"]),
            expires_at=UnixTime(content["ends"]),
        )

    async def session(self, name: str) -> Session | None:
        """As the port says."""
        return self._opened(name, await self._link.command("GET", self._keys(name)[0]))

    async def close(self, name: str) -> Session | None:
        """As the port says."""
        self._unwritten.pop(name, None)
        return self._opened(name, await self._link.command("GETDEL", self._keys(name)[0]))

    async def run(self) -> None:
        """As the port says."""
        while True:
            await anyio.sleep(_SETTLE_EVERY)
            for name in list(self._unwritten):
                with suppress(Unavailable):
                    await self._settle(name)

    async def _settle(self, name: str) -> bool:
        """Record what this process alone knows of a session; False if the session was closed meanwhile."""
        unwritten = self._unwritten.get(name)
        if unwritten is None:
            return True
        session, token, recorded = unwritten
        stands = session.until > self._clock.time() and await self._replace(session, token, recorded)
        if self._unwritten.get(name) is unwritten:
            del self._unwritten[name]
        return stands

    async def _replace(self, session: Session, token: RawToken, recorded: Recorded) -> bool:
        # First, as nobody may get a token that is not known everywhere; without its session it is nothing.
        await self._put_token(session, token, recorded)
        key = self._keys(session.name)[0]
        while True:
            known: bytes | None = await self._link.command("GET", key)
            standing = self._opened(session.name, known)
            if known is None or standing is None:
                return False
            sealed, lifetime = self._sealed(session.merged(standing, now=self._clock.time()))
            if await self._link.script("session_replace", [key], known, sealed, lifetime):
                return True

    async def _hold(self, name: str, fence: str, lease: float) -> Session | None:
        keys = self._keys(name)
        while True:
            match await self._link.script("session_hold", keys, fence, int(lease * 1000)):
                case [b"held", bytes(sealed)]:
                    return self._opened(name, sealed)
                case [b"wait", remaining]:
                    # A little past the lease: its end is announced to nobody.
                    seconds = max(0, remaining) / 1000 + 0.02
                    await self._link.await_entry(keys[2], seconds=min(_LONGEST_BLOCK, seconds))
                case _:
                    return None

    async def _put_token(self, session: Session, token: RawToken, recorded: Recorded) -> None:
        content = {
            "session": recorded.session,
            "subject": recorded.subject,
            "issued": recorded.issued_at,
            "ends": recorded.expires_at,
        }
        sealed = self._sealing.seal("issued", token.digest, content)
        lifetime = self._milliseconds(session.tokens[token.id])
        await self._link.command("SET", self._token_key(token), sealed, "PX", lifetime)

    def _sealed(self, session: Session) -> tuple[bytes, int]:
        """A session as it lies in Redis, and for how long."""
        latest = None if session.latest is None else session.latest.compact.decode("ascii")
        content = {
            "subject": session.subject,
            "refresh": session.refresh_token,
            "tokens": {token_id.hex(): until for token_id, until in session.tokens.items()},
            "latest": latest,
            "ends": session.latest_ends,
        }
        sealed = self._sealing.seal("session", session.name.encode(), content)
        return sealed, self._milliseconds(session.until)

    def _opened(self, name: str, sealed: bytes | None) -> Session | None:
        content = None if sealed is None else self._read("session", name.encode(), sealed)
        if content is None:
            return None
        latest = content["latest"]
        return Session(
            name=name,
            subject=content["subject"],
            refresh_token=content["refresh"],
            tokens={
                TokenId(bytes.fromhex(known)): UnixTime(until) for known, until in content["tokens"].items()
            },
            latest=None if latest is None else RawToken(latest.encode("ascii")),
            latest_ends=UnixTime(content["ends"]),
        )

    def _read(self, purpose: str, record: bytes, sealed: bytes) -> dict[str, Any] | None:
        """What a record holds, or None if it is not ours: then it counts as absent."""
        try:
            return self._sealing.open(purpose, record, sealed)
        except ValueError:
            events.emit(events.STORE_RECORD_IGNORED, level=logging.WARNING)
            return None

    def _keys(self, name: str) -> list[str]:
        return [self._link.key("session", name.encode(), part) for part in ("", ":lock", ":wake")]

    def _token_key(self, token: RawToken) -> str:
        return self._link.key("issued", token.digest)

    def _milliseconds(self, until: UnixTime) -> int:
        return max(1, int((until - self._clock.time()) * 1000))  # Redis refuses a lifetime of 0
