"""`GuestTokenMiddleware`: puts the gate in front of any ASGI app, for HTTP and for WebSockets."""

from collections.abc import Awaitable
from contextlib import suppress
from functools import partial
from typing import Final

import anyio
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from guestpass.admission import Admitted
from guestpass.asgi.lifespan import serve_lifespan
from guestpass.asgi.messages import (
    admitted_scope,
    answering,
    read_request,
    refuse,
    scope_for,
    send_delivering,
    send_with,
)
from guestpass.core.model import UnixTime
from guestpass.gate import Gate

TOKEN_EXPIRED: Final = 4401
"""The close code of a WebSocket whose token's time is over (private range, RFC 6455 §7.4.2)."""


class GuestTokenMiddleware:
    """Verifies, rotates and injects guest tokens around `app`; pure ASGI, so nothing is buffered."""

    def __init__(self, app: ASGIApp, *, gate: Gate) -> None:
        """Stand in front of `app`; may run at import, as nothing is opened here."""
        self.app = app
        self.gate = gate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        kind = scope["type"]
        if kind == "http":
            raw_path = scope.get("raw_path")
            if raw_path is not None:
                usual = self.gate.recall(scope["method"], scope["path"], raw_path, scope["headers"])
                if usual is not None:
                    headers, guest, origin, successor = usual
                    inner = scope_for(guest, scope, headers)
                    surface = self.gate.surface
                    due = surface.varying if origin is None else surface.varying_and_exposing
                    if successor is None:
                        await self.app(inner, receive, partial(send_with, due, send))
                    else:
                        await self.app(
                            inner, receive, partial(send_delivering, self.gate, successor, due, send)
                        )
                    return
        if kind == "http" or kind == "websocket":  # noqa: PLR1714  a set costs more than two compares
            outcome = await self.gate.admit(read_request(scope))
            if isinstance(outcome, Admitted):
                await self._admitted(outcome, scope, receive, send)
            else:
                await refuse(outcome, self.gate, scope, receive, send)
        elif kind == "lifespan":
            await serve_lifespan(self.app, self.gate, scope, receive, send)
        else:
            await self.app(scope, receive, send)

    async def _admitted(self, outcome: Admitted, scope: Scope, receive: Receive, send: Send) -> None:
        inner = admitted_scope(scope, outcome)
        if outcome.guest is None:
            await self.app(inner, receive, send)
            return
        answer = answering(send, self.gate, outcome, scope)
        if scope["type"] == "websocket" and outcome.dead_at is not None:
            socket = _ExpiringSocket(self.gate, outcome.dead_at, receive, answer)
            # Ours alone: whatever else the app raises, a wrapped one included, is the app's own.
            with suppress(SocketExpiredError):
                await self.app(inner, socket.receive, socket.send)
        else:
            await self.app(inner, receive, answer)


class SocketExpiredError(OSError):
    """Raised in an app that sends on a WebSocket whose token's time is over.

    An `OSError`, as ASGI asks for when the client is gone: starlette makes `WebSocketDisconnect` of it. An
    app that only ever sends would never learn of the end otherwise, and go on for ever.
    """


class _ExpiringSocket:
    """Closes a WebSocket with 4401 when its token is past its grace; the app sees a disconnect.

    Checked where the app waits and where it sends, so no task of ours outlives the app's call.
    """

    def __init__(self, gate: Gate, dead_at: UnixTime, receive: Receive, send: Send) -> None:
        self._clock = gate.clock
        self._dead_at = dead_at
        self._receive = receive
        self._send = send
        self._open = False
        self._closed = False

    async def receive(self) -> Message:
        """The next message, or the disconnect that the end of the token causes."""
        while not self._closed:
            left = self._dead_at - self._clock.time()
            if left <= 0 and self._open:
                await self._close()
                break
            # Before it is accepted a socket has nothing to close: the app is about to answer.
            with anyio.move_on_after(left if self._open else None):
                return await self._receive()
        return {"type": "websocket.disconnect", "code": TOKEN_EXPIRED, "reason": "token expired"}

    def send(self, message: Message) -> Awaitable[None]:
        """Pass a message on while the token lives.

        Raises:
            SocketExpiredError: The token's time is over, and the socket is closed. A close of the app's own
                is dropped then, as closing twice is an error to the server.
        """
        kind = message["type"]
        if self._closed:
            return self._gone(kind)
        if kind in {"websocket.accept", "websocket.close"}:
            self._open = kind == "websocket.accept"
        elif self._open and self._clock.time() >= self._dead_at:
            return self._gone(kind)
        return self._send(message)

    async def _gone(self, kind: str) -> None:
        await self._close()
        if kind != "websocket.close":
            raise SocketExpiredError("token expired")

    async def _close(self) -> None:
        if not self._closed:
            self._closed = True
            await self._send({"type": "websocket.close", "code": TOKEN_EXPIRED, "reason": "token expired"})
