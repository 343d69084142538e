"""Puts our signed assertion of who the guest is into the request that a backend gets."""

from starlette.types import ASGIApp, Receive, Scope, Send

from guestpass.assertions import Assertions
from guestpass.core.model import Guest


class Asserting:
    """Stands between `GuestTokenMiddleware` and `app`.

    A guest without a token gets no assertion, as there is nothing to assert; and whatever a client sends
    under the assertion's name, in any spelling, the gate has removed on every route.
    """

    def __init__(self, app: ASGIApp, assertions: Assertions) -> None:
        """Stand in front of `app`."""
        self.app = app
        self.assertions = assertions

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        guest = scope.get("state", {}).get("guest")
        if isinstance(guest, Guest) and not guest.anonymous:
            scope = {**scope, "headers": [*scope["headers"], await self.assertions.field(guest)]}
        await self.app(scope, receive, send)
