"""What a store URL becomes: memory for one process, Redis for several, or a line on what is missing."""

import sys

import pytest

from guestpass.adapters.degrading_limiter import DegradingLimiter
from guestpass.adapters.degrading_store import DegradingStore
from guestpass.adapters.memory_pool import MemoryPool
from guestpass.adapters.memory_store import MemoryStore
from guestpass.adapters.ratelimit import MemoryLimiter
from guestpass.adapters.system_clock import SystemClock
from guestpass.config import Rate, Secret, StoreSettings
from guestpass.core.model import Identity
from guestpass.errors import ConfigError
from guestpass.wiring.state import build_state

REDIS = StoreSettings(
    url=Secret("redis://127.0.0.1:1"), secret=Secret("s" * 32), second_secret=Secret("t" * 32)
)
GUEST = Identity(name="Guest", email="guest@example.org")


def test_in_one_process_everything_is_in_memory_and_nothing_runs() -> None:
    state = build_state(StoreSettings(), SystemClock())
    assert isinstance(state.store, MemoryStore)
    assert isinstance(state.limiter("calls", Rate(1, 60.0)), MemoryLimiter)
    assert isinstance(state.pool(GUEST), MemoryPool)
    assert state.pause is None
    assert state.jobs == ()


def test_over_redis_everything_has_memory_behind_it_and_is_watched() -> None:
    state = build_state(REDIS, SystemClock())
    assert isinstance(state.store, DegradingStore)
    assert isinstance(state.limiter("calls", Rate(1, 60.0)), DegradingLimiter)
    assert state.pause is not None
    assert len(state.jobs) == 1


@pytest.mark.parametrize("settings", [StoreSettings(), REDIS], ids=["memory", "redis"])
def test_a_limit_that_is_off_is_none(settings: StoreSettings) -> None:
    assert build_state(settings, SystemClock()).limiter("calls", None) is None


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "guestpass.adapters.redis_link", None)
    with pytest.raises(ConfigError, match=r'pip install "guestpass\[redis\]"'):
        build_state(REDIS, SystemClock())


def test_a_second_secret_is_as_long_as_the_first() -> None:
    assert REDIS.secrets == ["s" * 32, "t" * 32]
    with pytest.raises(ConfigError, match="second_secret"):
        StoreSettings(second_secret=Secret("short"))
