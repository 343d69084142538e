"""One HTTP/1.1 connection to a backend (RFC 9112): httptools on an asyncio Protocol, paused both ways.

Bytes pass as they are: no decoding, no decompression, no whole body. A response is complete only when its own
framing says so, and a connection is used again only if nothing about it is in doubt.
"""

import asyncio
from collections.abc import Callable
from typing import Final, cast

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from guestpass.core.hop_by_hop import ResponseNames, connection_options
from guestpass.core.model import Header
from guestpass.errors import UpstreamFailed

MOST_FIELDS: Final = 100
MOST_HEAD_BYTES: Final = 65_536
_HIGH_WATER: Final = 65_536  # of body bytes that nobody has taken yet; then the backend has to wait

_names: Final = ResponseNames()

# What an exchange goes through. Plain numbers: they are compared for every piece that the parser finds.
_IDLE: Final = 0
_HEAD: Final = 1
_BODY: Final = 2
_DONE: Final = 3


class Abandoned(Exception):  # noqa: N818  nobody is at fault: whoever asked has gone
    """The exchange was given up by its own side."""


class Http1Connection(asyncio.Protocol):
    """One connection, one exchange at a time: `begin`, `news` until `answered`, `read` until it is complete.

    Attributes:
        status: The status of the response, once it is `answered`.
        headers: Its end-to-end fields, names in lower case.
        content_length: The value of its `Content-Length`, if that is how it is framed.
        opened_at: Loop time at which it was opened; for its owner.
        idle_since: Loop time at which it was put aside; for its owner.
    """

    def __init__(self, on_lost: Callable[["Http1Connection"], None]) -> None:
        self._on_lost = on_lost
        self._loop = asyncio.get_running_loop()
        self._parser = HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._state = _IDLE
        self._error: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._drained: asyncio.Future[None] | None = None
        self._writing_paused = False
        self._reading_paused = False
        self._chunks: list[bytes] = []
        self._buffered = 0
        self._received = 0
        self._exchanges = 0
        self._for_head = False
        self._reusable = True
        self._until_close = False
        self._sent = True
        self._overhead = 0
        self._connection: list[bytes] = []
        self._codings: list[bytes] = []
        self.status = 0
        self.headers: list[Header] = []
        self.content_length: bytes | None = None
        self.opened_at = 0.0
        self.idle_since = 0.0

    # --- what its owner does ------------------------------------------------------------------------------

    @property
    def usable(self) -> bool:
        """Whether another exchange may begin: the last one ended cleanly on both sides."""
        return (
            self._error is None
            and self._reusable
            and self._sent
            and self._state in (_DONE, _IDLE)
            and not self._chunks
        )

    @property
    def stale(self) -> bool:
        """Whether the backend closed a kept-alive connection before it said a word to this request.

        It may have closed it before the request reached it; only then is a retry no second attempt.
        """
        return self._error is not None and self._exchanges > 1 and self._received == 0

    @property
    def sent(self) -> bool:
        """Whether the whole request has been handed over."""
        return self._sent

    @property
    def answered(self) -> bool:
        """Whether the head of the final response is here; 1xx ones are passed over (RFC 9110 §15.2)."""
        return self._state > _HEAD

    @property
    def complete(self) -> bool:
        """Whether the whole response is here and all of its body has been read."""
        return self._state == _DONE and not self._chunks

    def begin(self, data: bytes, *, for_head: bool, sent: bool) -> None:
        """Send a request's head, and of its body what there is.

        Args:
            data: The bytes to send.
            for_head: Whether the method is HEAD, whose response has no body whatever its fields say.
            sent: Whether that is the whole request; if not, `end` says when it is.
        """
        self._exchanges += 1
        self._state = _HEAD
        self._received = 0
        self._for_head = for_head
        self._sent = sent
        self._until_close = False
        self.write(data)

    def write(self, data: bytes) -> None:
        """Send more of the request; nothing happens on a connection that is lost."""
        if self._error is None and self._transport is not None:
            self._transport.write(data)

    def end(self) -> None:
        """Say that the whole request has been handed over."""
        self._sent = True

    async def drain(self) -> None:
        """Wait until the backend has room for more.

        Raises:
            Fault: The connection was lost.
            Abandoned: The exchange was given up.
        """
        if self._error is not None:
            raise self._error
        if self._writing_paused:
            self._drained = self._loop.create_future()
            try:
                await self._drained
            finally:
                self._drained = None

    @property
    def congested(self) -> bool:
        """Whether `drain` would wait."""
        return self._writing_paused

    def news(self) -> asyncio.Future[None]:
        """What to await for something new: the head, more of the body, or the end.

        A future and no coroutine, as every request waits here.

        Raises:
            Fault: The backend closed the connection, or sent what is not an HTTP response.
            Abandoned: The exchange was given up.
        """
        if self._error is not None:
            raise self._error
        self._waiter = self._loop.create_future()
        return self._waiter

    @property
    def whole(self) -> bool:
        """Whether the rest of the response is here, so that `take` gives all of it."""
        return self._state == _DONE

    async def read(self) -> bytes:
        """Wait for body bytes and take all that are here; empty: the response is complete.

        Raises:
            Fault: The response was cut short, or its framing is broken. Bytes before that come first.
            Abandoned: The exchange was given up.
        """
        while not self._chunks:
            if self._state == _DONE:
                return b""
            await self.news()
        return self.take()

    def take(self) -> bytes:
        """The body bytes that are here."""
        chunks = self._chunks
        self._chunks = []
        self._buffered = 0
        if self._reading_paused and self._transport is not None:
            self._reading_paused = False
            self._transport.resume_reading()
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def fail(self, error: Exception) -> None:
        """Give the exchange up and drop the connection; who waits for it gets `error`."""
        if self._error is None:
            self._error = error
            self._reusable = False
            if self._transport is not None:
                self._transport.abort()
        self._wake()

    def put_aside(self) -> None:
        """Be idle: from here on every byte of the backend's is one too many; nothing of it is kept."""
        self._state = _IDLE
        self.headers = []
        self.content_length = None
        if self._connection:
            self._connection = []
        if self._codings:
            self._codings = []
        if self._for_head:
            # The parser waits for a body that a response to HEAD only talks about.
            self._parser = HttpResponseParser(self)

    def close(self) -> None:
        """Drop the connection at once."""
        self.fail(Abandoned())

    def _wake(self) -> None:
        for waiter in (self._waiter, self._drained):
            if waiter is not None and not waiter.done():
                waiter.set_result(None)

    # --- asyncio.Protocol ---------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Parse what came, then wake whoever waits for it, once."""
        if self._state == _IDLE:
            # A response that nobody asked for; taking it for the next request's would cross two guests.
            self.close()
            return
        self._received += len(data)
        self._overhead += len(data)
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as exc:
            if self._state == _DONE:
                self._reusable = False
            else:
                error = UpstreamFailed("not an HTTP response")
                error.__cause__ = exc
                self.fail(error)
                return
        if self._state == _HEAD:
            if self._received > MOST_HEAD_BYTES:
                self.fail(UpstreamFailed("response head too large"))
        elif self._state == _BODY and self._overhead > MOST_HEAD_BYTES:
            # Trailers and chunk extensions without end would be collected in the parser (CVE-2024-22019).
            self.fail(UpstreamFailed("chunk overhead too large"))
        elif self._waiter is not None:
            waiter, self._waiter = self._waiter, None
            if not waiter.done():
                waiter.set_result(None)

    def eof_received(self) -> None:
        """Let the transport close itself; `connection_lost` tells what that means.

        Until then nobody may begin another exchange, which could only fail.
        """
        self._reusable = False

    def connection_lost(self, exc: Exception | None) -> None:
        """Decide whether the end of the connection is the end of the response, or cuts it short."""
        self._transport = None
        self._reusable = False
        if self._state == _BODY and self._until_close and exc is None and self._error is None:
            self._state = _DONE
        elif self._error is None:
            self._error = UpstreamFailed("connection closed by the backend")
            self._error.__cause__ = exc
        self._wake()
        self._on_lost(self)

    def pause_writing(self) -> None:
        """Have `drain` wait: the backend does not keep up."""
        self._writing_paused = True

    def resume_writing(self) -> None:
        """Let `drain` return."""
        self._writing_paused = False
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    # --- httptools callbacks ------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """Notice a second response to one request."""
        if self._state != _HEAD:
            self._reusable = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take one field line; those of a trailer section are dropped, as nothing vouches for them."""
        if self._state != _HEAD:
            return
        lower = _names[name]
        if lower is not None:
            self.headers.append((lower, value.rstrip(b" \t")))
            return
        lower = name.lower()
        if lower == b"content-length":
            self.content_length = value.rstrip(b" \t")
        elif lower == b"connection":
            if value != b"keep-alive":  # which names nothing that would not end here anyway
                self._connection.append(value)
        elif lower == b"transfer-encoding":
            self._codings.append(value)

    def on_headers_complete(self) -> None:
        """Read the status, settle the framing, drop what `Connection` lists."""
        status = self._parser.get_status_code()
        if self._state != _HEAD:
            return
        if status < 200:  # noqa: PLR2004  RFC 9110 §15.2
            # The parser itself stops at a 101 (Switching Protocols), which nobody asked for. Framing that an
            # interim response claims is not the response's (RFC 9110 §8.6): kept, it would cut that one.
            self.headers = []
            self._connection = []
            self._codings = []
            self.content_length = None
            return
        if len(self.headers) > MOST_FIELDS or (
            self._received > MOST_HEAD_BYTES
            and sum(len(name) + len(value) for name, value in self.headers) > MOST_HEAD_BYTES
        ):
            raise UpstreamFailed("response head too large")
        if status > 599:  # noqa: PLR2004  RFC 9110 §15: invalid
            raise UpstreamFailed("invalid status")
        if self._codings and b",".join(self._codings).strip(b" \t").lower() != b"chunked":
            raise UpstreamFailed("a transfer coding other than chunked")  # we could not undo it
        self.status = status
        if self._connection and (listed := connection_options(self._connection)):
            self.headers = [field for field in self.headers if field[0] not in listed]
        if not self._parser.should_keep_alive():
            self._reusable = False
        if self._for_head:
            self._state = _DONE
        else:
            self._state = _BODY
            self._until_close = self.content_length is None and not self._codings

    def on_body(self, data: bytes) -> None:
        """Keep body bytes until they are read; beyond the high-water mark the backend has to wait."""
        if self._state != _BODY:
            self._reusable = False  # bytes that are in no response
            return
        self._overhead = 0
        self._chunks.append(data)
        self._buffered += len(data)
        if self._buffered > _HIGH_WATER and not self._reading_paused and self._transport is not None:
            self._reading_paused = True
            self._transport.pause_reading()

    def on_message_complete(self) -> None:
        """Mark the response as whole; a 1xx response is not the response."""
        if self._state == _BODY:
            self._state = _DONE
