"""A backend that records exactly the bytes it got, uvicorn, and a client that sends what it is told."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio
import h11
import uvicorn
from starlette.types import ASGIApp

from guestpass.cli.bounded_http import BoundedHttpTools

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


@dataclass
class Request:
    """One request as the backend got it: its lines as they came, and its body without the framing."""

    head: bytes
    body: bytes

    @property
    def line(self) -> bytes:
        return self.head.split(b"\r\n", 1)[0]

    @property
    def fields(self) -> list[tuple[bytes, bytes]]:
        lines = self.head.split(b"\r\n")[1:]
        return [(name, value) for name, _, value in (line.partition(b": ") for line in lines)]

    def values(self, name: bytes) -> list[bytes]:
        return [value for known, value in self.fields if known.lower() == name]


class Connection:
    """One connection that the backend accepted."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.requests: list[Request] = []
        self.closed = asyncio.Event()

    async def head(self) -> bytes:
        return (await self.reader.readuntil(b"\r\n\r\n"))[:-4]

    async def request(self) -> Request:
        """The next request, body included; `IncompleteReadError` once the proxy has closed."""
        request = Request(await self.head(), b"")
        if lengths := request.values(b"content-length"):
            request.body = await self.reader.readexactly(int(lengths[0]))
        elif request.values(b"transfer-encoding"):
            while size := int(await self.reader.readuntil(b"\r\n"), 16):
                request.body += await self.reader.readexactly(size)
                assert await self.reader.readexactly(2) == b"\r\n"
            assert await self.reader.readexactly(2) == b"\r\n"
        self.requests.append(request)
        return request

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    def close(self) -> None:
        self.writer.close()

    def reset(self) -> None:
        """Close with a RST, as a crashed backend or a firewall does."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


Behaviour = Callable[[Connection], Awaitable[None]]


async def answer_ok(connection: Connection) -> None:
    while True:
        await connection.request()
        await connection.send(OK)


def answering(*answers: bytes, close: bool = False) -> Behaviour:
    """A backend that sends each answer, in pieces as given, to every request."""

    async def behave(connection: Connection) -> None:
        while True:
            await connection.request()
            for answer in answers:
                await connection.send(answer)
            if close:
                return

    return behave


@dataclass
class Recorder:
    """The backend: what it does on each connection, and what came."""

    behaviour: Behaviour = answer_ok
    connections: list[Connection] = field(default_factory=list)
    port: int = 0
    accepted: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def requests(self) -> list[Request]:
        return [request for connection in self.connections for request in connection.requests]

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = Connection(reader, writer)
        self.connections.append(connection)
        self.accepted.set()
        try:
            await self.behaviour(connection)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the proxy closed it
        finally:
            connection.closed.set()
            connection.close()


@asynccontextmanager
async def recording(behaviour: Behaviour = answer_ok, **options: object) -> AsyncIterator[Recorder]:
    recorder = Recorder(behaviour)
    server = await asyncio.start_server(recorder._accepted, "127.0.0.1", 0, **options)  # type: ignore[arg-type]
    recorder.port = server.sockets[0].getsockname()[1]
    try:
        yield recorder
    finally:
        server.close()
        for connection in recorder.connections:
            connection.close()


@asynccontextmanager
async def serving(app: ASGIApp, parser: str) -> AsyncIterator[int]:
    """Real uvicorn in this event loop, with the protocols that `serve` has; yields its port."""
    listening = socket.create_server(("127.0.0.1", 0))
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # as `serve` does
    config = uvicorn.Config(
        app,
        http="h11" if parser == "h11" else BoundedHttpTools,
        ws="websockets-sansio",
        lifespan="on",
        log_config=None,
        access_log=False,
        date_header=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=2,
    )
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    # The parts of `Server.serve` without its ticking main loop and its signal handlers.
    await server.startup([listening])
    try:
        yield listening.getsockname()[1]
    finally:
        await server.shutdown([listening])


@dataclass
class Answer:
    """What a client got. `complete` is False when the connection ended before the framing said so."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes
    complete: bool

    def values(self, name: bytes) -> list[bytes]:
        return [value for known, value in self.headers if known == name]


class Client:
    """A client on a raw socket: sends bytes as told, reads responses with h11."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.pending = b""

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self, method: bytes = b"GET") -> Answer:
        """The next final response."""
        parser = h11.Connection(h11.CLIENT)
        parser.send(h11.Request(method=method, target="/", headers=[("host", "x")]))
        parser.send(h11.EndOfMessage())
        if self.pending:
            parser.receive_data(self.pending)
            self.pending = b""
        found = Answer(0, [], b"", complete=False)
        while True:
            try:
                event = parser.next_event()
            except h11.RemoteProtocolError:
                return found
            if event is h11.NEED_DATA:
                try:
                    parser.receive_data(await self.reader.read(65536))
                except ConnectionError:
                    return found
            elif isinstance(event, h11.Response):
                found.status, found.headers = event.status_code, list(event.headers)
            elif isinstance(event, h11.Data):
                found.body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                found.complete = True
                self.pending = parser.trailing_data[0]
                return found
            elif isinstance(event, h11.ConnectionClosed):
                return found

    def close(self) -> None:
        self.writer.close()


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[Client]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    client = Client(reader, writer)
    try:
        yield client
    finally:
        client.close()


async def ask(port: int, data: bytes, method: bytes = b"GET") -> Answer:
    """Send `data` on a connection of its own and read one response."""
    with anyio.fail_after(10):
        async with connected(port) as client:
            await client.send(data)
            return await client.answer(method)


def get(path: bytes = b"/", *fields: bytes) -> bytes:
    return b"\r\n".join([b"GET " + path + b" HTTP/1.1", b"Host: site.example", *fields, b"", b""])
