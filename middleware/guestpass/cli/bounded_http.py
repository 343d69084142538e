"""uvicorn's httptools protocol with a bound on what a client may send without getting anywhere.

The parser itself keeps a head or a trailer of any length in memory until it ends; h11 has a limit of its own
(`h11_max_incomplete_event_size`). A small response goes out in one write, and a crowd is served in turns.
"""

import asyncio
from typing import Final, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from guestpass.cli.gathering import Gathering
from guestpass.cli.turns import turns_of

MOST: Final = 65_536
"""Bytes of a request's head: a token, cookies and forwarding fields, with room to spare."""


class BoundedHttpTools(HttpToolsProtocol):
    """Ends a connection once more than `MOST` bytes complete neither a head nor a part of a body."""

    _held = b""
    _idle = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn
        """Keep the connection."""
        super().connection_made(Gathering(transport, self.loop))
        self._turns = turns_of(self.loop)

    def eof_received(self) -> None:
        """Take and write what is held before the transport closes itself: the client may still listen."""
        self._take_held()
        cast(Gathering, self.transport).flush()

    def shutdown(self) -> None:
        """Answer the request that waits for its turn, and no other after it."""
        self._take_held()
        super().shutdown()

    def data_received(self, data: bytes) -> None:
        """Take what the client sent, or keep it until its turn comes; much of it has to be taken now."""
        if self._held:
            self._held += data
            if len(self._held) > MOST:
                self._take_held()
        elif len(data) > MOST or self._turns.take(self._take_held):
            self._take(data)
        else:
            self._held = data
            self._unset_keepalive_if_required()

    def _take_held(self) -> None:
        data, self._held = self._held, b""
        # Gone is who has no parser any more. And after a response that closes the connection no other request
        # on it is served (RFC 9112 §9.6): its sender would never learn whether it was.
        if data and self.parser is not None and not self.transport.is_closing():  # type: ignore[redundant-expr]
            self._take(data)

    def _take(self, data: bytes) -> None:
        self._idle += len(data)
        super().data_received(data)
        if self._idle > MOST and not self.transport.is_closing():
            if self.cycle is None or self.cycle.response_complete:  # type: ignore[redundant-expr]  # None at first
                self.send_400_response("Request head too large.")
            else:  # in the midst of an answer there is no place for another
                self.transport.close()

    def on_headers_complete(self) -> None:
        """A head is complete."""
        self._idle = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A part of a body is there."""
        self._idle = 0
        super().on_body(body)

    def on_response_complete(self) -> None:
        """Let go of a request that is over: an idle connection keeps no token, and no memory gone cold."""
        super().on_response_complete()
        self._idle, cycle = 0, self.cycle
        if cycle.response_complete and not cycle.more_body:  # and no other request is there already
            self.cycle = self.scope = self.headers = None  # type: ignore[assignment]  # as they begin
