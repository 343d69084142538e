"""Adds the Date field to responses that come without one (RFC 9110 §6.6.1).

A server that adds its own to every response would give a backend's response two of them.
"""

from collections.abc import Awaitable
from email.utils import formatdate

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from guestpass.core.model import Header
from guestpass.ports import Clock

_LENGTH = len(b"date")


class Dated:
    """Passes `app`'s responses on, each with exactly the Date that it brought, or with the present one."""

    def __init__(self, app: ASGIApp, clock: Clock) -> None:
        """Stand in front of `app`."""
        self.app = app
        self.clock = clock
        self._second = -1
        self._field: Header = (b"date", b"")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        def send_dated(message: Message) -> Awaitable[None]:
            if message["type"] == "http.response.start":
                headers = message.get("headers", ())
                for name, _ in headers:  # a generator would take three times as long
                    if len(name) == _LENGTH and name.lower() == b"date":
                        break
                else:
                    message = {**message, "headers": [self._now(), *headers]}
            return send(message)

        await self.app(scope, receive, send_dated)

    def _now(self) -> Header:
        """The field for the present second; written once a second, as that takes longer than a look-up."""
        second = int(self.clock.time())
        if second != self._second:
            self._second = second
            self._field = (b"date", formatdate(second, usegmt=True).encode("ascii"))
        return self._field
