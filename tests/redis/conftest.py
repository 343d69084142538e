"""A Redis for each test; redis-py is asyncio only, and so are these tests."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from redis_server import RedisServer


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def server(tmp_path: Path, anyio_backend: str) -> AsyncIterator[RedisServer]:
    with RedisServer(tmp_path) as running:
        await running.ready()
        yield running
