"""A FastAPI app that knows its guests: one line guards it, and one route hands out first tokens."""

from typing import Annotated

from fastapi import Depends, FastAPI, Request
from starlette.routing import Route

from guestpass import Gate, Guest, GuestTokenMiddleware, TokenEndpoint

gate = Gate.from_env()
app = FastAPI(routes=[Route("/guestpass/token", TokenEndpoint(gate))])
app.add_middleware(GuestTokenMiddleware, gate=gate)


def current_guest(request: Request) -> Guest:
    """The guest of this request; the middleware has verified the token already."""
    guest: Guest = request.state.guest
    return guest


@app.get("/me")
def me(guest: Annotated[Guest, Depends(current_guest)]) -> dict[str, str]:
    return {"subject": guest.subject, "name": guest.name, "email": guest.email}
