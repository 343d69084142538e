"""Spans around our ASGI apps: one of the request that we serve, and one of the request that a backend gets.

Where an app of the user's own stands behind the gate, whatever instruments that app makes the server's span.
"""

from collections.abc import Awaitable, Collection
from functools import partial
from typing import Final

from anyio import to_thread
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from guestpass import spans
from guestpass.core.forwarded import Trust
from guestpass.core.model import Header
from guestpass.spans import Span, SpanKind

_CONTEXT: Final = (spans.TRACEPARENT, spans.TRACESTATE)
_UPGRADED: Final = 101
_STARTS: Final = frozenset(("http.response.start", "websocket.http.response.start"))
_REQUESTS: Final = frozenset(("http", "websocket"))


class ServerSpans:
    """Makes a span of each request to `app`, as a part of the trace that a trusted proxy tells of.

    What anyone else says of a trace is not believed: a stranger could otherwise put spans into traces that
    are not his, or have each of his requests recorded. His request begins a trace of its own.
    """

    def __init__(self, app: ASGIApp, *, trust: Trust, token: str, unless: Collection[str | None]) -> None:
        """Stand in front of `app`.

        Args:
            app: Ours.
            trust: Proxies whose word on the trace counts.
            token: The response field that carries a successor.
            unless: Paths without spans, such as those that a probe asks for.
        """
        self.app = app
        self._trust = trust
        self._token = token.lower().encode("ascii")
        self._unless = frozenset(unless)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, partial(_flushed, send))
            return
        if scope["type"] not in _REQUESTS or scope["path"] in self._unless:
            await self.app(scope, receive, send)
            return
        client = scope.get("client")
        believed = self._trust.believes(client[0] if client else None)
        context = spans.told_context(scope["headers"] if believed else ())
        method, attributes = _described(scope)
        attributes[spans.SCHEME] = scope.get("scheme", "http")
        with spans.span(method, SpanKind.SERVER, attributes, parent=context) as span:
            await self.app(scope, receive, _recording(send, span, self._token))


class UpstreamSpans:
    """Makes a span of each request that `app`, a proxy, carries to a backend, and tells the backend of it.

    The client's own fields of these names end here, whoever sent them: the backend's parent is our span.
    """

    def __init__(self, app: ASGIApp) -> None:
        """Stand in front of `app`."""
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] not in _REQUESTS:
            await self.app(scope, receive, send)
            return
        _, attributes = _described(scope)
        with spans.span(spans.UPSTREAM, SpanKind.CLIENT, attributes) as span:
            headers = [header for header in scope["headers"] if header[0] not in _CONTEXT]
            told = spans.context_fields()
            headers += [(name.encode("ascii"), value.encode("ascii")) for name, value in told.items()]
            await self.app({**scope, "headers": headers}, receive, _recording(send, span, None))


async def _flushed(send: Send, message: Message) -> None:
    """Send the last spans before the server hears of the end: a worker of uvicorn's then ends by a signal."""
    if message["type"] == "lifespan.shutdown.complete":
        await to_thread.run_sync(spans.flush)
    await send(message)


def _described(scope: Scope) -> tuple[str, dict[str, str]]:
    method = "GET" if scope["type"] == "websocket" else spans.method_name(scope["method"])
    return method, {spans.METHOD: method}


def _recording(send: Send, span: Span, token: bytes | None) -> Send:
    """Wrap `send` so that the span knows the status, and whether a field `token` is in the answer."""

    def send_recording(message: Message) -> Awaitable[None]:
        kind = message["type"]
        if kind in _STARTS:
            spans.answered(span, message["status"])
        elif kind == "websocket.accept":
            span.set_attribute(spans.STATUS, _UPGRADED)
        if token is not None and (kind in _STARTS or kind == "websocket.accept"):
            span.set_attribute(spans.ROTATED, _carries(message.get("headers", ()), token))
        return send(message)

    return send_recording


def _carries(headers: Collection[Header], name: bytes) -> bool:
    return any(known.lower() == name for known, _ in headers)
