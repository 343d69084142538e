"""The issuer's HTTP client in spans: each attempt is one, and tells the issuer of it."""

from collections.abc import Mapping
from urllib.parse import urlsplit

from guestpass import spans
from guestpass.adapters.issuers.http_client import Answer, HttpClient
from guestpass.spans import SpanKind


class TracedHttpClient(HttpClient):
    """`HttpClient` that sends the trace's context (W3C `traceparent`, `tracestate`) with every request."""

    async def send(
        self, method: str, url: str, *, headers: Mapping[str, str] | None = None, content: bytes | None = None
    ) -> Answer:
        """As `HttpClient.send`."""
        # The host alone: it is a setting, while a path may name a session.
        attributes = {spans.METHOD: method, spans.HOST: urlsplit(url).hostname or ""}
        with spans.span(method, SpanKind.CLIENT, attributes) as span:
            told = {**(headers or {}), **spans.context_fields()}
            answer = await super().send(method, url, headers=told, content=content)
            spans.answered(span, answer.status)
            return answer
