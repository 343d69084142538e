"""Nothing of one guest reaches another, whoever hangs up in the middle of what; and nothing is left over.

`CROSS_TALK_REQUESTS=20000` in the environment makes a longer storm of it.
"""

import asyncio
import os
from hashlib import sha256
from pathlib import Path
from random import Random

import anyio
import anyio.lowlevel
import jwt
import pytest
from kit import NOW, token, world
from proxying import anyio_backend, nothing_left_behind, parser, quiet_uvicorn
from recorder import Client, Connection, recording, serving

from guestpass.asgi.middleware import GuestTokenMiddleware
from guestpass.asgi.proxy import ReverseProxy
from guestpass.core.model import Identity
from guestpass.upstream.pool import PoolLimits

__all__ = ["anyio_backend", "nothing_left_behind", "parser", "quiet_uvicorn"]

pytestmark = pytest.mark.anyio

USERS = 200
REQUESTS = int(os.environ.get("CROSS_TALK_REQUESTS", "3000"))
CANCELLED = 0.2


def line(name: bytes, number: bytes, cookie: bytes, body: bytes) -> bytes:
    """What the backend says, many times over, of the request that it got."""
    return b"|".join([name, number, cookie, sha256(body).hexdigest().encode()]) + b"\n"


async def tell(connection: Connection) -> None:
    """A backend whose every line says whose request it answers."""
    while True:
        request = await connection.request()
        [name], [number], [cookie], [times] = (
            request.values(field) for field in (b"x-guest-name", b"x-number", b"cookie", b"x-times")
        )
        body = line(name, number, cookie, request.body) * int(times)
        head = b"HTTP/1.1 200 OK\r\nSet-Cookie: of=%b\r\nX-Number: %b\r\nContent-Length: %d\r\n\r\n"
        await connection.send(head % (cookie, number, len(body)) + body)


class User:
    """A guest with a token and cookies of their own, who often leaves in the middle."""

    def __init__(self, number: int, port: int) -> None:
        self.name = f"user{number}"
        # Half of them are in their rotation window, so that successors are on their way too.
        expires_at = NOW + (100 if number % 2 else 1800)
        self.rotates = bool(number % 2)
        identity = Identity(name=self.name, email=f"{self.name}@example.org")
        self.token = token(exp=expires_at, identity=identity).compact
        self.chance = Random(number)
        self.port = port
        self.client: Client | None = None
        self.answered = 0

    async def ask(self, times: int) -> None:
        for index in range(times):
            await self._ask(f"{self.name}-{index}".encode())
        self._leave()

    async def _ask(self, number: bytes) -> None:
        if self.client is None:
            self.client = Client(*await asyncio.open_connection("127.0.0.1", self.port))
        body = (number + b";") * self.chance.randrange(1, 2000)
        cookie = b"cookie-of-" + number
        times = self.chance.choice([1, 20, 1000])
        fields = [b"X-Guest-Token: " + self.token, b"Cookie: " + cookie, b"X-Number: " + number]
        fields += [b"X-Times: %d" % times, b"Content-Length: %d" % len(body), b"Host: x", b"", b""]
        wire = b"POST /" + number + b" HTTP/1.1\r\n" + b"\r\n".join(fields) + body
        fate = self.chance.random()
        if fate < CANCELLED / 2:
            await self.client.send(wire[: self.chance.randrange(1, len(wire))])
            self._leave()
        elif fate < CANCELLED:
            await self.client.send(wire)
            await self.client.reader.read(self.chance.randrange(1, 1000))
            self._leave()
        else:
            await self.client.send(wire)
            answer = await self.client.answer()
            assert (answer.status, answer.complete) == (200, True)
            assert answer.values(b"x-number") == [number]
            assert answer.values(b"set-cookie") == [b"of=" + cookie]
            assert answer.body == line(self.name.encode(), number, cookie, body) * times
            successors = answer.values(b"x-guest-token")
            assert bool(successors) is self.rotates
            for successor in successors:
                assert jwt.decode(successor, options={"verify_signature": False})["name"] == self.name
            self.answered += 1

    def _leave(self) -> None:
        if self.client is not None:
            self.client.close()
            self.client = None


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def storm(parser: str, requests: int) -> None:
    # Fewer connections than users, so that each serves many of them.
    limits = PoolLimits(max_connections=32, wait_timeout=30.0)
    async with recording(tell, limit=1 << 20) as backend:
        proxy = ReverseProxy(backend.url, limits=limits)
        async with serving(GuestTokenMiddleware(proxy, gate=world().gate), parser) as port:
            users = [User(number, port) for number in range(USERS)]
            with anyio.fail_after(60 + requests / 50):
                async with anyio.create_task_group() as tasks:
                    for user in users:
                        tasks.start_soon(user.ask, requests // USERS)
                pool = proxy.backends[0].pool
                while pool.in_use or pool.waiting or pool.opening:
                    await anyio.lowlevel.checkpoint()
            assert sum(user.answered for user in users) > requests * (1 - CANCELLED) * 0.9
            assert pool.idle <= limits.max_connections
            assert not proxy.figures.errors


@pytest.mark.slow
async def test_no_guest_meets_anything_of_another_and_nothing_is_left_over(parser: str) -> None:
    await storm(parser, USERS)  # what a loop opens once stays open
    before = descriptors()
    await storm(parser, REQUESTS)
    with anyio.fail_after(10):
        while descriptors() > before:
            await anyio.lowlevel.checkpoint()
