"""One request and its response: moves bodies between ASGI's receive and send and a backend's connection."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from time import perf_counter
from typing import Any, Final

from guestpass.core.framing import NO_BODY, UNKNOWN
from guestpass.core.request_head import RequestHead
from guestpass.errors import (
    BodyTooLarge,
    Fault,
    PoolExhausted,
    RequestInvalid,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from guestpass.upstream.balance import Backend, Balancer
from guestpass.upstream.http1 import Abandoned, Http1Connection
from guestpass.upstream.pool import Pool

# ASGI's own shapes, as frameworks spell them.
_Message = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[_Message]]
_Send = Callable[[_Message], Awaitable[None]]

# RFC 9110 §9.2.2: sending one of these twice means no more than sending it once.
_IDEMPOTENT: Final = frozenset(("GET", "HEAD", "OPTIONS", "PUT", "DELETE"))
# No Content-Length with these: RFC 9110 §8.6 forbids it in 204, and uvicorn waits for a body in 304.
_BODILESS: Final = frozenset((204, 304))


class Exchange:
    """All that is in flight of one request, and how to stop it from outside.

    Nothing listens for the client's hanging up until the exchange is a beat old: a task for each request
    would cost a fifth of the whole request. A body that does not fit one message has a task that sends it,
    so that the response may begin before the request ends, and that listens once it is sent.

    Attributes:
        started: Whether the response has begun, so that no other can be sent.
    """

    __slots__ = (
        "_backend",
        "_balancer",
        "_connection",
        "_ended",
        "_error",
        "_head",
        "_header_timeout",
        "_max_body",
        "_method",
        "_moved",
        "_moved_before",
        "_receive",
        "_send",
        "_since",
        "_task",
        "_ticket",
        "started",
    )

    def __init__(
        self,
        balancer: Balancer,
        receive: _Receive,
        send: _Send,
        *,
        method: str,
        head: RequestHead,
        header_timeout: float,
        max_body: int | None,
    ) -> None:
        self._balancer = balancer
        self._backend = balancer.pick()
        self._method = method
        self._head = head
        self._receive = receive
        self._send = send
        self._header_timeout = header_timeout
        self._max_body = max_body
        self._connection: Http1Connection | None = None
        self._ticket: asyncio.Future[Http1Connection] | None = None
        self._task: asyncio.Task[None] | None = None
        self._since: float | None = None
        self._moved = 0
        self._moved_before = 0
        self._ended: bool | None = None
        self._error: Exception | None = None
        self.started = False

    async def run(self, *, http_version: str) -> None:
        """Send the request, then pass the response on as it comes.

        Args:
            http_version: The client's, as ASGI has it.

        Raises:
            Abandoned: The client has gone.
            RequestInvalid: The body is not as long as the head said, or longer than is allowed.
            Fault: The backend is at fault, or there is no connection to it.
        """
        length, body, more = self._head.length, b"", False
        if length != NO_BODY or http_version[0] != "1":  # from HTTP/2 on a body needs no field
            length, body, more = await self._first_part(length)
        else:
            self._ended = False  # from here on nobody else calls receive, so that a beat may listen
        began = perf_counter()
        data = self._head.start + _framed(body, length, more=more)
        connection = self._backend.pool.take() or await self._obtain()
        self._begin(connection, data, sent=not more)
        if more:
            left = length - len(body) if length >= 0 else None
            self._task = asyncio.create_task(self._upload(connection, left))
        try:
            while not connection.answered:
                await connection.news()
        except Fault:
            if not connection.stale or length != NO_BODY or self._method not in _IDEMPOTENT:
                self._balancer.failed(self._backend)
                raise
            connection = await self._once_more(data)
        self._balancer.figures.latency.observe(perf_counter() - began)
        if self._backend.failures:
            self._balancer.succeeded(self._backend)
        start = self._opening(connection)
        if not connection.whole:
            await self._stream(connection, start)
            return
        # Here at once, as most are: two messages in one turn of the loop, which `serve` writes as one.
        body = connection.take()
        self._release()
        self.started = True
        try:  # as `_tell`, twice: two coroutines less for most requests
            await self._send(start)
            await self._send({"type": "http.response.body", "body": body})
        except OSError as exc:
            raise Abandoned from exc

    def beat(self, now: float) -> None:
        """Start to listen for the client's hanging up; end the exchange if the backend is silent too long.

        The backend's time counts from when the request is sent, or from when it stopped taking more of it: a
        slow client uses up none of it.
        """
        if self._task is None and self._ended is not None:
            self._task = asyncio.create_task(self._listen(ended=self._ended))
        connection = self._connection
        if connection is None or connection.answered:
            return
        waiting = connection.sent or (connection.congested and self._moved == self._moved_before)
        self._moved_before = self._moved
        if not waiting:
            self._since = None
        elif self._since is None:
            self._since = now
        elif now - self._since >= self._header_timeout:
            self._interrupt(UpstreamTimeout("response head"))

    def close(self) -> None:
        """Let go of everything that is still held: the connection, the place in the queue, the task."""
        if self._task is not None:
            self._task.cancel()
            self._task = None
        self._release()

    # --- the connection -----------------------------------------------------------------------------------

    async def _obtain(self) -> Http1Connection:
        """Queue for a connection; a backend that cannot be reached has seen nothing, so another is tried."""
        tried: list[Backend] = []
        while True:
            backend = self._backend
            try:
                return await self._queue(backend.pool)
            except (UpstreamUnreachable, UpstreamTimeout, PoolExhausted) as error:
                if not isinstance(error, PoolExhausted):
                    self._balancer.failed(backend)
                tried.append(backend)
                if len(tried) == len(self._balancer.backends):
                    raise
            self._backend = self._balancer.pick(tried)
            if connection := self._backend.pool.take():
                return connection

    async def _queue(self, pool: Pool) -> Http1Connection:
        self._ticket = pool.ask()
        try:
            return await pool.granted(self._ticket)
        finally:
            self._ticket = None

    async def _once_more(self, data: bytes) -> Http1Connection:
        """Send a request again of which the backend has seen nothing; the connection with its answer."""
        self._release()
        self._backend.pool.drop_idle()
        connection = await self._obtain()
        self._begin(connection, data, sent=True)
        while not connection.answered:
            await connection.news()
        return connection

    def _begin(self, connection: Http1Connection, data: bytes, *, sent: bool) -> None:
        self._connection = connection
        if self._error is not None:
            raise self._error  # it came in the very moment in which the connection was granted
        connection.begin(data, for_head=self._method == "HEAD", sent=sent)

    def _release(self) -> None:
        """Give the connection back as soon as the response is whole, before the client has taken it."""
        connection = self._connection
        if connection is not None:
            self._connection = None
            self._backend.pool.give_back(connection)

    def _interrupt(self, error: Exception) -> None:
        """Have `run` raise `error` wherever it waits for the backend; nothing once the response is whole."""
        self._error = error
        if self._connection is not None:
            self._connection.fail(error)
        elif self._ticket is not None:
            self._backend.pool.leave(self._ticket, error)

    # --- from the backend to the client -------------------------------------------------------------------

    def _opening(self, connection: Http1Connection) -> _Message:
        status, headers = connection.status, connection.headers
        if connection.content_length is not None and status not in _BODILESS:
            headers.append((b"content-length", connection.content_length))
        return {"type": "http.response.start", "status": status, "headers": headers}

    async def _stream(self, connection: Http1Connection, start: _Message) -> None:
        await self._tell(start)
        while True:
            body = await connection.read()
            more = not connection.complete
            if not more:
                self._release()
            await self._tell({"type": "http.response.body", "body": body, "more_body": more})
            if not more:
                return

    async def _tell(self, message: _Message) -> None:
        self.started = True
        try:
            await self._send(message)
        except OSError as exc:  # how an ASGI server says that the client has gone (ASGI 2.4)
            raise Abandoned from exc

    # --- from the client to the backend -------------------------------------------------------------------

    async def _first_part(self, length: int) -> tuple[int, bytes, bool]:
        """What is there of the body: its length as it is known now, the bytes, and whether more will come."""
        self._limit(length)  # before a 100 (Continue) invites the body
        # Before a connection is taken, as a slow client should not hold one.
        body, more = _body_of(await self._receive())
        self._moved = len(body)
        self._limit(len(body))
        if length == NO_BODY and (body or more):
            length = UNKNOWN
        if not more:
            self._ended = True  # from here on nobody else calls receive, so that a beat may listen
        return length, body, more

    def _limit(self, size: int) -> None:
        if self._max_body is not None and size > self._max_body:
            raise BodyTooLarge(f"the body may have {self._max_body} bytes")

    async def _upload(self, connection: Http1Connection, left: int | None) -> None:
        """Send the rest of the body, then listen.

        Args:
            connection: Where to.
            left: How many bytes are still to come; None: nobody knows, so they go in chunks.
        """
        try:
            more = True
            while more:
                await connection.drain()
                body, more = _body_of(await self._receive())
                self._moved += len(body)
                self._limit(self._moved)
                if left is None:
                    connection.write(_chunk(body) if more else _last_chunk(body))
                else:
                    left -= len(body)
                    if left < 0 or (left > 0 and not more):
                        raise RequestInvalid("the body is not as long as Content-Length says")  # noqa: TRY301
                    connection.write(body)
            connection.end()
        except Exception as error:  # noqa: BLE001  whatever `receive` raises is `run`'s to raise
            self._interrupt(error)
        else:
            await self._listen(ended=True)

    async def _listen(self, *, ended: bool) -> None:
        """Wait for the client to hang up, and end the exchange then.

        Args:
            ended: Whether the message that ends the request's body has been received.
        """
        try:
            while True:
                _, more = _body_of(await self._receive())
                if ended:
                    return  # a server that has more to say after the end will never say that the client left
                ended = not more
        except OSError:
            self._interrupt(Abandoned())
        except Exception as error:  # noqa: BLE001  as in `_upload`
            self._interrupt(error)


def _body_of(message: _Message) -> tuple[bytes, bool]:
    if message["type"] == "http.disconnect":
        raise Abandoned
    return message.get("body", b""), message.get("more_body", False)


def _framed(body: bytes, length: int, *, more: bool) -> bytes:
    """Framing field, empty line, and the body as far as it is here; a body that is all here has a length."""
    if length == NO_BODY:
        return b"\r\n"
    if not more:
        if length not in (UNKNOWN, len(body)):
            raise RequestInvalid("the body is not as long as Content-Length says")
        return b"content-length: %d\r\n\r\n%b" % (len(body), body)
    if length >= 0:
        if len(body) > length:
            raise RequestInvalid("the body is not as long as Content-Length says")
        return b"content-length: %d\r\n\r\n%b" % (length, body)
    return b"transfer-encoding: chunked\r\n\r\n" + _chunk(body)


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""


def _last_chunk(data: bytes) -> bytes:
    return _chunk(data) + b"0\r\n\r\n"
