"""A FastAPI app that knows its guests: one line guards it, and a route's parameter is its guest."""

from fastapi import FastAPI, WebSocket
from starlette.routing import Route

from guestpass import Gate, GuestTokenMiddleware, TokenEndpoint
from guestpass.fastapi import AnyGuest, CurrentGuest

gate = Gate.from_env()
app = FastAPI(routes=[Route("/guestpass/token", TokenEndpoint(gate))])
app.add_middleware(GuestTokenMiddleware, gate=gate)


@app.get("/me")
async def me(guest: CurrentGuest) -> dict[str, str]:
    return {"subject": guest.subject, "name": guest.name, "email": guest.email}


# `optional` by a rule in guestpass.toml: no token will do here, but a bad one will not.
@app.get("/greeting")
async def greeting(guest: AnyGuest) -> str:
    return "Hello, stranger." if guest.anonymous else f"Hello, {guest.name}."


@app.websocket("/echo")
async def echo(websocket: WebSocket, guest: CurrentGuest) -> None:
    await websocket.accept()
    async for text in websocket.iter_text():
        await websocket.send_text(f"{guest.name}: {text}")
