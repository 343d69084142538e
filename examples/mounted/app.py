"""A guarded app mounted in a host that is not: the host's lifespan enters the gate's background."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Mount, Route

from guestpass import Gate, GuestTokenMiddleware, TokenEndpoint

gate = Gate.from_env()


async def me(request: Request) -> JSONResponse:
    guest = request.state.guest
    return JSONResponse({"subject": guest.subject, "name": guest.name, "email": guest.email})


async def home(_: Request) -> PlainTextResponse:
    return PlainTextResponse("Anyone may read this.\n")


@asynccontextmanager
async def lifespan(_: Starlette) -> AsyncIterator[None]:
    # A mounted app never sees the server's lifespan, so what runs beside requests is entered here.
    async with gate.background():
        yield


shop = Starlette(routes=[Route("/me", me)])
app = Starlette(
    routes=[
        Route("/", home),
        Route("/guestpass/token", TokenEndpoint(gate)),
        Mount("/shop", GuestTokenMiddleware(shop, gate=gate)),
    ],
    lifespan=lifespan,
)
