"""The reverse proxy: a plain ASGI app that hands each request to a backend and streams the answer back.

An answer that the backend cut short is never completed: the app returns without the last body message, which
makes the server close the connection with the response unfinished (one log line, no traceback).
"""

import asyncio
import logging
from collections.abc import Iterable, Sequence
from typing import Final, Literal, get_args

from starlette.types import Receive, Scope, Send

from guestpass.asgi.problem import problem, send_problem, send_websocket_response
from guestpass.core.forwarded import Trust, parse_networks
from guestpass.core.framing import UNKNOWN
from guestpass.core.hop_by_hop import fold
from guestpass.core.model import Header
from guestpass.core.request_head import ProxyRules, RequestHead, request_head
from guestpass.errors import ConfigError, Fault, PoolExhausted, RequestInvalid
from guestpass.events import UPSTREAM_CUT_SHORT, UPSTREAM_DOWN, UPSTREAM_FAILED, UPSTREAM_UP, emit
from guestpass.upstream.balance import Backend, Balancer, Ejection, Figures, Strategy
from guestpass.upstream.checks import HealthCheck, watch
from guestpass.upstream.dial import BackendTls, Dialer
from guestpass.upstream.exchange import Exchange
from guestpass.upstream.http1 import Abandoned
from guestpass.upstream.origin import Origin
from guestpass.upstream.pool import Pool, PoolLimits
from guestpass.upstream.pulse import Pulse
from guestpass.upstream.websocket import Refused, Tunnel, WebSocketLimits

_BEAT: Final = 0.25
# A request whose framing two readers could see differently leaves the connection in doubt as well.
_CLOSE: Final[tuple[Header, ...]] = ((b"connection", b"close"),)


Condition = Literal["ok", "degraded", "unavailable"]


class ReverseProxy:
    """An ASGI app that forwards to a backend, or to several; opens nothing until the first request.

    Identity reaches the backend in `scope["headers"]`, where `GuestTokenMiddleware` puts it. The raw path
    goes to the backend byte for byte, with whatever prefix this app is mounted under.
    """

    def __init__(
        self,
        upstream: str | Sequence[str],
        *,
        preserve_host: bool = True,
        trusted_proxies: Iterable[str] = (),
        header_timeout: float = 60.0,
        max_body: int | None = None,
        limits: PoolLimits | None = None,
        websockets: WebSocketLimits | None = None,
        tls: BackendTls | None = None,
        balance: Strategy = "round_robin",
        ejection: Ejection | None = None,
        health: HealthCheck | None = None,
        figures: Figures | None = None,
    ) -> None:
        """Check the configuration.

        Args:
            upstream: `http://host[:port]`, `https://host[:port]` or `unix:///path/of/socket`; several are
                replicas of one service.
            preserve_host: Whether the backend sees the client's `Host` or its own name; of several, the
                name of the first.
            trusted_proxies: Addresses and CIDR networks whose `X-Forwarded-*` counts; by default nobody's.
            header_timeout: Seconds that the backend may take until the head of its response, or to take
                more of a body. There is no limit on the time between parts of a response.
            max_body: The largest request body in bytes, with or without a Content-Length; None: any, as none
                is ever held.
            limits: Connections, their queue and their ages.
            websockets: How many WebSockets, and how large their messages.
            tls: Certificates, for `https://` backends.
            balance: How one of several backends is chosen.
            ejection: When a failing one is left alone; a single one never is.
            health: What to ask each backend every few seconds, while `watch` runs; None: nothing.
            figures: What to count in, where that is shared with other proxies.

        Raises:
            ConfigError: One of these breaks its rule.
        """
        if not 0 < header_timeout < float("inf"):
            raise ConfigError("upstream.header_timeout", "must be a finite number of seconds above zero")
        if max_body is not None and max_body < 0:
            raise ConfigError("upstream.max_body", "must be a number of bytes, zero or more")
        origins = [Origin.parse(url) for url in ([upstream] if isinstance(upstream, str) else upstream)]
        if not origins or len(set(origins)) != len(origins):
            raise ConfigError("upstream.url", "must be one URL or several different ones")
        if balance not in get_args(Strategy):
            raise ConfigError("upstream.balance", "must be round_robin or least_connections")
        self._limits = limits or PoolLimits()
        self._balance: Strategy = balance
        self._ejection = ejection or Ejection()
        self._health = health
        self._dialers = [
            Dialer(origin, tls or BackendTls(), timeout=self._limits.connect_timeout) for origin in origins
        ]
        self._websocket_limits = websockets or WebSocketLimits()
        self._header_timeout = header_timeout
        self._max_body = max_body
        self._rules = ProxyRules(
            authority=origins[0].authority,
            preserve_host=preserve_host,
            trust=Trust(parse_networks(trusted_proxies, field="upstream.trusted_proxies")),
        )
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pulse: Pulse | None = None
        self._balancer: Balancer | None = None
        self.websockets = 0
        self.figures = figures or Figures()

    @property
    def limits(self) -> PoolLimits:
        """What bounds the connections to each backend."""
        return self._limits

    @property
    def backends(self) -> Sequence[Backend]:
        """The backends with their pools, for metrics; none before the first request."""
        return self._balancer.backends if self._balancer is not None else ()

    @property
    def busy(self) -> bool:
        """Whether a request or a WebSocket is under way."""
        return self.websockets > 0 or any(b.pool.in_use or b.pool.waiting for b in self.backends)

    @property
    def ejected(self) -> int:
        """How many backends are left alone at present."""
        return len(self._balancer.ejected) if self._balancer is not None else 0

    @property
    def replicas(self) -> int:
        """How many backends there are."""
        return len(self._dialers)

    @property
    def condition(self) -> Condition:
        """Whether all backends are well, or some, or none."""
        if not self.ejected:
            return "ok"
        return "degraded" if self.ejected < self.replicas else "unavailable"

    async def watch(self) -> None:
        """Check the health of each backend, for ever; nothing where no check is asked for."""
        if self._health is None:
            return
        balancer, _ = self._open()
        async with asyncio.TaskGroup() as tasks:
            for backend in balancer.backends:
                tasks.create_task(watch(backend, balancer, self._health, _turned))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        if scope["type"] != "http":
            await self._serve_other(scope, receive, send)
            return
        method: str = scope["method"]
        try:
            head = self._head(scope, method, scope["headers"])
        except RequestInvalid as error:
            await send_problem(send, error, _CLOSE)
            return
        balancer, pulse = self._open()
        exchange = Exchange(
            balancer,
            receive,
            send,
            method=method,
            head=head,
            header_timeout=self._header_timeout,
            max_body=self._max_body,
        )
        pulse.watch(exchange)
        try:
            await exchange.run(http_version=scope["http_version"])
        except Abandoned:
            pass  # nobody is there to be answered
        except RequestInvalid as error:
            if not exchange.started:
                await send_problem(send, error, _CLOSE)
        except Fault as error:
            self.figures.errors[error.reason] += 1
            event = UPSTREAM_CUT_SHORT if exchange.started else UPSTREAM_FAILED
            emit(event, level=logging.WARNING, reason=error.reason, cause=str(error))
            if not exchange.started:
                await send_problem(send, error)
        finally:
            pulse.unwatch(exchange)
            exchange.close()

    def retire(self) -> None:
        """Let what is under way end as it would, and keep no connection after it: another one serves now."""
        for backend in self.backends:
            backend.pool.retire()

    async def aclose(self) -> None:
        """Drop the connections to the backend; the proxy can be used again afterwards."""
        balancer, pulse, loop = self._balancer, self._pulse, self._loop
        self._balancer = self._pulse = self._loop = None
        if balancer is not None and pulse is not None and loop is asyncio.get_running_loop():
            for backend in balancer.backends:
                await backend.pool.aclose()
            pulse.stop()

    async def _serve_other(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind = scope["type"]
        if kind == "lifespan":
            await self._lifespan(receive, send)
        elif kind == "websocket":
            await self._tunnel(scope, receive, send)
        else:
            raise ValueError(f"unknown ASGI scope type {kind!r}")

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                await self.aclose()
                await send({"type": "lifespan.shutdown.complete"})
                return

    def _open(self) -> tuple[Balancer, Pulse]:
        """The backends of the running event loop, made when first asked for."""
        loop = asyncio.get_running_loop()
        if self._balancer is None or self._pulse is None or self._loop is not loop:
            self._loop = loop
            pulse = Pulse(min(_BEAT, self._header_timeout / 4, self._limits.wait_timeout / 4))
            backends = [Backend(dialer, Pool(dialer, self._limits, pulse)) for dialer in self._dialers]
            self._pulse, self._balancer = (
                pulse,
                Balancer(backends, self._balance, self._ejection, self.figures),
            )
        return self._balancer, self._pulse

    def _head(self, scope: Scope, method: str, headers: Sequence[Header]) -> RequestHead:
        client = scope.get("client")
        target: bytes = scope.get("raw_path") or b""
        if query := scope.get("query_string"):
            target = b"%b?%b" % (target, query)
        return request_head(
            method,
            target,
            headers,
            self._rules,
            http_version=scope["http_version"],
            scheme=scope.get("scheme", "http"),
            peer=client[0] if client else None,
        )

    async def _tunnel(self, scope: Scope, receive: Receive, send: Send) -> None:
        possible = "websocket.http.response" in scope.get("extensions", ())
        try:
            # The handshake's own fields are written anew: each side has its own key and extensions.
            fields = [field for field in scope["headers"] if not fold(field[0]).startswith(b"sec-websocket-")]
            head = self._head(scope, "GET", fields)
            if head.length > 0 or head.length == UNKNOWN:
                raise RequestInvalid("a handshake with a body")  # noqa: TRY301  one answer for all of them
            if self.websockets >= self._websocket_limits.max_open:
                raise PoolExhausted(retry_after=1.0)
            self.websockets += 1
            try:
                tunnel = Tunnel(self._open()[0], self._websocket_limits, receive, send)
                await tunnel.run(
                    head.start, scope.get("subprotocols", ()), header_timeout=self._header_timeout
                )
            finally:
                self.websockets -= 1
        except Abandoned:
            pass
        except Refused as refused:
            await send_websocket_response(
                send, refused.status, refused.headers, refused.body, possible=possible
            )
        except (RequestInvalid, Fault) as error:
            if isinstance(error, Fault):
                self.figures.errors[error.reason] += 1
                emit(UPSTREAM_FAILED, level=logging.WARNING, reason=error.reason, cause=str(error))
            await send_websocket_response(send, *problem(error), possible=possible)


def _turned(backend: Backend, well: bool) -> None:
    backend_name = backend.dialer.origin.authority.decode("ascii")
    if well:
        emit(UPSTREAM_UP, backend=backend_name)
    else:
        emit(UPSTREAM_DOWN, level=logging.WARNING, backend=backend_name)
