"""The apps of benchmarks/middleware.py: one bare, the same one guarded, and guarded without memory."""

import os
from pathlib import Path

from starlette.types import Receive, Scope, Send

from guestpass import Gate, GuestTokenMiddleware
from guestpass.adapters.memory_store import MemoryStore
from guestpass.adapters.static_jwks import StaticJwks
from guestpass.adapters.system_clock import SystemClock
from guestpass.core.claims import ClaimRules
from guestpass.testing import FakeIssuer
from guestpass.verifier import JwksVerifier

BODY = b'{"ok":true}'
HEADERS = [(b"content-type", b"application/json"), (b"content-length", str(len(BODY)).encode())]
ALGORITHMS = frozenset({"RS256"})


async def bare(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": BODY})


def _gate(cache_size: int) -> Gate:
    clock = SystemClock()
    keys = StaticJwks(Path(os.environ["BENCH_JWKS"]).read_bytes(), algorithms=ALGORITHMS)
    rules = ClaimRules(issuer="genesys-cloud-webchat")
    return Gate(
        verifier=JwksVerifier(keys, rules, algorithms=ALGORITHMS, clock=clock),
        issuer=FakeIssuer(),
        store=MemoryStore(clock),
        clock=clock,
        cache_size=cache_size,
    )


if "BENCH_JWKS" in os.environ:
    guarded = GuestTokenMiddleware(bare, gate=_gate(20_000))
    forgetful = GuestTokenMiddleware(bare, gate=_gate(1_000))
