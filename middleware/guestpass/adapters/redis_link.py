"""The one link to Redis that everything shared goes through: scripts, deadlines, and the breaker."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import cache
from hashlib import sha1, sha256
from importlib import resources
from typing import Any, Final, TypeVar

import anyio
from redis.exceptions import NoScriptError, RedisClusterException, RedisError, ResponseError

from guestpass.adapters.breaker import Breaker
from guestpass.adapters.patience import Patience
from guestpass.adapters.redis_client import Client, close, connect
from guestpass.errors import StoreUnavailable, Unavailable
from guestpass.ports import Clock

_DEADLINE: Final = 0.4
"""Seconds for one operation: a free connection, opening it if need be, and the reply."""

_CONNECTIONS: Final = 32
_WRONG_TYPE: Final = "WRONGTYPE"

T = TypeVar("T")


class RedisLink:
    """Runs commands within a deadline; fails at once, without a wait, while Redis is known to be down.

    redis-py is asyncio only, and so is this.
    """

    def __init__(self, url: str, clock: Clock, *, prefix: str = "guestpass:") -> None:
        """Open nothing yet.

        Args:
            url: As `redis_client.connect` takes it.
            clock: For the breaker.
            prefix: What every key starts with.

        Raises:
            ConfigError: The URL is none.
        """
        self._prefix = prefix
        self.breaker = Breaker(clock)
        self._commands = connect(url, connections=2 * _CONNECTIONS)
        # Commands that block wait on connections of their own, or they would keep all others waiting.
        self._waits = connect(url, connections=2 * _CONNECTIONS)
        self._command_slots = anyio.CapacityLimiter(_CONNECTIONS)
        self._wait_slots = anyio.CapacityLimiter(_CONNECTIONS)

    def key(self, kind: str, name: bytes = b"", part: str = "") -> str:
        """A key: prefix, kind, and the digest of a name, which braces keep in one slot of a cluster."""
        digest = sha256(kind.encode() + b"\0" + name).hexdigest()[:40]
        return f"{self._prefix}{kind}:{{{digest}}}{part}"

    async def command(self, *words: str | bytes | float) -> Any:
        """Run one command.

        Raises:
            Unavailable: Redis gave no answer in time, refused, or is known to be down.
        """
        return await self._call(lambda: self._commands.execute_command(*words))

    async def script(self, name: str, keys: list[str], *arguments: str | bytes | float) -> Any:
        """Run `lua/{name}.lua` on keys of one slot.

        Raises:
            Unavailable: As `command`.
        """
        return await self._call(lambda: _run(self._commands, name, keys, arguments))

    async def await_entry(self, stream: str, *, seconds: float) -> None:
        """Block until `stream` has an entry, `seconds` at most; without polling.

        Raises:
            Unavailable: As `command`.
        """
        words = ("XREAD", "BLOCK", max(1, int(seconds * 1000)), "STREAMS", stream, "0")
        async with self._wait_slots:
            await self._ready()
            with self._judged(), Patience(seconds + _DEADLINE):
                await self._waits.execute_command(*words)

    async def run(self) -> None:
        """Probe in the background while Redis is down, for ever, so that no request has to."""
        _require_asyncio()
        self.breaker.attended = True
        try:
            while True:
                await anyio.sleep(self.breaker.probe_every)
                if self.breaker.is_open:
                    await self.probe()
        finally:
            self.breaker.attended = False

    async def probe(self) -> bool:
        """Whether Redis takes writes again; closes the breaker if it does."""
        try:
            with self._judged():
                await self._within_deadline(
                    lambda: self._commands.execute_command("SET", self.key("probe"), 1, "PX", 1000)
                )
        except Unavailable:
            return False
        self.breaker.recovered()
        return True

    async def aclose(self) -> None:
        """Close every connection; the link can be used again afterwards."""
        await close(self._commands)
        await close(self._waits)

    async def _call(self, operation: Callable[[], Awaitable[T]]) -> T:
        await self._ready()
        with self._judged():
            return await self._within_deadline(operation)

    async def _ready(self) -> None:
        _require_asyncio()
        if self.breaker.is_open and not (self.breaker.may_probe() and await self.probe()):
            raise StoreUnavailable("the shared store is out of reach")

    async def _within_deadline(self, operation: Callable[[], Awaitable[T]]) -> T:
        with Patience(_DEADLINE):
            async with self._command_slots:
                return await operation()

    @contextmanager
    def _judged(self) -> Iterator[None]:
        """Every way in which Redis can fail opens the breaker, and is ours from here on."""
        try:
            yield
        except ResponseError as exc:
            # Somebody put a list where a string was: that says nothing of Redis, and one key more or less
            # must not cost a fleet its store.
            if _WRONG_TYPE not in str(exc):
                self.breaker.failed(type(exc).__name__)
            raise StoreUnavailable("the shared store refused") from exc
        except (RedisError, RedisClusterException, OSError, TimeoutError) as exc:  # redis-py has two roots
            self.breaker.failed(type(exc).__name__)
            raise StoreUnavailable("the shared store did not answer") from exc


def _require_asyncio() -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        raise RuntimeError("the Redis store needs asyncio; on trio only memory:// works") from None


async def _run(client: Client, name: str, keys: list[str], arguments: tuple[str | bytes | float, ...]) -> Any:
    source, digest = _source(name)
    try:
        return await client.execute_command("EVALSHA", digest, len(keys), *keys, *arguments)
    except NoScriptError:  # the first call, or Redis was restarted
        return await client.execute_command("EVAL", source, len(keys), *keys, *arguments)


@cache
def _source(name: str) -> tuple[str, str]:
    source = resources.files("guestpass.adapters").joinpath("lua", f"{name}.lua").read_text("utf-8")
    return source, sha1(source.encode(), usedforsecurity=False).hexdigest()  # as EVALSHA names a script
