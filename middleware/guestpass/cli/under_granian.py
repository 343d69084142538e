"""The processes of the commands that serve, with Granian in place of uvicorn: `--server granian`."""

import math
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Event, Thread
from typing import Any, Final

from granian import Granian
from granian.constants import HTTPModes, Interfaces, Loops
from granian.http import HTTP1Settings
from granian.log import LogLevels

from guestpass.cli.app import Failure
from guestpass.cli.bounded_http import MOST
from guestpass.config import ServerSettings

_OFTEN: Final = 0.05
"""Seconds between two looks whether a worker accepts connections."""

_APP: Final = "guestpass.cli.worker"


@contextmanager
def reserved(listener: socket.socket) -> Iterator[int]:
    """Keep the port of `listener`, which is closed, for sockets of ours alone; yields the port.

    Granian takes no sockets: each of its workers binds one of its own, and the kernel shares the connections
    out among them. One that is bound and does not listen gets none of them.
    """
    address, family = listener.getsockname(), listener.family
    listener.close()
    with socket.socket(family) as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        held.bind(address)
        yield address[1]


def run(
    factory: str,
    server: ServerSettings,
    listener: socket.socket,
    *,
    log_config: dict[str, Any],
    backlog: int,
    announce: Callable[[], None],
) -> None:
    """Serve until a signal says stop; requests then get `drain_timeout` to finish.

    Args:
        factory: The function of `cli.worker` that makes a worker's app.
        server: How many workers, and how long they drain.
        listener: A bound socket, whose address is served; closed.
        log_config: For `logging.config.dictConfig`, in each worker.
        backlog: Connections that may wait to be accepted, per worker.
        announce: Called once a worker accepts connections.

    Raises:
        Failure: A worker could not start.
    """
    with reserved(listener) as port:
        granian = Granian(
            f"{_APP}:{factory}",
            server.host,
            port,
            interface=Interfaces.ASGI,
            factory=True,
            workers=server.workers,
            loop=Loops.uvloop,
            backlog=backlog,
            http=HTTPModes.http1,  # as uvicorn, and without a look at what each connection speaks
            http1_settings=HTTP1Settings(max_buffer_size=MOST),
            log_level=LogLevels(server.log_level),
            log_dictconfig=log_config,
            workers_kill_timeout=math.ceil(server.drain_timeout),
            respawn_failed_workers=True,  # as uvicorn does; one that fails again at once ends all
        )
        over = Event()

        @granian.on_startup
        def started() -> None:
            Thread(target=_once_open, args=((server.host, port), over, announce), daemon=True).start()

        try:
            granian.serve()
        except SystemExit as exc:  # how it tells of a worker that ended by itself
            raise Failure("a worker could not start, or died; the log says why") from exc
        finally:
            over.set()


def _once_open(address: tuple[str, int], over: Event, announce: Callable[[], None]) -> None:
    while not over.wait(_OFTEN):
        with suppress(OSError):
            socket.create_connection(address, timeout=1).close()
            announce()
            return
