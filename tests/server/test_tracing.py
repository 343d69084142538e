"""Traces of `serve` and forward-auth over real HTTP, kept by OpenTelemetry's own SDK in memory."""

import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import anyio
import anyio.lowlevel
import httpx
import pytest
from fleet import ready
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode, format_span_id, format_trace_id
from recorder import Answer, Connection, Recorder, ask, get, recording, serving
from running import ROOT, VENDOR, running
from starlette.types import Receive, Scope, Send
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve

from guestpass import Gate
from guestpass.config import load
from guestpass.fake_vendor.jwt import sign
from guestpass.metrics import BY_NAME, REASONS
from guestpass.testing import FakeVendor, mint
from guestpass.testing import serving as serving_in_thread
from guestpass.wiring.apps import build_app, build_forward_auth

pytestmark = pytest.mark.anyio

NAME, EMAIL = "Zaphod Beeblebrox", "zaphod@heart-of-gold.example"
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TOLD = (f"traceparent: 00-{TRACE}-{PARENT}-01".encode(), b"tracestate: site=beacon")
TRUSTED = {"GUESTPASS_SERVER__TRUSTED_PROXIES": "127.0.0.1"}
ENVIRON = {
    **VENDOR,
    "GUESTPASS_TRACING__ENABLED": "true",
    "GUESTPASS_POLICY__SPREAD": "0",
    "GUESTPASS_POLICY__ROTATE_BEFORE": "300",
    "GUESTPASS_LIMITS__TOKEN_ENDPOINT": "off",
}
Tree = set[tuple[str, str]]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@dataclass
class Traces:
    """What the SDK has kept."""

    exporter: InMemorySpanExporter

    @property
    def spans(self) -> list[ReadableSpan]:
        return list(self.exporter.get_finished_spans())

    def named(self, name: str, kind: SpanKind | None = None) -> list[ReadableSpan]:
        return [span for span in self.spans if span.name == name and kind in (None, span.kind)]

    async def of_server(self) -> ReadableSpan:
        """The one span of the server's; it ends after its answer has reached us."""
        with anyio.fail_after(5):
            while not (found := [span for span in self.spans if span.kind is SpanKind.SERVER]):
                await anyio.lowlevel.checkpoint()
        [span] = found
        return span

    def tree(self) -> Tree:
        """Each span with its parent, by their names; one whose parent is elsewhere has "told"."""
        names = {span.context.span_id: span.name for span in self.spans}
        return {
            (span.name, names.get(span.parent.span_id, "told") if span.parent else "") for span in self.spans
        }


@pytest.fixture(scope="module")
def exporter() -> InMemorySpanExporter:
    """A process has one provider for good, as the API has it; nothing else in these tests asks for one."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    return exporter


@pytest.fixture
def traces(exporter: InMemorySpanExporter) -> Traces:
    exporter.clear()
    return Traces(exporter)


@dataclass
class Vendor:
    """The fake vendor, and which fields it was sent, by path."""

    vendor: FakeVendor = field(default_factory=FakeVendor)
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            fields = {name.decode(): value.decode("latin-1") for name, value in scope["headers"]}
            self.asked.append((scope["path"], fields))
        await self.vendor(scope, receive, send)

    def token(self, left: float = 1000) -> bytes:
        """The field line of a genuine token with `left` seconds to live."""
        claims = self.vendor.guests.claims(NAME, EMAIL)
        exp = int(time.time() + left)
        claims |= {"exp": exp, "iat": exp - 1800, "nbf": exp - 1800}
        return b"X-Guest-Token: " + sign(self.vendor.keys.signing, claims).encode()


@pytest.fixture(scope="module")
def gateway() -> Iterator[tuple[Vendor, str]]:
    vendor = Vendor()
    with serving_in_thread(vendor) as url:
        yield vendor, url


@pytest.fixture
def vendor(gateway: tuple[Vendor, str]) -> Vendor:
    vendor, _ = gateway
    vendor.asked.clear()
    vendor.vendor.faults.clear()
    return vendor


@dataclass
class Site:
    """A served site and its backend."""

    port: int
    backend: Recorder

    async def ask(self, *fields: bytes, path: bytes = b"/chat") -> Answer:
        return await ask(self.port, get(path, *fields))


@pytest.fixture
def environ(gateway: tuple[Vendor, str], vendor: Vendor) -> dict[str, str]:
    return {**ENVIRON, "GUESTPASS_ISSUER__GATEWAY": gateway[1]}


@asynccontextmanager
async def site(environ: Mapping[str, str], **more: str) -> AsyncIterator[Site]:
    async with recording() as backend:
        app = build_app(load(None, {**environ, **more, "GUESTPASS_UPSTREAM__URL": backend.url}))
        async with serving(app, "httptools") as port:
            with anyio.fail_after(20):
                yield Site(port, backend)


# --- the tree -----------------------------------------------------------------------------------------------


async def test_one_rotation_is_one_trace_from_the_proxy_before_us_to_backend_and_vendor(
    traces: Traces, vendor: Vendor, environ: dict[str, str]
) -> None:
    async with site(environ, **TRUSTED) as served:
        answer = await served.ask(vendor.token(left=200), *TOLD)
        assert answer.values(b"x-guest-token")
        server = await traces.of_server()
    assert traces.tree() == {
        ("GET", "told"),
        ("guestpass.verify", "GET"),  # the request's token, and the successor
        ("guestpass.store.chain_started_at", "GET"),
        ("guestpass.store.successor_of", "GET"),
        ("guestpass.store.lead", "GET"),
        ("guestpass.rotate", "GET"),
        ("POST", "guestpass.rotate"),  # the login, and the mint
        ("guestpass.store.remember", "GET"),
        ("guestpass.upstream", "GET"),
    }
    assert {format_trace_id(span.context.trace_id) for span in traces.spans} == {TRACE}
    assert server.parent is not None
    assert format_span_id(server.parent.span_id) == PARENT
    assert server.attributes == {
        "http.request.method": "GET",
        "url.scheme": "http",
        "http.response.status_code": 200,
        "guestpass.decision": "rotate",
        "guestpass.rotated": True,
    }
    assert all(
        span.attributes == {"guestpass.verdict": "genuine"} for span in traces.named("guestpass.verify")
    )

    [upstream] = traces.named("guestpass.upstream", SpanKind.CLIENT)
    [seen] = served.backend.requests[0].values(b"traceparent")
    assert seen.decode().split("-") == ["00", TRACE, format_span_id(upstream.context.span_id), "01"]
    assert served.backend.requests[0].values(b"tracestate") == [b"site=beacon"]

    attempts = {format_span_id(span.context.span_id) for span in traces.named("POST", SpanKind.CLIENT)}
    told = {
        path: fields["traceparent"].split("-") for path, fields in vendor.asked if "traceparent" in fields
    }
    assert told.keys() == {"/oauth/token", "/api/v2/webchat/v1/guesttokens"}
    assert {parent for _, _, parent, _ in told.values()} == attempts
    assert {trace_id for _, trace_id, _, _ in told.values()} == {TRACE}


async def test_a_first_token_is_traced_down_to_the_vendor(
    traces: Traces, vendor: Vendor, environ: dict[str, str]
) -> None:
    body = f'{{"name": "{NAME}", "email": "{EMAIL}"}}'.encode()
    head = b"POST /guestpass/token HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    async with site(environ) as served:
        answer = await ask(served.port, head + b"Content-Length: %d\r\n\r\n" % len(body) + body, b"POST")
        assert answer.status == 200
        server = await traces.of_server()
    assert server.name == "POST"
    assert {("POST", ""), ("guestpass.mint", "POST"), ("POST", "guestpass.mint")} <= traces.tree()


async def test_a_vendor_that_fails_shows_as_failed_attempts_within_a_failed_call(
    traces: Traces, vendor: Vendor, environ: dict[str, str]
) -> None:
    async with site(environ) as served:
        vendor.vendor.faults.add("server_error", route="mint")
        assert (await served.ask(vendor.token(left=200))).status == 200
        server = await traces.of_server()
    [rotate] = traces.named("guestpass.rotate")
    assert rotate.status.status_code is StatusCode.ERROR
    assert rotate.attributes == {"error.type": "unavailable"}
    failed = [said for span in traces.named("POST") if "error.type" in (said := dict(span.attributes or {}))]
    assert {said["http.response.status_code"] for said in failed} == {503}
    assert dict(server.attributes or {})["guestpass.rotated"] is False
    assert dict(server.attributes or {})["guestpass.decision"] == "rotate"


async def test_a_websocket_is_one_trace_too(traces: Traces, vendor: Vendor, environ: dict[str, str]) -> None:
    seen: list[str] = []

    async def echo(socket: ServerConnection) -> None:
        assert socket.request is not None
        seen.append(socket.request.headers["traceparent"])
        await socket.send(await socket.recv())

    name, _, value = vendor.token().decode().partition(": ")
    async with serve(echo, "127.0.0.1", 0) as backend:
        url = f"http://127.0.0.1:{backend.sockets[0].getsockname()[1]}"
        async with serving(
            build_app(load(None, {**environ, "GUESTPASS_UPSTREAM__URL": url})), "httptools"
        ) as port:
            with anyio.fail_after(10):
                async with connect(f"ws://127.0.0.1:{port}/", additional_headers={name: value}) as socket:
                    await socket.send("hello")
                    assert await socket.recv() == "hello"
                server = await traces.of_server()
    assert dict(server.attributes or {})["http.response.status_code"] == 101
    assert dict(server.attributes or {})["guestpass.rotated"] is False
    [upstream] = traces.named("guestpass.upstream")
    assert seen[0].split("-")[2] == format_span_id(upstream.context.span_id)


# --- whose word counts --------------------------------------------------------------------------------------


async def test_a_strangers_context_is_neither_believed_nor_passed_on(
    traces: Traces, vendor: Vendor, environ: dict[str, str]
) -> None:
    async with site(environ) as served:
        await served.ask(vendor.token(left=200), *TOLD)
        server = await traces.of_server()
    assert server.parent is None
    assert format_trace_id(server.context.trace_id) != TRACE
    assert {span.context.trace_id for span in traces.spans} == {server.context.trace_id}
    assert TRACE.encode() not in served.backend.requests[0].head
    assert b"beacon" not in served.backend.requests[0].head
    assert TRACE not in str(vendor.asked)
    assert "beacon" not in str(vendor.asked)


@pytest.mark.parametrize(
    "told",
    [
        [b"traceparent: 00-%s-%s-01" % (TRACE.encode(), PARENT.encode())] * 2,
        [b"traceparent: 00-%s-0000000000000000-01" % TRACE.encode()],
        [b"traceparent: \xff"],
        [b"tracestate: site=beacon"],
    ],
    ids=["twice", "no parent", "no text", "state alone"],
)
async def test_a_trusted_proxys_context_that_is_none_begins_a_new_trace(
    traces: Traces, vendor: Vendor, environ: dict[str, str], told: list[bytes]
) -> None:
    async with site(environ, **TRUSTED) as served:
        assert (await served.ask(vendor.token(), *told)).status == 200
        server = await traces.of_server()
    assert server.parent is None
    [context] = served.backend.requests[0].values(b"traceparent")
    assert context.split(b"-")[1].decode() == format_trace_id(server.context.trace_id) != TRACE


# --- what the server's span says ----------------------------------------------------------------------------

DECIDED = {
    "fresh, verified": ((1000,), "fresh", None, 200),
    "fresh, remembered": ((1000, 1000), "fresh", None, 200),
    "prefetch": ((320,), "prefetch", None, 200),
    "refused": ((-500,), "refused", "token_expired", 401),
}


@pytest.mark.parametrize("case", DECIDED)
async def test_the_decision_is_told_as_metrics_have_it(
    traces: Traces, vendor: Vendor, environ: dict[str, str], case: str
) -> None:
    lives, decision, reason, status = DECIDED[case]
    async with site(environ) as served:
        token = vendor.token(left=lives[0])
        for _ in lives:
            traces.exporter.clear()
            assert (await served.ask(token)).status == status
            server = await traces.of_server()
    said = dict(server.attributes or {})
    assert said["guestpass.decision"] == decision
    assert said["guestpass.decision"] in BY_NAME["requests_total"].values
    assert said.get("guestpass.reason") == reason
    assert said["http.response.status_code"] == status
    assert bool(traces.named("guestpass.verify")) is (case != "fresh, remembered")


RULES = """
[[rules]]
path = "/open"
protection = "off"

[[rules]]
path = "/perhaps"
protection = "optional"
"""


@pytest.mark.parametrize(("path", "decision"), [(b"/open", "unguarded"), (b"/perhaps", "anonymous")])
async def test_what_needs_no_token_is_told_too(
    traces: Traces, environ: dict[str, str], tmp_path: Path, path: bytes, decision: str
) -> None:
    file = tmp_path / "guestpass.toml"
    file.write_text(RULES, "utf-8")
    async with site(environ, GUESTPASS_CONFIG=str(file)) as served:
        assert (await served.ask(path=path)).status == 200
        server = await traces.of_server()
    assert dict(server.attributes or {})["guestpass.decision"] == decision


async def test_probes_are_left_out(traces: Traces, environ: dict[str, str]) -> None:
    async with site(environ) as served:
        assert (await served.ask(path=b"/livez")).status == 200
        await served.ask(path=b"/readyz")
    assert not [span for span in traces.spans if span.kind is SpanKind.SERVER]


async def test_a_dead_backend_is_the_upstream_spans_fault(
    traces: Traces, vendor: Vendor, environ: dict[str, str]
) -> None:
    async def hang_up(connection: Connection) -> None:
        await connection.request()

    async with site(environ) as served:
        served.backend.behaviour = hang_up
        assert (await served.ask(vendor.token())).status == 502
        await traces.of_server()
    [upstream] = traces.named("guestpass.upstream")
    assert upstream.status.status_code is StatusCode.ERROR
    assert dict(upstream.attributes or {})["error.type"] == "502"


async def test_forward_auth_is_traced_as_the_proxy_that_asks_tells(
    traces: Traces, vendor: Vendor, environ: dict[str, str]
) -> None:
    app = build_forward_auth(load(None, environ))
    async with serving(app, "httptools") as port:
        asked = (b"X-Forwarded-Method: GET", b"X-Forwarded-Uri: /chat", *TOLD, vendor.token(left=200))
        answer = await ask(port, get(b"/guestpass/auth/caddy", *asked))
        assert answer.status == 200
        server = await traces.of_server()
    assert server.parent is not None
    assert format_span_id(server.parent.span_id) == PARENT
    said = dict(server.attributes or {})
    assert (said["guestpass.decision"], said["guestpass.rotated"]) == ("rotate", True)
    assert ("guestpass.rotate", "GET") in traces.tree()


# --- what no span says --------------------------------------------------------------------------------------

WORDS = {*REASONS, *BY_NAME["requests_total"].values, "genuine", "GET", "POST", "_OTHER", "http", "127.0.0.1"}


async def test_no_span_holds_a_secret_or_any_text_of_a_clients(
    traces: Traces, vendor: Vendor, environ: dict[str, str]
) -> None:
    """Every text in a span is one of a list: what is not in it cannot be a token, a name or a path either."""
    name, mail = quote(NAME).encode(), quote(EMAIL).encode()
    async with site(environ, **TRUSTED) as served:
        for left in (1000, 320, 200, -10, -500):
            await served.ask(vendor.token(left), *TOLD[:1], path=b"/" + name + b"?mail=" + mail)
        await served.ask(b"X-Guest-Token: " + mint(name=NAME, email=EMAIL).encode())  # another one's key
        for nothing in (b"e30.e30.c2VjcmV0", b"secret", b""):
            await served.ask(b"X-Guest-Token: " + nothing)
        await ask(served.port, b"SECRET /%b HTTP/1.1\r\nHost: %b\r\n\r\n" % (name, name))
        for action in ("server_error", "html", "rate_limited", "forbidden", "token_unsigned"):
            vendor.vendor.faults.add(action, route="mint")
            await served.ask(vendor.token(left=200))
            vendor.vendor.faults.clear()
    assert len(traces.spans) > 50
    for span in traces.spans:
        assert span.name in {"GET", "POST", "_OTHER"} or span.name.startswith("guestpass."), span.name
        assert not span.events
        assert span.status.description is None
        texts = {value for value in (span.attributes or {}).values() if isinstance(value, str)}
        assert {text for text in texts if not text.isdecimal()} <= WORDS


# --- switched on, switched off ------------------------------------------------------------------------------


async def test_switched_off_there_is_no_span_and_a_clients_fields_pass_as_any_other(
    traces: Traces, vendor: Vendor, environ: dict[str, str]
) -> None:
    async with site(environ, GUESTPASS_TRACING__ENABLED="false") as served:
        assert (await served.ask(vendor.token(left=200), *TOLD)).status == 200
    assert not traces.spans
    assert TOLD[0].partition(b": ")[2] in served.backend.requests[0].values(b"traceparent")
    assert not [fields for _, fields in vendor.asked if "traceparent" in fields]


PROBE = """
import os, sys
{before}
from guestpass.config import load
from guestpass.wiring.apps import build_app
from guestpass.errors import ConfigError
try:
    build_app(load(None, os.environ))
except ConfigError as error:
    print(error)
print("opentelemetry" in sys.modules)
"""


def probe(before: str, **environ: str) -> list[str]:
    """What a fresh interpreter says of itself once it has built the app of `serve`."""
    settings = {"GUESTPASS_ISSUER__KIND": "local", "GUESTPASS_UPSTREAM__URL": "http://127.0.0.1:9", **environ}
    command = [sys.executable, "-c", PROBE.format(before=before)]
    done = subprocess.run(command, env=settings, capture_output=True, text=True, timeout=60, check=True)
    return done.stdout.splitlines()


def test_switched_off_the_library_is_not_even_loaded() -> None:
    assert probe("") == ["False"]
    assert probe("", GUESTPASS_TRACING__ENABLED="true") == ["True"]


def test_switched_on_without_the_library_says_what_to_install() -> None:
    missing = "sys.modules['opentelemetry'] = None"
    [said, _] = probe(missing, GUESTPASS_TRACING__ENABLED="true")
    assert said == 'tracing.enabled: needs an extra: pip install "guestpass[tracing]"'


HOP = """
from guestpass import spans
told = [(b"traceparent", b"{traceparent}"), (b"tracestate", b"site=beacon")]
for headers in (told, []):
    with spans.span("GET", spans.SpanKind.SERVER, {{}}, parent=spans.told_context(headers)):
        with spans.span(spans.UPSTREAM, spans.SpanKind.CLIENT):
            print(sorted(spans.context_fields().values()))
spans.flush()
"""


def test_without_an_sdk_a_believed_context_goes_on_as_it_came() -> None:
    """In a process of its own, as this one has an SDK."""
    told = f"00-{TRACE}-{PARENT}-01"
    command = [sys.executable, "-c", HOP.format(traceparent=told)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines() == [str([told, "site=beacon"]), "[]"]


@pytest.mark.parametrize("enabled", ["true", "false"])
def test_a_gate_from_the_environment_keeps_its_class(monkeypatch: pytest.MonkeyPatch, enabled: str) -> None:
    class OurGate(Gate):
        pass

    monkeypatch.setenv("GUESTPASS_ISSUER__KIND", "local")
    monkeypatch.setenv("GUESTPASS_TRACING__ENABLED", enabled)
    gate = OurGate.from_env()
    assert isinstance(gate, OurGate)
    assert (type(gate) is OurGate) is (enabled == "false")


def test_what_the_documentation_says_to_run_sends_the_spans_of_every_worker(environ: dict[str, str]) -> None:
    """With the spans on the console, where they are to be seen; the last ones too."""
    shown = (ROOT / "docs" / "operations.md").read_text("utf-8")
    block = re.search(r"<!-- run: traces -->\n```sh\n(.*?)```", shown, re.DOTALL)
    assert block
    *exports, command = block[1].splitlines()
    told = dict(pair.split("=", 1) for line in exports for pair in line.removeprefix("export ").split())
    told |= {"OTEL_TRACES_EXPORTER": "console", "OTEL_METRICS_EXPORTER": "none", "OTEL_LOGS_EXPORTER": "none"}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    words = (*shlex.split(command), "--port", "0", "--workers", "2")
    with running(*words, env={**environ, **told, "PATH": path}) as server:
        url = ready(server)
        assert httpx.get(url, trust_env=False).status_code == 401
        server.stop()
        said = "\n".join(server.lines)
    assert '"guestpass.reason": "token_missing",' in said
    assert '"service.name": "guestpass"' in said
