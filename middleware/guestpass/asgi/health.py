"""`/livez` says that the process answers; `/readyz`, whether it can tell a good token from a bad one."""

import json
from collections.abc import Callable, Mapping
from typing import Final

from starlette.types import Receive, Scope, Send

from guestpass.errors import Unavailable
from guestpass.gate import Gate

_READING: Final = frozenset({"GET", "HEAD"})


class Livez:
    """Always 200 while the process serves."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002  ASGI's signature
        """Answer one request."""
        await _answer(scope, send, 200, {"status": "ok"})


class Readyz:
    """200 when the issuer's keys are at hand; 503 with the reason when not, or when the process is to stop.

    Asked without keys it fetches them (single flight, rate bounded), so readiness heals by itself. Where our
    own record verifies in place of keys, it is at hand from when it was first reached.
    """

    def __init__(
        self,
        gate: Gate,
        *,
        upstream: Callable[[], str] | None = None,
        explain: Callable[[], Mapping[str, str]] | None = None,
        draining: Callable[[], bool] | None = None,
    ) -> None:
        """Speak for `gate`.

        Args:
            gate: What is to be ready.
            upstream: How the backends are, where they are ours to know: `ok`, or in what way they are not.
            explain: Adds `reasons`, sentences for whoever is on call, by part.
            draining: Whether the process is about to stop; it is then not ready, whatever else.
        """
        self.gate = gate
        self.upstream = upstream
        self.explain = explain
        self.draining = draining

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002  ASGI's signature
        """Answer one request."""
        if self.draining is not None and self.draining():
            await _answer(scope, send, 503, {"status": "draining"})
            return
        gate = self.gate
        keys, issuer = "ok", "ok"
        if gate.clock.monotonic() >= gate.verifier.recheck_at:
            try:
                await gate.verifier.recheck()
            except Unavailable:
                keys = "unavailable"
        if gate.rotation.health.closed_for():
            issuer = "backing_off"  # valid tokens still pass, so this is no reason to take traffic away
        # What this process knows serves meanwhile: again no reason.
        store = "degraded" if gate.store.degraded else "ok"
        parts = {"keys": keys, "issuer": issuer, "store": store}
        if self.upstream is not None:
            # Every instance sees the same backends: without this one, none of them would be any better.
            parts["upstream"] = self.upstream()
        well = all(part == "ok" for part in parts.values())
        status = "unavailable" if keys != "ok" else "ok" if well else "degraded"
        code = 503 if keys != "ok" else 200
        members: dict[str, object] = {"status": status, **parts}
        if self.explain is not None:
            members["reasons"] = dict(self.explain())
        await _answer(scope, send, code, members)


async def _answer(scope: Scope, send: Send, status: int, members: Mapping[str, object]) -> None:
    if scope["method"] not in _READING:
        status, members = 405, {"status": "method not allowed"}
    body = json.dumps(members).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"cache-control", b"no-store"),
    ]
    if status == 405:  # noqa: PLR2004
        headers.append((b"allow", b"GET, HEAD"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})
