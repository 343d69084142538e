"""Every span and attribute of a trace, in one list, over OpenTelemetry's API; loaded where tracing is on.

An attribute holds one of a bounded set of words, a number or a truth value: never a token, a name, an e-mail
address, a path, or an exception's text. So what a trace can show is decided here, not where a span is made.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final, Protocol, runtime_checkable

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from guestpass.core.model import Header
from guestpass.errors import GuestpassError

Span = trace.Span
SpanKind = trace.SpanKind

# Spans; those of HTTP exchanges are named after their method, as OpenTelemetry's conventions have it.
VERIFY: Final = "guestpass.verify"  # verdict
MINT: Final = "guestpass.mint"
ROTATE: Final = "guestpass.rotate"
STORE: Final = "guestpass.store."  # and the method of `ports.TokenStore`
UPSTREAM: Final = "guestpass.upstream"

# Attributes of ours.
DECISION: Final = "guestpass.decision"  # as the label of `guestpass_requests_total`
REASON: Final = "guestpass.reason"  # why it was refused: as the label of `guestpass_refusals_total`
ROTATED: Final = "guestpass.rotated"  # whether the response carries a successor
VERDICT: Final = "guestpass.verdict"  # as the label of `guestpass_verifications_total`

# Attributes of OpenTelemetry's conventions for HTTP.
METHOD: Final = "http.request.method"
STATUS: Final = "http.response.status_code"
SCHEME: Final = "url.scheme"
HOST: Final = "server.address"
ERROR: Final = "error.type"

TRACEPARENT: Final = b"traceparent"
TRACESTATE: Final = b"tracestate"

_METHODS: Final = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE"))
_SERVER_FAULT: Final = 500
_FLUSH_MS: Final = 5000

_tracer: Final = trace.get_tracer("guestpass")  # finds the configured provider when the first span is made
# The W3C's alone, whatever OTEL_PROPAGATORS says: baggage may hold anything, and the issuer is a third party.
_context: Final = TraceContextTextMapPropagator()


@contextmanager
def span(
    name: str,
    kind: SpanKind = SpanKind.INTERNAL,
    attributes: Mapping[str, str] | None = None,
    *,
    parent: Context | None = None,
) -> Iterator[Span]:
    """Make a span and have it be the current one; an exception marks it as failed and goes on.

    Args:
        name: One of the names above, or a method's name.
        kind: Whether another process is asked (CLIENT), or asks (SERVER).
        attributes: Known at its start, so that a sampler may decide by them.
        parent: None: the span that is current.
    """
    with _tracer.start_as_current_span(
        name,
        parent,
        kind,
        attributes,
        # The text of an exception that is not ours may quote what it met, and the stack shows it.
        record_exception=False,
        set_status_on_exception=False,
    ) as made:
        try:
            yield made
        except GuestpassError as error:
            failed_with(made, error.reason)
            raise
        except BaseException as error:
            failed_with(made, type(error).__name__ if isinstance(error, Exception) else "cancelled")
            raise


def current() -> Span:
    """The span that is current; one that records nothing where there is none."""
    return trace.get_current_span()


def failed_with(failed: Span, word: str) -> None:
    """Mark a span as failed; `word` is one of a bounded set."""
    failed.set_attribute(ERROR, word)
    failed.set_status(trace.Status(trace.StatusCode.ERROR))


def answered(made: Span, status: int) -> None:
    """Record an HTTP answer: one from 500 on is a failure of whoever gave it."""
    made.set_attribute(STATUS, status)
    if status >= _SERVER_FAULT:
        failed_with(made, str(status))


def method_name(method: str) -> str:
    """A method as spans have it: any that is not the standard's own is one and the same."""
    return method if method in _METHODS else "_OTHER"


def context_fields() -> dict[str, str]:
    """The fields that tell another process of the current span (W3C Trace Context §3); none without one."""
    fields: dict[str, str] = {}
    _context.inject(fields)
    return fields


def told_context(headers: Iterable[Header]) -> Context:
    """The context that a request brings, or an empty one; one that is told twice is not believed.

    Args:
        headers: Field lines with lower-case names, in order.
    """
    told: dict[str, list[str]] = {}
    for name, value in headers:
        if name in (TRACEPARENT, TRACESTATE):
            told.setdefault(name.decode(), []).append(value.decode("latin-1"))
    # An empty one in place of None, which would stand for whatever span is current.
    return Context() if len(told.get("traceparent", ())) != 1 else _context.extract(told, Context())


@runtime_checkable
class _Flushing(Protocol):
    """What the SDK's provider has beyond the API's."""

    def force_flush(self, timeout_millis: int = 30_000) -> bool: ...


def flush() -> None:
    """Have the SDK, if there is one, send what it has kept so far; blocks for 5 s at most."""
    provider = trace.get_tracer_provider()
    if isinstance(provider, _Flushing):
        provider.force_flush(_FLUSH_MS)
