"""Our own paths beside a guarded app: exact paths to ASGI apps, everything else to the app."""

from collections.abc import Mapping

from starlette.types import ASGIApp, Receive, Scope, Send


class Site:
    """Serves `own` paths by themselves, and everything else, the lifespan included, by `app`."""

    def __init__(self, app: ASGIApp, own: Mapping[str, ASGIApp]) -> None:
        """Stand beside `app`; paths match exactly, percent-decoded and case-sensitive."""
        self.app = app
        self.own = dict(own)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        app = self.own.get(scope["path"], self.app) if scope["type"] == "http" else self.app
        await app(scope, receive, send)
