"""A backend that costs as little as Python can: one answer to each head; its argument is its port."""

import asyncio
import sys
from typing import cast

import uvloop

BODY = b'{"id":12345,"text":"%s"}' % (b"a" * 160)
ANSWER = (
    b"HTTP/1.1 200 OK\r\nServer: raw\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\n"
    b"Content-Type: application/json\r\nContent-Length: %d\r\nConnection: keep-alive\r\n\r\n%b"
) % (len(BODY), BODY)


class Raw(asyncio.Protocol):
    """Answers every empty line; the requests of a benchmark have no bodies and fit one segment."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.transport.write(ANSWER * data.count(b"\r\n\r\n"))


async def main(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Raw, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
