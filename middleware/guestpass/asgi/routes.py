"""Several reverse proxies as one app: each path to the proxy of its route."""

from collections.abc import Sequence
from typing import get_args

import anyio
from starlette.types import Receive, Scope, Send

from guestpass.asgi.proxy import Condition, ReverseProxy
from guestpass.core.matching import compile_pattern
from guestpass.upstream.balance import Backend, Figures
from guestpass.upstream.pool import PoolLimits


class RoutedProxy:
    """An ASGI app that hands each request to the first proxy whose pattern covers its path.

    Stand a gate in front of it: that refuses the paths that two readers could read differently, so that no
    spelling of a path meets another route here than at the backend.
    """

    def __init__(self, routes: Sequence[tuple[str, ReverseProxy]], default: ReverseProxy) -> None:
        """Compile the routes.

        Args:
            routes: Patterns (`core.matching`) and their proxies, in order; one proxy may stand for several.
            default: Where all else goes.

        Raises:
            ConfigError: A pattern is none.
        """
        self._leaving: list[ReverseProxy] = []
        self._proxies: tuple[ReverseProxy, ...] = ()
        self._replaced: anyio.Event | None = None
        self.replace(routes, default)

    def replace(self, routes: Sequence[tuple[str, ReverseProxy]], default: ReverseProxy) -> None:
        """Send every request from here on by these routes; what is under way ends where it began.

        Args:
            routes: As for a new one; proxies that were here before keep their connections.
            default: Where all else goes.

        Raises:
            ConfigError: A pattern is none; all stays as it was.
        """
        self._routes = [(compile_pattern("routes.path", path).match, proxy) for path, proxy in routes]
        self._default = default
        before = self._proxies
        self._proxies = tuple(dict.fromkeys([*(proxy for _, proxy in routes), default]))
        gone = [proxy for proxy in before if proxy not in self._proxies]
        for proxy in gone:
            proxy.retire()
        self._leaving = [proxy for proxy in (*self._leaving, *gone) if proxy.busy]
        if self._replaced is not None:
            self._replaced.set()

    @property
    def limits(self) -> PoolLimits:
        """What bounds the connections to each backend: those of the default."""
        return self._default.limits

    @property
    def backends(self) -> Sequence[Backend]:
        """All backends of all routes that have had a request, for metrics."""
        return [backend for proxy in self._proxies for backend in proxy.backends]

    @property
    def leaving(self) -> Sequence[Backend]:
        """Those of a configuration that was replaced, while requests are still under way there."""
        return [backend for proxy in self._leaving if proxy.busy for backend in proxy.backends]

    @property
    def websockets(self) -> int:
        """The WebSockets that are open, all routes together."""
        return sum(proxy.websockets for proxy in (*self._proxies, *self._leaving))

    @property
    def replicas(self) -> int:
        """How many backends there are; one of two routes counts twice."""
        return sum(proxy.replicas for proxy in self._proxies)

    @property
    def ejected(self) -> int:
        """How many of them are left alone at present."""
        return sum(proxy.ejected for proxy in self._proxies)

    @property
    def condition(self) -> Condition:
        """That of the worst route."""
        return max((proxy.condition for proxy in self._proxies), key=get_args(Condition).index)

    @property
    def figures(self) -> Figures:
        """What is counted of the default's requests, and of all others' where they share it."""
        return self._default.figures

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        else:
            proxy = self._proxy_of(scope["path"]) if self._routes else self._default
            await proxy(scope, receive, send)

    async def watch(self) -> None:
        """Check the health of the backends of every route, for ever."""
        while True:
            self._replaced = anyio.Event()
            async with anyio.create_task_group() as tasks:
                for proxy in self._proxies:
                    tasks.start_soon(proxy.watch)
                await self._replaced.wait()
                tasks.cancel_scope.cancel()

    async def aclose(self) -> None:
        """Drop the connections to every backend."""
        for proxy in (*self._proxies, *self._leaving):
            await proxy.aclose()

    def _proxy_of(self, path: str) -> ReverseProxy:
        for covers, proxy in self._routes:
            if covers(path):
                return proxy
        return self._default

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                await self.aclose()
                await send({"type": "lifespan.shutdown.complete"})
                return
