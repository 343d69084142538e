"""Checks what stands around the gate: the store, the backend, and a real response through the whole proxy."""

import secrets
from collections.abc import AsyncIterator
from typing import Any, Final

import anyio
from starlette.types import ASGIApp, Message, Scope

from guestpass.core.model import Header, TokenId
from guestpass.doctor.findings import Finding, failed, ok, skipped, warning
from guestpass.doctor.patient import Patient
from guestpass.errors import Unavailable
from guestpass.ports import Lease
from guestpass.wiring.apps import build_app

_PATIENCE: Final = 20.0
_LEASE: Final = 5.0
_OLDEST: Final = (6, 2)
"""The first Redis that has every command of ours."""

_SHARED_DIRECTIVES: Final = ("public", "s-maxage")


async def store(patient: Patient) -> AsyncIterator[Finding]:
    """Take a lease and give it back."""
    step, settings = "store", patient.settings.store
    if not settings.shared:
        if patient.settings.server.workers > 1:
            cure = "Set store.url to a Redis: without it each worker mints successors of its own."
            yield warning(step, f"{patient.settings.server.workers} workers share no store", cure)
        else:
            yield skipped(step, "one process needs no shared store")
        return
    state, logins = patient.state, patient.parts.logins
    began = patient.clock.monotonic()
    try:
        lease = await state.store.lead(TokenId(secrets.token_bytes(32)), lease=_LEASE)
        if isinstance(lease, Lease):
            await state.store.abandon(lease)
        if logins is not None:
            await logins.sessions.ready()
        degraded = state.store.degraded
    except Unavailable:
        degraded = True
    if degraded:
        meanwhile = (
            "each worker goes by itself meanwhile"
            if logins is None
            else "meanwhile nobody can log in, and only tokens that a worker has seen pass there"
        )
        cure = f"Check store.url, its password and the firewall; {meanwhile}."
        yield failed(step, "the store cannot be reached, or not be written", cure)
        return
    seconds = patient.clock.monotonic() - began
    seen = f"{settings.scheme}: a lease was taken and given back in {seconds * 1000:.0f} ms"
    version = await state.version()
    if version is None:
        yield ok(step, f"{seen}; it does not tell its version")
    elif tuple(int(part) for part in version.split(".")[:2] if part.isdigit()) < _OLDEST:
        yield warning(
            step, f"{seen}; version {version}", "Update it: 6.2 is the oldest that has every command of ours."
        )
    else:
        yield ok(step, f"{seen}; version {version}")


async def response(patient: Patient) -> AsyncIterator[Finding]:
    """Send one request with the minted token through all of `serve`, and look at what comes back."""
    if not patient.settings.upstream.url:
        yield skipped("backend", "no backend is set (upstream.url)")
        return
    if patient.token is None or patient.genuine is None:
        yield skipped("backend", "there is no genuine token to pass the gate with")
        return
    origins = patient.settings.headers.cors_origins
    origin = next((origin for origin in origins if origin != "*"), "https://page.example")
    carrier = patient.settings.headers.header
    if carrier is None:
        yield skipped("backend", "tokens do not travel in a field of their own (headers.header is off)")
        return
    fields = [
        (b"host", b"guestpass.doctor"),
        (b"origin", origin.encode()),
        (carrier.lower().encode(), patient.token.compact),
    ]
    status, headers = await _asked(build_app(patient.settings, patient.state), patient.path, fields)
    for finding in (_backend(status, patient.path), *_fields(headers, carrier, bool(origins))):
        yield finding


def _backend(status: int, path: str) -> Finding:
    step, seen = "backend", f"GET {path} answers {status}"
    if status in (502, 503, 504):
        cure = "Start the backend, or check upstream.url; 503: it is out of connections, 504: it is too slow."
        return failed(step, f"{seen}: the backend cannot be had", cure)
    if status in (401, 403):
        return warning(
            step, seen, "The backend asks for more than the guest's identity, or this is not its path."
        )
    if status >= 500:  # noqa: PLR2004  RFC 9110 §15.6
        return warning(step, seen, "The backend has a fault of its own: ask it directly.")
    return ok(step, seen)


def _fields(headers: list[Header], carrier: str, crosses_origins: bool) -> list[Finding]:
    values: dict[str, str] = {}
    for name, value in headers:
        known = values.get(name.decode("latin-1").lower())
        text = value.decode("latin-1")
        values[name.decode("latin-1").lower()] = text if known is None else f"{known}, {text}"
    caching, varies = values.get("cache-control", "").lower(), values.get("vary", "").lower()
    findings = []
    if any(word in caching for word in _SHARED_DIRECTIVES):
        cure = "Have the backend say private: a cache that ignores Vary mixes up guests."
        findings.append(warning("caching", f"the backend's response may be shared: {caching}", cure))
    elif carrier.lower() not in varies and "*" not in varies:
        findings.append(
            failed("caching", f"Vary does not name {carrier}", "Let no proxy in front take Vary away.")
        )
    else:
        findings.append(ok("caching", "no shared cache may keep the response for another guest"))
    if not crosses_origins:
        return [*findings, skipped("cors", "no other origin's pages are allowed (headers.cors_origins)")]
    exposed = values.get("access-control-expose-headers", "").lower()
    allowed = values.get("access-control-allow-origin")
    if carrier.lower() not in exposed:
        cure = "Something drops Access-Control-Expose-Headers: pages cannot read the successor without it."
        return [*findings, failed("cors", "the response does not expose the token's field", cure)]
    if allowed is None:
        cure = "Pages of other origins read the backend only if it says Access-Control-Allow-Origin itself."
        return [*findings, warning("cors", "the backend allows no other origin", cure)]
    return [*findings, ok("cors", f"pages of {allowed} can read the successor")]


async def _asked(app: ASGIApp, path: str, fields: list[Header]) -> tuple[int, list[Header]]:
    """Run `app` for one request, between its start-up and its shutdown."""
    lifespan: Scope = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}
    started, over, ended = anyio.Event(), anyio.Event(), anyio.Event()
    events: list[Message] = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]

    async def orders() -> Message:
        if len(events) == 1:
            await over.wait()
        return events.pop(0)

    async def progress(message: Message) -> None:
        (started if message["type"].startswith("lifespan.startup") else ended).set()

    async def live() -> None:
        try:
            await app(lifespan, orders, progress)
        finally:
            started.set()
            ended.set()

    answer: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        answer.append(message)

    scope: dict[str, Any] = {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.4"}, "http_version": "1.1",
        "method": "GET", "scheme": "http", "path": path, "raw_path": path.encode(), "query_string": b"",
        "root_path": "", "headers": fields, "client": ("127.0.0.1", 0), "server": ("127.0.0.1", 0),
        "state": {},
    }  # fmt: skip
    with anyio.move_on_after(_PATIENCE):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(live)
            await started.wait()
            try:
                await app(scope, receive, send)
            finally:
                over.set()
                await ended.wait()
    if not answer:
        return 504, []
    return int(answer[0]["status"]), list(answer[0].get("headers", ()))
