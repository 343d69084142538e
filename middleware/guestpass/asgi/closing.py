"""Ends kept connections while the process is about to stop, each with an answer that says so (RFC 9112 §9.6).

A client that sends its next request just as the server closes an idle connection cannot know whether it was
served.
"""

from collections.abc import Awaitable, Callable
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from guestpass.core.model import Header

_CLOSE: Final[Header] = (b"connection", b"close")


class Closing:
    """Passes `app`'s responses on; those that begin while `draining` are the last on their connection."""

    def __init__(self, app: ASGIApp, draining: Callable[[], bool]) -> None:
        """Stand in front of `app`, whose responses have no Connection field of their own."""
        self.app = app
        self.draining = draining

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""

        def send_closing(message: Message) -> Awaitable[None]:
            if message["type"] == "http.response.start" and self.draining():
                message = {**message, "headers": [*message.get("headers", ()), _CLOSE]}
            return send(message)

        await self.app(scope, receive, send_closing if scope["type"] == "http" else send)
