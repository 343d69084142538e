"""Settings -> what workers share: in memory for one process, in Redis for a fleet, with memory behind it."""

from math import ceil
from typing import Final, Protocol

from guestpass.adapters.degrading_limiter import DegradingLimiter
from guestpass.adapters.degrading_store import DegradingStore
from guestpass.adapters.memory_pool import MemoryPool
from guestpass.adapters.memory_revocations import MemoryRevocations
from guestpass.adapters.memory_sessions import MemorySessions
from guestpass.adapters.memory_store import MemoryStore
from guestpass.adapters.ratelimit import MemoryLimiter
from guestpass.config import Rate, StoreSettings
from guestpass.core.model import Identity
from guestpass.errors import ConfigError, Unavailable
from guestpass.ports import (
    Clock,
    IssuerPause,
    Job,
    Limiter,
    RevocationLog,
    SessionStore,
    TokenPool,
    TokenStore,
)

_NO_CLIENT: Final = 'Redis needs an extra: pip install "guestpass[redis]"'


class State(Protocol):
    """What a gate remembers, and who watches over it; every part of one is the same kind of store."""

    store: TokenStore
    revocations: RevocationLog
    pause: IssuerPause | None
    sessions: SessionStore
    jobs: tuple[Job, ...]

    def limiter(self, name: str, rate: Rate | None) -> Limiter | None:
        """A limit of that name; None where there is none."""
        ...

    def pool(self, identity: Identity) -> TokenPool:
        """A pool of tokens for that identity."""
        ...

    async def version(self) -> str | None:
        """The shared store's version, such as 7.0.15; None where none is shared or it does not tell."""
        ...


def build_state(settings: StoreSettings, clock: Clock) -> State:
    """What `settings.url` names.

    Raises:
        ConfigError: The URL is none, or its client is not installed.
    """
    return SharedState(settings, clock) if settings.shared else LocalState(clock)


class LocalState:
    """What one process remembers by itself."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.store: TokenStore = MemoryStore(clock)
        self.revocations: RevocationLog = MemoryRevocations()
        self.pause: IssuerPause | None = None  # nobody else to tell
        self.sessions: SessionStore = MemorySessions(clock)
        self.jobs: tuple[Job, ...] = ()

    def limiter(self, name: str, rate: Rate | None) -> Limiter | None:
        """As `State.limiter`."""
        del name  # each is an object of its own here
        return None if rate is None else MemoryLimiter(rate.hits, ceil(rate.seconds), self._clock)

    def pool(self, identity: Identity) -> TokenPool:
        """As `State.pool`."""
        del identity  # a gate has one
        return MemoryPool()

    async def version(self) -> str | None:
        """As `State.version`."""
        return None


class SharedState:
    """What the workers of a fleet share over one Redis."""

    def __init__(self, settings: StoreSettings, clock: Clock) -> None:
        try:
            from guestpass.adapters.redis_link import RedisLink  # noqa: PLC0415  its client is an extra
        except ModuleNotFoundError as exc:
            raise ConfigError("store.url", _NO_CLIENT) from exc
        from guestpass.adapters.redis_limiter import RedisLimiter  # noqa: PLC0415  as above
        from guestpass.adapters.redis_pause import RedisPause  # noqa: PLC0415  as above
        from guestpass.adapters.redis_pool import RedisPool  # noqa: PLC0415  as above
        from guestpass.adapters.redis_revocations import RedisRevocations  # noqa: PLC0415  as above
        from guestpass.adapters.redis_sessions import RedisSessions  # noqa: PLC0415  as above
        from guestpass.adapters.redis_store import RedisStore  # noqa: PLC0415  as above
        from guestpass.adapters.sealing import Sealing  # noqa: PLC0415  needed here only

        self._local = LocalState(clock)
        self._link = RedisLink(settings.url.reveal(), clock, prefix=settings.prefix)
        self._sealing = Sealing(settings.secrets)
        self._clock = clock
        self._limiter_class = RedisLimiter
        self._pool_class = RedisPool
        shared = RedisStore(self._link, self._sealing, clock)
        self.store: TokenStore = DegradingStore(shared, self._local.store)
        self.revocations: RevocationLog = RedisRevocations(self._link, self._sealing, clock)
        self.pause: IssuerPause | None = RedisPause(self._link)
        # With nothing to fall back to: no process knows what another one issued.
        self.sessions: SessionStore = RedisSessions(self._link, self._sealing, clock)
        self.jobs: tuple[Job, ...] = (self._link.run,)

    def limiter(self, name: str, rate: Rate | None) -> Limiter | None:
        """As `State.limiter`: each name is one limit for the whole fleet."""
        local = self._local.limiter(name, rate)
        if rate is None or local is None:
            return None
        shared = self._limiter_class(self._link, self._sealing, name, amount=rate.hits, seconds=rate.seconds)
        return DegradingLimiter(shared, local)

    def pool(self, identity: Identity) -> TokenPool:
        """As `State.pool`; there is no pool while Redis is away."""
        return self._pool_class(self._link, self._sealing, self._clock, identity)

    async def version(self) -> str | None:
        """As `State.version`; Valkey tells the Redis that it is compatible with."""
        try:
            found = await self._link.command("INFO", "server")
        except Unavailable:  # a user of the store may be denied INFO, and needs nothing of it
            return None
        return str(found["redis_version"]) if isinstance(found, dict) and "redis_version" in found else None
