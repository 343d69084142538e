"""The processes of the commands that serve: uvicorn over the app that the environment describes."""

import gc
import math
import signal
import socket
from collections.abc import Callable
from types import FrameType
from typing import Any, Final

import uvicorn
from starlette.types import ASGIApp
from uvicorn.config import STARTUP_FAILURE, HTTPProtocolType

from guestpass.cli.app import Failure
from guestpass.cli.bounded_http import MOST, BoundedHttpTools
from guestpass.cli.supervisor import Supervisor
from guestpass.config import ServerSettings
from guestpass.wiring.apps import forward_auth_from_env, reloading_app_from_env

_KEEP_ALIVE: Final = 65
"""Seconds; a little more than load balancers in front keep theirs (60), so that it is they who close."""

_YOUNG_OBJECTS: Final = 20_000
"""Objects allocated between two collections of the youngest generation; Python's own 700 is for scripts."""


def app() -> ASGIApp:
    """Make one worker's app of `guestpass serve`."""
    return _spared(reloading_app_from_env())


def forward_auth() -> ASGIApp:
    """Make one worker's app of `guestpass forward-auth`."""
    return _spared(forward_auth_from_env())


def _spared(made: ASGIApp) -> ASGIApp:
    """Spare the garbage collector what lives as long as the process.

    Measured on an allocation-heavy leg, freezing and a higher threshold took p99 from 24 to 9 ms.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG_OBJECTS, *gc.get_threshold()[1:])
    return made


def run(
    factory: str,
    server: ServerSettings,
    listeners: list[socket.socket],
    *,
    backlog: int,
    parser: HTTPProtocolType,
    log_config: dict[str, Any],
    announce: Callable[[], None],
) -> None:
    """Serve until a signal, and `drain_delay` after it; requests then get `drain_timeout` to finish.

    Args:
        factory: The function of this module that makes a worker's app.
        server: How many workers, and how long they drain.
        listeners: Bound sockets, the public one first; closed afterwards.
        backlog: How many connections may wait to be accepted.
        parser: uvicorn's HTTP implementation.
        log_config: For `logging.config.dictConfig`, in each worker.
        announce: Called once a signal would be heeded, so that whoever reads it may send one.

    Raises:
        Failure: A worker could not start.
    """
    settings = uvicorn.Config(
        f"{__name__}:{factory}",
        factory=True,
        workers=server.workers,
        http="h11" if parser == "h11" else BoundedHttpTools,
        ws="websockets-sansio",
        lifespan="on",
        log_config=log_config,
        access_log=False,
        # Whose word on addresses counts is `server.trusted_proxies`; uvicorn would trust 127.0.0.1.
        proxy_headers=False,
        server_header=False,
        date_header=False,  # `Dated` adds it where a backend sent none
        backlog=backlog,
        timeout_keep_alive=_KEEP_ALIVE,
        timeout_graceful_shutdown=math.ceil(server.drain_timeout),
        h11_max_incomplete_event_size=MOST,
    )
    if server.workers > 1:
        supervisor = Supervisor(settings, listeners, draining=server.drain_delay > 0)
        announce()
        supervisor.run()
        started = all(process.exitcode != STARTUP_FAILURE for process in supervisor.processes)
    else:
        started = _run_here(uvicorn.Server(settings), listeners, announce)
    if not started:
        raise Failure("a worker could not start; the log says why")


def _run_here(server: uvicorn.Server, listeners: list[socket.socket], announce: Callable[[], None]) -> bool:
    """Serve in this process until a signal; whether it had started."""

    def stop(_signal: int, _frame: FrameType | None) -> None:
        server.should_exit = True

    # uvicorn takes these over while it serves, and raises each again once all is finished: by then there is
    # nothing left to stop, and having been asked to is no failure.
    for wanted in (signal.SIGINT, signal.SIGTERM):
        signal.signal(wanted, stop)
    announce()
    server.run(sockets=listeners)
    return server.started
