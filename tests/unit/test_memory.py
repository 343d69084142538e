"""What a remembered token takes: less than a kilobyte, so that ten thousand guests are 10 MB."""

import gc
import tracemalloc

import pytest
from kit import NOW, token, world

from guestpass.admission import Admitted
from guestpass.core.model import RawToken

pytestmark = pytest.mark.anyio

COUNT = 1500


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def test_a_remembered_token_takes_less_than_a_kilobyte() -> None:
    """Measured over real admissions, whatever they leave behind; nobody keeps the tokens themselves."""
    w = world()
    tokens = [bytes(token(exp=NOW + 1700, sub=f"guest-{n}").compact) for n in range(COUNT + 100)]
    for compact in tokens[:100]:  # tables that grow in steps, and whatever is made once
        await w.admit(RawToken(compact))
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for number in range(100, COUNT + 100):
            assert isinstance(await w.admit(RawToken(tokens[number])), Admitted)
            tokens[number] = b""
        gc.collect()
        taken = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert len(w.gate.entries.cache) == COUNT + 100
    assert taken / COUNT < 1024
