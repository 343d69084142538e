"""One WebSocket between a client and a backend (RFC 6455): handshake, messages both ways, close codes.

Each side is a connection of its own: pings are answered hop by hop, compression is negotiated hop by hop, and
a fragmented message arrives whole, as ASGI knows no fragments; hence the limit on its size.
"""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from websockets.asyncio.client import ClientConnection
from websockets.client import ClientProtocol
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol
from websockets.uri import WebSocketURI

from guestpass.core.hop_by_hop import connection_options, response_kind
from guestpass.core.model import Header
from guestpass.errors import ConfigError, Fault, UpstreamFailed, UpstreamTimeout
from guestpass.upstream.balance import Backend, Balancer
from guestpass.upstream.http1 import Abandoned

_Message = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[_Message]]
_Send = Callable[[_Message], Awaitable[None]]

_NORMAL: Final = 1000
_GOING_AWAY: Final = 1001
_NO_CODE: Final = 1005
_BAD_GATEWAY: Final = 1014
# RFC 6455 §7.4: the others only ever say what was *not* received.
_SENDABLE: Final = frozenset((1000, 1001, 1002, 1003, *range(1007, 1015)))
_PRIVATE: Final = range(3000, 5000)
# How long a backend may take to answer a close. The client has left, so nobody waits for what it still says.
_CLOSE_TIMEOUT: Final = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class WebSocketLimits:
    """Bounds of WebSockets.

    Attributes:
        max_open: WebSockets at once, those in their handshake included.
        max_message_bytes: The largest message from the backend; uvicorn's `ws_max_size` limits the client's,
            and has the same default.
        ping_interval: Seconds between pings to the backend; one unanswered for as long ends the socket.
    """

    max_open: int = 1024
    max_message_bytes: int = 16 * 1024 * 1024
    ping_interval: float = 20.0

    def __post_init__(self) -> None:
        if self.max_open < 1:
            raise ConfigError("upstream.websockets.max_open", "must be one or more")
        if self.max_message_bytes < 1:
            raise ConfigError("upstream.websockets.max_message_bytes", "must be one or more")
        if not 0 < self.ping_interval < float("inf"):
            raise ConfigError(
                "upstream.websockets.ping_interval", "must be a finite number of seconds above zero"
            )


class Refused(Exception):  # noqa: N818  an answer, and not ours to judge
    """The backend answered the handshake with a response of its own."""

    def __init__(self, status: int, headers: list[Header], body: bytes) -> None:
        super().__init__(f"status {status}")
        self.status = status
        self.headers = headers
        self.body = body


class _RawRequest(Request):
    """A handshake request that is already written: a path is never parsed or encoded anew."""

    head: bytes = b""

    def serialize(self) -> bytes:
        return self.head


class _Protocol(ClientProtocol):
    """The handshake's and the frames' state machine, with the head of our own."""

    def __init__(self, start: bytes, subprotocols: Sequence[str], max_size: int) -> None:
        super().__init__(
            WebSocketURI(secure=False, host="localhost", port=80, path="/", query=""),
            subprotocols=[Subprotocol(name) for name in subprotocols] or None,
            max_size=max_size,
        )
        offered = ", ".join(subprotocols).encode()
        self._head = b"".join(
            (
                start,
                b"connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n",
                b"sec-websocket-key: %b\r\n" % self.key.encode(),
                b"sec-websocket-protocol: %b\r\n" % offered if offered else b"",
                b"\r\n",
            )
        )

    def connect(self) -> Request:
        request = _RawRequest("/", Headers())
        request.head = self._head
        return request


class Tunnel:
    """One WebSocket, from its handshake to its close."""

    def __init__(self, balancer: Balancer, limits: WebSocketLimits, receive: _Receive, send: _Send) -> None:
        self._balancer = balancer
        self._backend = balancer.pick()
        self._limits = limits
        self._receive = receive
        self._send = send
        self._connection: ClientConnection | None = None

    async def run(self, start: bytes, subprotocols: Sequence[str], *, header_timeout: float) -> None:
        """Open the backend's side, accept the client's, and pass messages until either side closes.

        Args:
            start: The handshake request's line and fields, without those of the handshake itself.
            subprotocols: What the client offers, in its order.
            header_timeout: Seconds that the backend may take to answer the handshake.

        Raises:
            Abandoned: The client left during the handshake.
            Refused: The backend answered with something other than a WebSocket.
            Fault: There is no backend, or it breaks the protocol; nothing has been accepted.
        """
        await self._receive()  # websocket.connect
        coming = asyncio.ensure_future(self._receive())
        opening = asyncio.ensure_future(self._open(start, subprotocols, header_timeout))
        try:
            await asyncio.wait((coming, opening), return_when=asyncio.FIRST_COMPLETED)
            if not opening.done():
                raise Abandoned  # before it is accepted, a client can only leave
            connection = opening.result()
            self._balancer.succeeded(self._backend)
            headers, _ = _end_to_end(connection.response)
            await self._send(
                {"type": "websocket.accept", "subprotocol": connection.subprotocol, "headers": headers}
            )
            await self._pass_on(connection, coming)
        finally:
            for task in (coming, opening):
                task.cancel()
            await asyncio.gather(coming, opening, return_exceptions=True)
            if self._connection is not None:
                self._connection.transport.abort()

    async def _open(
        self, start: bytes, subprotocols: Sequence[str], header_timeout: float
    ) -> ClientConnection:
        connection = self._connection = await self._connect(start, subprotocols)
        try:
            async with asyncio.timeout(header_timeout):
                await connection.handshake(user_agent_header=None)
        except TimeoutError as exc:
            self._balancer.failed(self._backend)
            raise UpstreamTimeout("websocket handshake") from exc
        except InvalidStatus as exc:
            headers, body = _end_to_end(exc.response)
            raise Refused(exc.response.status_code, headers, body) from exc
        except (InvalidHandshake, OSError, EOFError) as exc:
            self._balancer.failed(self._backend)
            raise UpstreamFailed("websocket handshake") from exc
        connection.start_keepalive()
        return connection

    async def _connect(self, start: bytes, subprotocols: Sequence[str]) -> ClientConnection:
        """Connect to a backend; one that cannot be reached has seen nothing, so another is tried."""
        limits = self._limits
        tried: list[Backend] = []
        while True:
            try:
                return await self._backend.dialer.open(
                    lambda: ClientConnection(
                        _Protocol(start, subprotocols, limits.max_message_bytes),
                        ping_interval=limits.ping_interval,
                        ping_timeout=limits.ping_interval,
                        close_timeout=_CLOSE_TIMEOUT,
                    )
                )
            except Fault:
                self._balancer.failed(self._backend)
                tried.append(self._backend)
                if len(tried) == len(self._balancer.backends):
                    raise
            self._backend = self._balancer.pick(tried)

    async def _pass_on(self, connection: ClientConnection, coming: "asyncio.Future[_Message]") -> None:
        backend = self._backend
        backend.tunnels += 1
        up = asyncio.create_task(self._up(connection, coming))
        down = asyncio.create_task(self._down(connection))
        try:
            await asyncio.wait((up, down), return_when=asyncio.FIRST_COMPLETED)
            if up.done():
                await down  # it ends as soon as the backend's side is closed
        finally:
            backend.tunnels -= 1
            for task in (up, down):
                task.cancel()
            await asyncio.gather(up, down, return_exceptions=True)
        for task in (up, down):
            if not task.cancelled():
                task.result()  # a bug in either direction is not swallowed

    async def _up(self, connection: ClientConnection, coming: "asyncio.Future[_Message]") -> None:
        """Pass on what the client sends, and at last that it has closed."""
        try:
            message = await coming
            while message["type"] != "websocket.disconnect":
                text = message.get("text")
                await connection.send(message["bytes"] if text is None else text)
                message = await self._receive()
        except ConnectionClosed:
            return  # `_down` tells the client
        code = _sendable(message.get("code") or _NO_CODE, abnormal=_GOING_AWAY)
        await connection.close(code, message.get("reason") or "")

    async def _down(self, connection: ClientConnection) -> None:
        """Pass on what the backend sends, and at last that it has closed."""
        try:
            try:
                while True:
                    data = await connection.recv()
                    kind = "text" if isinstance(data, str) else "bytes"
                    await self._send({"type": "websocket.send", kind: data})
            except ConnectionClosed as closed:
                frame = closed.rcvd or closed.sent
                code = frame.code if frame is not None else 0
                await self._send(
                    {
                        "type": "websocket.close",
                        "code": _sendable(code, abnormal=_BAD_GATEWAY),
                        "reason": frame.reason if frame is not None else "",
                    }
                )
        except (OSError, RuntimeError):
            pass  # the client has closed first; how a server says so differs


def _sendable(code: int, *, abnormal: int) -> int:
    """A code that may stand in a close frame; `abnormal`: what to say of a side that vanished."""
    if code in _SENDABLE or code in _PRIVATE:
        return code
    return _NORMAL if code == _NO_CODE else abnormal


def _end_to_end(response: Response | None) -> tuple[list[Header], bytes]:
    """The end-to-end fields and the body of a handshake's response."""
    if response is None:
        return [], b""
    fields = [
        (name.lower().encode("ascii"), value.encode("latin-1"))
        for name, value in response.headers.raw_items()
    ]
    listed = connection_options(value for name, value in fields if name == b"connection")
    kept = [
        field
        for field in fields
        if response_kind(field[0]) is None
        and field[0] not in listed
        and not field[0].startswith(b"sec-websocket-")
    ]
    return kept, bytes(response.body)
