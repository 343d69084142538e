"""The connections to one backend: reused last in, first out; bounded, and so is the queue for them.

Last in, first out keeps few connections busy and lets the others age out. A connection is opened by a task of
the pool's own, never by a request: a guest that hangs up meanwhile costs nothing, as the next one gets it.
"""

import asyncio
from collections import OrderedDict, deque
from dataclasses import dataclass
from typing import Final, cast

from guestpass.errors import ConfigError, Fault, PoolExhausted, Unavailable
from guestpass.upstream.dial import Dialer
from guestpass.upstream.http1 import Http1Connection
from guestpass.upstream.pulse import Pulse

_RETRY_AFTER: Final = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolLimits:
    """Bounds of a pool; times in seconds.

    Attributes:
        max_connections: Open connections, those being opened included.
        max_waiting: Requests that may wait for one.
        wait_timeout: How long each may wait.
        connect_timeout: How long opening one may take, TLS included.
        idle_timeout: How long an idle connection is kept. Below the 5 s after which Node.js and uvicorn close
            theirs, so that a POST, which is never retried, rarely meets a connection about to be closed.
        max_age: How long a connection is reused at all, so that a change in DNS is followed.
    """

    max_connections: int = 256
    max_waiting: int = 1024
    wait_timeout: float = 5.0
    connect_timeout: float = 5.0
    idle_timeout: float = 4.0
    max_age: float = 600.0

    def __post_init__(self) -> None:
        if self.max_connections < 1:
            raise ConfigError("upstream.max_connections", "must be one or more")
        if self.max_waiting < 0:
            raise ConfigError("upstream.max_waiting", "must be zero or more")
        for name in ("wait_timeout", "connect_timeout", "idle_timeout", "max_age"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ConfigError(f"upstream.{name}", "must be a finite number of seconds above zero")


class Pool:
    """The connections to one backend, on one event loop.

    Attributes:
        in_use: Connections that carry an exchange.
    """

    def __init__(self, dialer: Dialer, limits: PoolLimits, pulse: Pulse) -> None:
        self.limits = limits
        self.in_use = 0
        self._dialer = dialer
        self._pulse = pulse
        self._loop = asyncio.get_running_loop()
        self._idle: deque[Http1Connection] = deque()
        self._open: set[Http1Connection] = set()
        self._waiting: OrderedDict[asyncio.Future[Http1Connection], float] = OrderedDict()
        self._dials: set[asyncio.Task[None]] = set()
        self._closed = False
        self._retired = False

    @property
    def opening(self) -> int:
        """Connections that are being opened."""
        return len(self._dials)

    @property
    def idle(self) -> int:
        """Connections that wait for an exchange."""
        return len(self._idle)

    @property
    def waiting(self) -> int:
        """Requests that wait for a connection."""
        return len(self._waiting)

    def take(self) -> Http1Connection | None:
        """The connection that was used last, if one is idle; the caller has to `give_back` it."""
        while self._idle:
            connection = self._idle.pop()
            if connection.usable:
                self.in_use += 1
                return connection
            connection.close()
        return None

    def ask(self) -> asyncio.Future[Http1Connection]:
        """Queue for a connection, to be awaited with `granted`.

        Raises:
            PoolExhausted: The queue is full.
        """
        free = self.limits.max_connections - len(self._open)
        if len(self._waiting) >= free + self.limits.max_waiting or self._closed:
            raise PoolExhausted(retry_after=_RETRY_AFTER)
        ticket: asyncio.Future[Http1Connection] = self._loop.create_future()
        self._waiting[ticket] = self._loop.time()
        self._pulse.watch(self)
        self._dial()
        return ticket

    async def granted(self, ticket: asyncio.Future[Http1Connection]) -> Http1Connection:
        """Wait for the connection; the caller has to `give_back` it.

        Raises:
            PoolExhausted: None came free within `wait_timeout`.
            UpstreamUnreachable: None could be opened.
            UpstreamTimeout: None could be opened within `connect_timeout`.
        """
        try:
            return await ticket
        except asyncio.CancelledError:
            self._waiting.pop(ticket, None)
            if not ticket.cancelled() and ticket.exception() is None:
                self.give_back(ticket.result())  # granted in the very moment in which nobody wanted it
            raise

    def leave(self, ticket: asyncio.Future[Http1Connection], error: Exception) -> None:
        """Give up a place in the queue: `granted` raises `error`, unless a connection was granted before."""
        self._waiting.pop(ticket, None)
        if not ticket.done():
            ticket.set_exception(error)

    def drop_idle(self) -> None:
        """Close every idle connection: one of them was found dead, so the backend has likely restarted."""
        while self._idle:
            self._idle.pop().close()

    def give_back(self, connection: Http1Connection) -> None:
        """End an exchange: the connection is reused if nothing about it is in doubt, else dropped."""
        self.in_use -= 1
        if self._closed or self._retired or not connection.usable:
            connection.close()
            return
        connection.put_aside()
        now = self._loop.time()
        if now - connection.opened_at > self.limits.max_age:
            connection.close()
            return
        self._offer(connection, now)

    def retire(self) -> None:
        """Let what is under way, or waits, end as it would, and keep no connection after it."""
        self._retired = True
        self.drop_idle()

    async def aclose(self) -> None:
        """Drop every connection; whoever uses one, or waits for one, is told that it is over."""
        self._closed = True
        self._pulse.unwatch(self)
        while self._waiting:
            self._refuse_first(PoolExhausted(retry_after=_RETRY_AFTER))
        for task in tuple(self._dials):
            task.cancel()
        await asyncio.gather(*self._dials, return_exceptions=True)
        for connection in tuple(self._open):
            connection.fail(Unavailable("the proxy is closing"))
        self._idle.clear()

    def beat(self, now: float) -> None:
        """Fail who has waited too long, close what has been idle too long."""
        while self._waiting and now - next(iter(self._waiting.values())) > self.limits.wait_timeout:
            self._refuse_first(PoolExhausted(retry_after=_RETRY_AFTER))
        while self._idle and now - self._idle[0].idle_since > self.limits.idle_timeout:
            self._idle.popleft().close()
        if not self._idle and not self._waiting:
            self._pulse.unwatch(self)

    # --- inside -------------------------------------------------------------------------------------------

    def _offer(self, connection: Http1Connection, now: float) -> None:
        """Hand an open connection to the one who waits longest, else put it aside."""
        while self._waiting:
            ticket, _ = self._waiting.popitem(last=False)
            if not ticket.done():
                self.in_use += 1
                ticket.set_result(connection)
                return
        connection.idle_since = now
        self._idle.append(connection)
        self._pulse.watch(self)

    def _refuse_first(self, error: Exception) -> None:
        ticket, _ = self._waiting.popitem(last=False)
        if not ticket.done():
            ticket.set_exception(error)

    def _dial(self) -> None:
        """Open as many connections as there are requests waiting, within the limit."""
        wanted = min(len(self._waiting), self.limits.max_connections - len(self._open))
        while self.opening < wanted and not self._closed:
            task = self._loop.create_task(self._open_one())
            self._dials.add(task)
            task.add_done_callback(self._dials.discard)

    async def _open_one(self) -> None:
        error: Fault | None = None
        try:
            connection = await self._dialer.open(lambda: Http1Connection(self._lost))
        except Fault as fault:
            error = fault
        finally:
            # Now and not when the task is done, as what follows counts those that are being opened.
            self._dials.remove(cast(asyncio.Task[None], asyncio.current_task()))
        if error is None:
            self._open.add(connection)
            connection.opened_at = self._loop.time()
            self._offer(connection, connection.opened_at)
            return
        if self._waiting:
            self._refuse_first(error)
        self._dial()

    def _lost(self, connection: Http1Connection) -> None:
        """Forget a connection that is gone, and open another if somebody waits for its place."""
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        if self._waiting:
            self._dial()
