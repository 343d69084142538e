"""A JWKS endpoint that answers as badly as a test asks it to: raw TCP on loopback, on asyncio and trio."""

import json
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from hashlib import sha256
from typing import Any

import anyio
from anyio.abc import ByteStream, SocketAttribute
from anyio.streams.tls import TLSListener
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from guestpass.core import base64url
from guestpass.core.model import MonotonicTime, UnixTime

ALGORITHMS = frozenset({"EdDSA"})

Answer = Callable[[ByteStream], Awaitable[None]]


class HeldClock:
    """A clock that only a test moves."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def time(self) -> UnixTime:
        return UnixTime(self.now)

    def monotonic(self) -> MonotonicTime:
        return MonotonicTime(self.now)


# --- documents --------------------------------------------------------------------------------------------


def jwk(kid: str, *, of: str | None = None) -> dict[str, Any]:
    """An Ed25519 key named `kid`; the same name gives the same key, or that of another name."""
    private = Ed25519PrivateKey.from_private_bytes(sha256((of or kid).encode()).digest())
    x = base64url.encode(private.public_key().public_bytes_raw()).decode()
    return {"kty": "OKP", "crv": "Ed25519", "kid": kid, "x": x}


def jwks(*kids: str) -> bytes:
    return document([jwk(kid) for kid in kids])


def document(keys: object) -> bytes:
    return json.dumps({"keys": keys}).encode()


# --- answers ----------------------------------------------------------------------------------------------


def reply(body: bytes, *, status: int = 200, fields: Mapping[str, str] | None = None) -> Answer:
    """A whole answer; `fields` may override Content-Length."""
    lines = {"Content-Length": str(len(body)), "Connection": "close"} | dict(fields or {})
    head = f"HTTP/1.1 {status} Any\r\n" + "".join(f"{name}: {value}\r\n" for name, value in lines.items())

    async def answer(stream: ByteStream) -> None:
        await stream.send(head.encode() + b"\r\n")
        await stream.send(body)

    return answer


def endless(chunk: bytes, *, pause: float = 0.0) -> Answer:
    """Fields, and then `chunk` for ever, `pause` seconds apart."""

    async def answer(stream: ByteStream) -> None:
        await stream.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
        while True:
            await stream.send(chunk)
            await anyio.sleep(pause)

    return answer


async def hang(_: ByteStream) -> None:
    """Not a word, for as long as the client waits."""
    await anyio.sleep_forever()


async def slow_fields(stream: ByteStream) -> None:
    """One field after another: a timeout per read never fires."""
    await stream.send(b"HTTP/1.1 200 OK\r\n")
    while True:
        await stream.send(b"X-More: of it\r\n")
        await anyio.sleep(0.02)


async def reset(stream: ByteStream) -> None:
    """RST in place of an answer."""
    sock = stream.extra(SocketAttribute.raw_socket)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


async def reset_in_body(stream: ByteStream) -> None:
    """RST after the client has read a part of the body."""
    await stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n{")
    await reset(stream)


def held(answer: Answer) -> tuple[Answer, anyio.Event]:
    """`answer`, but only once the event is set."""
    released = anyio.Event()

    async def when_released(stream: ByteStream) -> None:
        await released.wait()
        await answer(stream)

    return when_released, released


# --- the server -------------------------------------------------------------------------------------------


class JwksStub:
    """Answers each request with `answer`, and keeps what it was asked."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.requests: list[bytes] = []
        self.port = 0
        self._arrived = anyio.Condition()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/jwks"

    async def requested(self, count: int) -> None:
        """Wait until `count` requests have come in all."""
        with anyio.fail_after(2):
            async with self._arrived:
                while len(self.requests) < count:
                    await self._arrived.wait()

    @asynccontextmanager
    async def listening(self, tls: ssl.SSLContext | None = None) -> AsyncIterator["JwksStub"]:
        """Listen on loopback; a second time on the same port."""
        listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=self.port)
        self.port = listener.extra(SocketAttribute.local_port)
        self._arrived = anyio.Condition()  # anew, as the event loop may be another
        serving = TLSListener(listener, ssl_context=tls, standard_compatible=False) if tls else listener
        async with serving, anyio.create_task_group() as tasks:
            tasks.start_soon(serving.serve, self._handle)
            try:
                yield self
            finally:
                tasks.cancel_scope.cancel()

    async def _handle(self, stream: ByteStream) -> None:
        async with stream:
            try:
                request = b""
                while b"\r\n\r\n" not in request:
                    request += await stream.receive()
                async with self._arrived:
                    self.requests.append(request)
                    self._arrived.notify_all()
                await self.answer(stream)
            except (anyio.BrokenResourceError, anyio.EndOfStream):
                pass  # the client hung up, as it may
