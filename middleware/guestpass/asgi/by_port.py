"""Different apps at different ports of one server: how the admin port is kept apart from the public one."""

from collections.abc import Mapping

from starlette.types import ASGIApp, Receive, Scope, Send


class ByPort:
    """Serves connections that arrived at one of `others` by its app, and everything else by `app`.

    The port is the socket's own, never the Host field's, so no client can choose it.
    """

    def __init__(self, app: ASGIApp, others: Mapping[int, ASGIApp]) -> None:
        """Stand in front of `app`, which also gets the lifespan."""
        self.app = app
        self.others = dict(others)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        server = scope.get("server")
        app = self.others.get(server[1], self.app) if server else self.app
        await app(scope, receive, send)
