"""What tests of the ASGI shells share: apps that answer as told, and a WebSocket driven by hand."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import anyio
from kit import NOW, HeldClock, Sent, http_scope
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from guestpass.core.model import Header, RawToken, UnixTime

ORIGIN = b"https://shop.example"
NEAR = NOW + 200  # in the rotation window of 300 s
DUE = NOW - 40  # past the leeway, within grace
DEAD = NOW - 60  # past grace, by its first instant


@dataclass
class App:
    """Answers each request with the same messages, and keeps the scopes that it saw."""

    status: int = 200
    headers: Sequence[Header] | None = ()
    body: bytes = b"hello"
    scopes: list[Scope] = field(default_factory=list)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scopes.append(scope)
        start: Message = {"type": "http.response.start", "status": self.status}
        if self.headers is not None:
            start["headers"] = self.headers
        await send(start)
        await send({"type": "http.response.body", "body": self.body})


def carrying(raw: RawToken | None, *headers: Header, method: str = "GET", **more: Any) -> Scope:
    """A request with a token."""
    fields = list(headers) if raw is None else [(b"x-guest-token", raw.compact), *headers]
    return http_scope(method, headers=fields, **more)


def websocket_scope(raw: RawToken | None, *headers: Header, subprotocols: Sequence[str] = ()) -> Scope:
    """A `websocket` scope as uvicorn makes it."""
    scope = carrying(raw, *headers)
    del scope["method"]
    return {**scope, "type": "websocket", "scheme": "ws", "subprotocols": list(subprotocols)}


class LiveClock(HeldClock):
    """Moves with the event loop, so that what waits for an instant sees it come."""

    def __init__(self) -> None:
        super().__init__()
        self._began: float | None = None

    def time(self) -> UnixTime:
        if self._began is None:
            self._began = anyio.current_time()
        return UnixTime(self.wall + anyio.current_time() - self._began)


async def converse(app: ASGIApp, scope: Scope, *messages: Message) -> Sent:
    """Run a WebSocket app: the handshake, then `messages`, and then the client says nothing more."""
    sent = Sent()
    inbox: list[Message] = [{"type": "websocket.connect"}, *messages]

    async def receive() -> Message:
        if not inbox:
            await anyio.sleep_forever()
        return inbox.pop(0)

    async def send(message: Message) -> None:
        sent.messages.append(message)

    with anyio.fail_after(5):
        await app(scope, receive, send)
    return sent
