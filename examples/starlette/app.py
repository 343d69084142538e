"""A Starlette app that knows its guests, over HTTP and over a WebSocket that echoes."""

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from guestpass import Gate, GuestTokenMiddleware, TokenEndpoint


async def me(request: Request) -> JSONResponse:
    guest = request.state.guest
    return JSONResponse({"subject": guest.subject, "name": guest.name, "email": guest.email})


async def echo(websocket: WebSocket) -> None:
    await websocket.accept()
    async for text in websocket.iter_text():
        await websocket.send_text(f"{websocket.state.guest.name}: {text}")


gate = Gate.from_env()
app = Starlette(
    routes=[
        Route("/guestpass/token", TokenEndpoint(gate)),
        Route("/me", me),
        WebSocketRoute("/echo", echo),
    ],
    middleware=[Middleware(GuestTokenMiddleware, gate=gate)],
)
