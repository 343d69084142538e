"""Asks a backend, every few seconds and on a connection of its own, whether it is well."""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass

from guestpass.core.request_head import is_target
from guestpass.errors import ConfigError, Fault
from guestpass.upstream.balance import Backend, Balancer
from guestpass.upstream.dial import Dialer
from guestpass.upstream.http1 import Http1Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthCheck:
    """What a healthy backend answers, and how often it is asked; times in seconds.

    Attributes:
        path: Answered with a status from 200 to 399 by a backend that is well.
        interval: From one answer to the next question, give or take a tenth.
        timeout: How long an answer's head may take, the connection included.
        failures: How many in a row it takes to leave a backend alone.
        successes: How many in a row it takes to ask it again.
    """

    path: str
    interval: float = 5.0
    timeout: float = 2.0
    failures: int = 2
    successes: int = 2

    def __post_init__(self) -> None:
        if not is_target(self.path.encode()):
            raise ConfigError("upstream.health_path", "must be a path without blanks, controls or a fragment")
        for name in ("interval", "timeout", "failures", "successes"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ConfigError(f"upstream.health_{name}", "must be a finite number above zero")


async def watch(
    backend: Backend, balancer: Balancer, check: HealthCheck, on_turn: Callable[[Backend, bool], None]
) -> None:
    """Ask for ever, and tell `balancer` what came.

    Args:
        backend: Which one; `balancer` has it.
        balancer: Who leaves it alone, or asks it again.
        check: What to ask, and how often.
        on_turn: Told when that changes, with whether the backend is well.
    """
    # Not all workers, and not all backends, at the same instant: neither at the start nor later.
    pause = check.interval * random.random()  # noqa: S311  spread, not secrecy
    while True:
        await asyncio.sleep(pause)
        well = await is_well(backend.dialer, check)
        if balancer.checked(backend, well=well, failures=check.failures, successes=check.successes):
            on_turn(backend, well)
        pause = check.interval * random.uniform(0.9, 1.1)  # noqa: S311  as above


async def is_well(dialer: Dialer, check: HealthCheck) -> bool:
    """Ask once, on a new connection: what a full pool or a connection half dead says is another matter."""
    head = b"GET %b HTTP/1.1\r\nhost: %b\r\nuser-agent: guestpass\r\nconnection: close\r\n\r\n"
    connection: Http1Connection | None = None
    try:
        async with asyncio.timeout(check.timeout):
            connection = await dialer.open(lambda: Http1Connection(lambda _: None))
            connection.begin(head % (check.path.encode(), dialer.origin.authority), for_head=False, sent=True)
            while not connection.answered:
                await connection.news()
    except (Fault, TimeoutError):
        return False
    finally:
        if connection is not None:
            connection.close()
    return connection.status < 400  # noqa: PLR2004  RFC 9110 §15: neither side is at fault
