"""The apps that benchmarks/proxy_vs_httpx.py compares: no proxy, ours, ours guarded, and the usual one."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
from _middleware_apps import _gate, bare
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route

from guestpass import GuestTokenMiddleware
from guestpass.asgi.proxy import ReverseProxy

__all__ = ["bare", "guarded", "ours", "usual"]

BACKEND = os.environ["BENCH_BACKEND"]

ours = ReverseProxy(BACKEND)
guarded = GuestTokenMiddleware(ReverseProxy(BACKEND), gate=_gate(20_000))

# The usual way, as tutorials and answers show it: one shared client, a catch-all route, a streamed response.
client = httpx.AsyncClient(base_url=BACKEND, limits=httpx.Limits(max_keepalive_connections=256))


async def forward(request: Request) -> StreamingResponse:
    url = httpx.URL(path=request.url.path, query=request.url.query.encode())
    outgoing = client.build_request(
        request.method, url, headers=request.headers.raw, content=request.stream()
    )
    response = await client.send(outgoing, stream=True)
    return StreamingResponse(
        response.aiter_raw(),
        status_code=response.status_code,
        headers=dict(response.headers),
        background=BackgroundTask(response.aclose),
    )


@asynccontextmanager
async def lifespan(_: Starlette) -> AsyncIterator[None]:
    yield
    await client.aclose()


usual = Starlette(routes=[Route("/{path:path}", forward, methods=["GET", "POST"])], lifespan=lifespan)
