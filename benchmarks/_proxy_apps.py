"""The Python sides of benchmarks/proxy.py: ours without a guard, and the usual two, which verify nothing."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import httpx
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route

from guestpass.asgi.proxy import ReverseProxy

BACKEND = os.environ["BENCH_BACKEND"]

unguarded = ReverseProxy(BACKEND)

# As tutorials and answers show it: one shared client, a catch-all route, a streamed response.
_PATHS = "/{path:path}"
_httpx = httpx.AsyncClient(base_url=BACKEND, limits=httpx.Limits(max_keepalive_connections=256))


async def _by_httpx(request: Request) -> StreamingResponse:
    url = httpx.URL(path=request.url.path, query=request.url.query.encode())
    outgoing = _httpx.build_request(
        request.method, url, headers=request.headers.raw, content=request.stream()
    )
    response = await _httpx.send(outgoing, stream=True)
    return StreamingResponse(
        response.aiter_raw(),
        status_code=response.status_code,
        headers=dict(response.headers),
        background=BackgroundTask(response.aclose),
    )


async def _by_aiohttp(request: Request) -> StreamingResponse:
    session: aiohttp.ClientSession = request.app.state.session
    response = await session.request(
        request.method, BACKEND + request.url.path, headers=request.headers, data=await request.body()
    )
    return StreamingResponse(
        response.content.iter_any(),
        status_code=response.status,
        headers=dict(response.headers),
        background=BackgroundTask(response.wait_for_close),
    )


@asynccontextmanager
async def _session(app: Starlette) -> AsyncIterator[None]:
    connector = aiohttp.TCPConnector(limit=256)
    async with aiohttp.ClientSession(connector=connector, auto_decompress=False) as session:
        app.state.session = session
        yield


@asynccontextmanager
async def _closing(_: Starlette) -> AsyncIterator[None]:
    yield
    await _httpx.aclose()


by_httpx = Starlette(routes=[Route(_PATHS, _by_httpx, methods=["GET", "POST"])], lifespan=_closing)
by_aiohttp = Starlette(routes=[Route(_PATHS, _by_aiohttp, methods=["GET", "POST"])], lifespan=_session)
