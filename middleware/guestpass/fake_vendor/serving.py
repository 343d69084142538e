"""Serves ASGI apps on loopback with uvicorn, for a command or beside a test; needs the extra `server`."""

import logging
import signal
import socket
from asyncio import CancelledError
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread
from types import FrameType
from typing import Final, Literal

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from guestpass.fake_vendor.app import FakeVendor
from guestpass.fake_vendor.delivery import ConnectionCutError

_PATIENCE: Final = 10.0  # seconds for a server to start or to end; it takes some hundredths


def serve(listener: socket.socket, vendor: FakeVendor) -> None:
    """Serve `vendor` in the foreground until SIGINT or SIGTERM.

    uvicorn's own Date is off, as the vendor sends one by its own clock, and there must not be two.

    Args:
        listener: Bound and listening, so that the caller knows its port, and early requests wait.
        vendor: What is served.
    """
    config = uvicorn.Config(
        vendor, log_level="warning", date_header=False, server_header=False, timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)

    def stop(_signal: int, _frame: FrameType | None) -> None:
        server.should_exit = True

    # uvicorn ends in order, and then raises the signal again: having been asked to end is no failure.
    for wanted in (signal.SIGINT, signal.SIGTERM):
        signal.signal(wanted, stop)
    with _calm():
        server.run(sockets=[listener])


class Stage:
    """An ASGI app whose part is played by another one, which may change while it is served."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand the scope to whoever is on."""
        await self.app(scope, receive, send)


@contextmanager
def serving(app: ASGIApp, *, http: Literal["auto", "h11", "httptools"] = "auto") -> Iterator[str]:
    """Serve `app` over real loopback HTTP in a thread; the value is its URL, without a trailing slash.

    Requests that still hang at the end are cancelled. A `FakeVendor` knows its `url` meanwhile.

    Args:
        app: Any ASGI app. It runs in the thread's own event loop.
        http: Which of uvicorn's parsers reads the requests.

    Raises:
        RuntimeError: The server did not start.
    """
    with _calm(), socket.create_server(("127.0.0.1", 0)) as sock:
        server = _Server(
            uvicorn.Config(
                app,
                http=http,
                log_config=None,
                access_log=False,
                date_header=False,
                server_header=False,
                # uvicorn would believe what a request on loopback says of where it came from.
                proxy_headers=False,
            )
        )
        thread = Thread(target=server.run, kwargs={"sockets": [sock]}, name="guestpass-serving", daemon=True)
        thread.start()
        try:
            if not server.ready.wait(_PATIENCE):
                raise RuntimeError("the server did not start")
            url = f"http://127.0.0.1:{sock.getsockname()[1]}"
            if isinstance(app, FakeVendor):
                app.url = url
            yield url
        finally:
            if isinstance(app, FakeVendor):
                app.url = ""
            # Both: the first ends its loop, the second keeps it from waiting for requests that hang.
            server.should_exit = server.force_exit = True
            thread.join(_PATIENCE)


@contextmanager
def _calm() -> Iterator[None]:
    """Keep uvicorn from logging a traceback for each connection that is cut on purpose."""

    def by_accident(record: logging.LogRecord) -> bool:
        return not (record.exc_info and isinstance(record.exc_info[1], ConnectionCutError | CancelledError))

    logger = logging.getLogger("uvicorn.error")
    logger.addFilter(by_accident)
    try:
        yield
    finally:
        logger.removeFilter(by_accident)


class _Server(uvicorn.Server):
    """Says when it listens, which uvicorn leaves to polling."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and tell whoever waits."""
        await super().startup(sockets)
        self.ready.set()
