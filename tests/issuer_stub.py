"""A guest token issuer that answers as badly as a test asks it to: raw TCP, on asyncio and trio."""

import json
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import anyio
from anyio.abc import ByteStream, SocketAttribute
from anyio.lowlevel import checkpoint
from anyio.streams.tls import TLSListener

from guestpass.adapters.issuers.guesttoken import GuestTokenIssuer, GuestTokenSettings
from guestpass.adapters.issuers.hosts import gateway_hosts
from guestpass.adapters.issuers.http_client import HttpClient
from guestpass.adapters.issuers.oauth import ClientCredentials
from guestpass.core import base64url
from guestpass.core.model import MonotonicTime, UnixTime

CREDENTIALS = ClientCredentials(client_id="id", client_secret="s3cret")
LIFETIME = 1800

Reply = Callable[[ByteStream], Awaitable[None]]


class HeldClock:
    """A clock that only a test moves; sleeping by it takes no time and is remembered."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0
        self.sleeps: list[float] = []

    def time(self) -> UnixTime:
        return UnixTime(self.now)

    def monotonic(self) -> MonotonicTime:
        return MonotonicTime(self.now)

    async def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.now += seconds
        await checkpoint()


@dataclass(frozen=True, slots=True)
class Request:
    target: str
    fields: Mapping[str, str]
    body: bytes


# --- replies ----------------------------------------------------------------------------------------------


def reply(status: int, body: object = b"", **fields: str) -> Reply:
    """A whole answer; anything but octets is sent as JSON. `retry_after=...` becomes `Retry-After`."""
    octets = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = {"content-type": "application/json", "content-length": str(len(octets)), "connection": "close"}
    lines |= {name.replace("_", "-"): value for name, value in fields.items()}
    head = f"HTTP/1.1 {status} Any\r\n" + "".join(f"{name}: {value}\r\n" for name, value in lines.items())

    async def send(stream: ByteStream) -> None:
        await stream.send(head.encode("latin-1") + b"\r\n" + octets)

    return send


async def hang(_: ByteStream) -> None:
    """Not a word, for as long as the client waits."""
    await anyio.sleep_forever()


async def reset(stream: ByteStream) -> None:
    """RST after the request was read: it may have been obeyed, and its reply is lost."""
    sock = stream.extra(SocketAttribute.raw_socket)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def held(answer: Reply) -> tuple[Reply, anyio.Event]:
    """`answer`, but only once the event is set."""
    released = anyio.Event()

    async def when_released(stream: ByteStream) -> None:
        await released.wait()
        await answer(stream)

    return when_released, released


async def drip(stream: ByteStream) -> None:
    """A body that comes one octet at a time and has no end."""
    await stream.send(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n")
    while True:
        await stream.send(b" ")
        await anyio.sleep(0.01)


# --- the issuer -------------------------------------------------------------------------------------------


class IssuerStub:
    """Obeys `login_script` and `mint_script`, one reply a request; then behaves well."""

    def __init__(self) -> None:
        self.login_script: list[Reply] = []
        self.mint_script: list[Reply] = []
        self.logins: list[Request] = []
        self.mints: list[Request] = []
        self.port = 0
        self.clock = HeldClock()
        self._arrived = anyio.Event()

    async def minting(self, count: int) -> None:
        """Wait until `count` mints have been asked for."""
        while len(self.mints) < count:
            self._arrived = anyio.Event()
            await self._arrived.wait()

    def issuer(
        self, settings: GuestTokenSettings | None = None, *, http: HttpClient | None = None
    ) -> GuestTokenIssuer:
        """An issuer adapter that asks this stub, waits by its clock, and draws no jitter."""
        return GuestTokenIssuer(
            hosts=gateway_hosts(f"http://127.0.0.1:{self.port}", login_prefix="/login", api_prefix="/api"),
            credentials=CREDENTIALS,
            settings=settings,
            clock=self.clock,
            http=http,
            sleep=self.clock.sleep,
            draw=lambda: 0.0,
        )

    @asynccontextmanager
    async def listening(self, tls: ssl.SSLContext | None = None) -> AsyncIterator["IssuerStub"]:
        """Listen on loopback; a second time on the same port."""
        listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=self.port)
        self.port = listener.extra(SocketAttribute.local_port)
        serving = TLSListener(listener, ssl_context=tls, standard_compatible=False) if tls else listener
        async with serving, anyio.create_task_group() as tasks:
            tasks.start_soon(serving.serve, self._handle)
            try:
                yield self
            finally:
                tasks.cancel_scope.cancel()

    async def _handle(self, stream: ByteStream) -> None:
        async with stream:
            with suppress(anyio.BrokenResourceError, anyio.EndOfStream):  # the client may hang up
                await self._choose(await _read(stream))(stream)

    def _choose(self, request: Request) -> Reply:
        if request.target.startswith("/login/"):
            self.logins.append(request)
            if self.login_script:
                return self.login_script.pop(0)
            return reply(200, granted(f"access-{len(self.logins)}"))
        self.mints.append(request)
        self._arrived.set()
        return self.mint_script.pop(0) if self.mint_script else reply(200, self._minted(request))

    def _minted(self, request: Request) -> dict[str, Any]:
        exp = int(self.clock.now) + LIFETIME
        claims = {**json.loads(request.body), "exp": exp, "jti": str(len(self.mints))}
        payload = base64url.encode(json.dumps(claims).encode()).decode()
        return {"token": f"aGVhZGVy.{payload}.c2lnbmF0dXJl", "expires_at": exp}


def granted(token: object, *, expires_in: object = 86_400) -> dict[str, object]:
    """A login's good answer."""
    return {"access_token": token, "token_type": "bearer", "expires_in": expires_in}


async def _read(stream: ByteStream) -> Request:
    received = b""
    while b"\r\n\r\n" not in received:
        received += await stream.receive()
    head, _, body = received.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    while len(body) < int(fields.get("content-length", "0")):
        body += await stream.receive()
    return Request(first.split(" ")[1], fields, body)
