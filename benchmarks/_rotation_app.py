"""The app of benchmarks/prefetched_successor.py: a bare one, guarded, and a route that makes its tokens."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from _middleware_apps import bare
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route

from guestpass import Gate, GuestTokenMiddleware, Policy
from guestpass.adapters.memory_store import MemoryStore
from guestpass.adapters.static_jwks import StaticJwks
from guestpass.adapters.system_clock import SystemClock
from guestpass.core.claims import ClaimRules
from guestpass.core.model import RawToken
from guestpass.testing import FakeIssuer, mint
from guestpass.verifier import JwksVerifier

ALGORITHMS = frozenset({"RS256"})
LIFETIME = 1800.0
"""Of fresh tokens, in seconds; the others have four minutes of it left: within the rotation window."""

clock = SystemClock()
issuer = FakeIssuer(clock, lifetime=LIFETIME)
gate = Gate(
    verifier=JwksVerifier(
        StaticJwks(json.dumps(issuer.jwks()).encode(), algorithms=ALGORITHMS),
        ClaimRules(issuer="genesys-cloud-webchat"),
        algorithms=ALGORITHMS,
        clock=clock,
    ),
    issuer=issuer,
    store=MemoryStore(clock),
    clock=clock,
    policy=Policy(spread=0),
)


async def tokens(request: Request) -> JSONResponse:
    """As many near expiry, their successors minted, and as many fresh; all of them verified already."""
    count = int(request.query_params["count"])
    now = clock.time()
    near, fresh = [], []
    for number in range(count):
        old = mint({"n": number}, now=now - LIFETIME + 240, lifetime=LIFETIME, key=issuer.key)
        raw = RawToken(old.encode())
        entry = await gate.entry(raw)
        successor = await gate.rotation.rotate(raw, entry.genuine, deadline=10)
        await gate.entry(successor.token)
        new = mint({"n": number}, now=now, lifetime=LIFETIME, key=issuer.key)
        await gate.entry(RawToken(new.encode()))
        near.append(old)
        fresh.append(new)
    return JSONResponse({"near": near, "fresh": fresh})


async def mints(_: Request) -> JSONResponse:
    return JSONResponse(len(issuer.calls))


@asynccontextmanager
async def lifespan(_: Starlette) -> AsyncIterator[None]:
    async with gate.background():
        yield


app = Starlette(
    routes=[
        Route("/bench/tokens", tokens),
        Route("/bench/mints", mints),
        Mount("/app", GuestTokenMiddleware(bare, gate=gate)),
    ],
    lifespan=lifespan,
)
