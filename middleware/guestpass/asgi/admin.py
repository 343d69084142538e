"""What the admin port answers beside health: the metrics page."""

from collections.abc import Awaitable, Callable

from starlette.responses import PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from guestpass.metrics import Snapshot

Read = Callable[[], Awaitable[Snapshot]]
"""Reads every metric, of all workers."""

Write = Callable[[Snapshot], bytes]
"""Writes a snapshot in Prometheus' text format."""


class MetricsPage:
    """The metrics as Prometheus reads them, or how to get them."""

    def __init__(self, read: Read, write: Write | None, content_type: str) -> None:
        """Answer with what `read` gives and `write` writes; without `write`, say what to install."""
        self.read = read
        self.write = write
        self.content_type = content_type

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        response: Response
        if scope["method"] not in ("GET", "HEAD"):
            response = PlainTextResponse("Method Not Allowed", 405, {"allow": "GET, HEAD"})
        elif self.write is None:
            response = PlainTextResponse('Metrics need an extra: pip install "guestpass[metrics]"\n', 501)
        else:
            response = Response(self.write(await self.read()), headers={"content-type": self.content_type})
        response.headers["cache-control"] = "no-store"
        await response(scope, receive, send)
