"""A client's connection in memory, and uvicorn's protocol as `serve` has it on the other end."""

import asyncio
from typing import Any

from starlette.types import ASGIApp
from uvicorn.config import Config
from uvicorn.server import ServerState

from guestpass.cli.bounded_http import BoundedHttpTools


class Wire(asyncio.Transport):
    """Keeps what the server writes, a write an item, and how many of them came as several pieces."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 2)})
        self.writes: list[bytes] = []
        self.in_pieces = 0
        self.closing = False

    @property
    def written(self) -> bytes:
        """All of it."""
        return b"".join(self.writes)

    def write(self, data: Any) -> None:
        assert not self.closing
        self.writes.append(bytes(data))

    def writelines(self, list_of_data: Any) -> None:
        self.in_pieces += 1
        self.write(b"".join(list_of_data))

    def write_eof(self) -> None:
        self.writes.append(b"EOF")

    def get_write_buffer_size(self) -> int:
        return 5

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        self.closing = True

    def abort(self) -> None:
        self.closing = True

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


class Served:
    """An app under uvicorn's protocol, with as many clients as asked for."""

    def __init__(self, app: ASGIApp, clients: int = 1) -> None:
        config = Config(app, interface="asgi3", lifespan="off", log_config=None)
        config.load()
        self.state = ServerState()
        self.wires = [Wire() for _ in range(clients)]
        self.protocols = [
            BoundedHttpTools(config=config, server_state=self.state, app_state={}) for _ in self.wires
        ]
        for protocol, wire in zip(self.protocols, self.wires, strict=True):
            protocol.connection_made(wire)

    async def settled(self) -> None:
        """Return once nobody waits for a turn, every request has ended, and all is written."""
        for _ in range(20):
            await asyncio.sleep(0)
        while self.state.tasks:  # noqa: ASYNC110  uvicorn has no event for it
            await asyncio.sleep(0)
        await asyncio.sleep(0)
