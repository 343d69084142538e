"""Revocation as one worker sees it: a copy of the shared list, never older than a second when it is asked."""

import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Final, NoReturn

import anyio

from guestpass import events
from guestpass.core.decision import Genuine
from guestpass.core.model import MonotonicTime, TokenId, UnixTime
from guestpass.errors import Unavailable
from guestpass.ports import Clock, Revocation, RevocationLog, TokenStore

EVERY: Final = 1.0
"""Seconds for which the copy stands: a revocation is honoured everywhere within this time."""

_MOST_SUCCESSORS: Final = 100
_SWEEP_ABOVE: Final = 1000

_NEVER: Final = MonotonicTime(float("inf"))


class Revocations:
    """What is revoked. A look-up is local; the list is fetched beside requests, or by the first one in need.

    `due_at` is the instant from which `sync` must be awaited before anyone is let in: a single comparison
    on the way of a request. While the list is out of reach what is known stays in force.
    """

    def __init__(self, log: RevocationLog | None, clock: Clock) -> None:
        """Copy `log`; None: nothing is ever revoked."""
        self._log = log
        self._clock = clock
        self._cursor = ""
        self._until: dict[TokenId | str, UnixTime] = {}
        self._lock = anyio.Lock()
        self._added: list[Callable[[], None]] = []
        self.due_at = _NEVER if log is None else MonotonicTime(float("-inf"))

    def __len__(self) -> int:
        return len(self._until)

    def on_added(self, callback: Callable[[], None]) -> None:
        """Have `callback` called, synchronously, whenever something more is revoked."""
        self._added.append(callback)

    def refuses(self, genuine: Genuine) -> bool:
        """Whether this token, or its subject, is revoked."""
        if not self._until:
            return False
        now = self._clock.time()
        names = (genuine.token_id, genuine.claims.subject)
        return any(now < until for name in names if (until := self._until.get(name)) is not None)

    async def add(self, revocation: Revocation) -> None:
        """Revoke for every worker, this one included; without a list there are no others to tell.

        Raises:
            Unavailable: The list cannot be written.
        """
        if self._log is not None:
            await self._log.add(revocation)

    async def sync(self) -> None:
        """Fetch what was added, if that is due; one caller asks and the others wait for its answer."""
        async with self._lock:
            if self._clock.monotonic() >= self.due_at:
                await self._fetch()

    async def run(self) -> NoReturn:
        """Fetch ahead of time, for ever, so that no request has to; only where there is a list."""
        while True:
            async with self._lock:
                await self._fetch()
            await anyio.sleep(EVERY / 2)

    async def _fetch(self) -> None:
        assert self._log is not None  # noqa: S101  without a list nothing is ever due
        # From before the question: what is added while it is under way may be missing from the answer.
        asked_at = self._clock.monotonic()
        added: list[Revocation] = []
        with suppress(Unavailable):
            added, self._cursor = await self._log.since(self._cursor)
        self.due_at = MonotonicTime(asked_at + EVERY)
        if added:
            self._take(added)

    def _take(self, added: list[Revocation]) -> None:
        if len(self._until) > _SWEEP_ABOVE:
            now = self._clock.time()
            self._until = {name: until for name, until in self._until.items() if now < until}
        for revocation in added:
            known = self._until.get(revocation.name, revocation.until)
            self._until[revocation.name] = max(known, revocation.until)
        for callback in self._added:
            callback()
        events.emit(events.REVOCATIONS_LEARNT, level=logging.INFO, count=len(added))


async def revoke_token(token_id: TokenId, until: UnixTime, *, log: RevocationLog, store: TokenStore) -> int:
    """Revoke a token and every successor that stands for it; how many tokens that were.

    A successor that is being minted at this moment is missed: to end a session whatever happens, revoke
    its subject.

    Raises:
        Unavailable: The list cannot be written.
    """
    count = 0
    name: TokenId | None = token_id
    while name is not None and count < _MOST_SUCCESSORS:
        await log.add(Revocation(name, until))
        count += 1
        successor = await store.successor_of(name)
        name = None if successor is None else successor.token.id
    return count
