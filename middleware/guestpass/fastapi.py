"""FastAPI's side: dependencies that hand a route its guest, and tell OpenAPI where the token goes.

    app.add_middleware(GuestTokenMiddleware, gate=gate)

    @app.get("/me")
    def me(guest: CurrentGuest) -> str: ...

The middleware has verified the token by then; a dependency only reads what it left, over HTTP and over
WebSockets alike. In the documentation page the token is asked for under "Authorize".
"""

from typing import Annotated, Final

from starlette.requests import HTTPConnection

from guestpass.core.challenge import challenge
from guestpass.core.model import Guest
from guestpass.errors import TokenMissing

try:
    from fastapi import Depends, HTTPException, WebSocketException
    from fastapi.openapi.models import APIKey, APIKeyIn
    from fastapi.security.base import SecurityBase
except ModuleNotFoundError as exc:
    raise ImportError("guestpass.fastapi needs FastAPI: pip install fastapi") from exc

_TOKEN_MISSING: Final = 4401
"""What a WebSocket that needs a guest and has none is closed with (private range, RFC 6455 §7.4.2)."""


class GuestDependency(SecurityBase):
    """A dependency that yields the request's `Guest`, and the security scheme of OpenAPI that goes with it.

    One instance is one dependency, so a test may replace it: `app.dependency_overrides[current_guest]`.
    """

    def __init__(
        self,
        *,
        anonymous: bool = False,
        header: str = "X-Guest-Token",
        realm: str = "guest",
        scheme_name: str = "guest",
    ) -> None:
        """Make a dependency.

        Args:
            anonymous: Whether a guest without a token will do, on a route whose rule is `optional`.
            header: The field that carries the token, if `headers.header` names another one.
            realm: The protection space named in the challenge.
            scheme_name: What OpenAPI calls the scheme.
        """
        self.anonymous = anonymous
        self.scheme_name = scheme_name
        self.model = APIKey.model_validate(
            {
                "in": APIKeyIn.header,
                "name": header,
                "description": "A guest's token, as the token endpoint gives it.",
            }
        )
        self._challenge = challenge(TokenMissing(), realm=realm).decode("ascii")

    async def __call__(self, connection: HTTPConnection) -> Guest:  # else FastAPI would take a thread for it
        """The guest of this request or WebSocket.

        Raises:
            HTTPException: 401, as the guest is anonymous and may not be.
            WebSocketException: 4401, likewise.
            RuntimeError: No gate has looked at this request: the route would be open by mistake.
        """
        guest: Guest | None = connection.scope.get("state", {}).get("guest")
        if guest is None:
            raise RuntimeError("no guest: GuestTokenMiddleware is missing, or its rule for this path is off")
        if guest.anonymous and not self.anonymous:
            if connection.scope["type"] == "websocket":
                raise WebSocketException(_TOKEN_MISSING, TokenMissing.code)
            raise HTTPException(401, TokenMissing.title, {"WWW-Authenticate": self._challenge})
        return guest


current_guest: Final = GuestDependency()
"""Yields a guest who has a token; 401 for one who has none."""

any_guest: Final = GuestDependency(anonymous=True)
"""Yields whoever it is: on a route whose rule is `optional` that may be `ANONYMOUS`."""

CurrentGuest = Annotated[Guest, Depends(current_guest)]
"""`guest: CurrentGuest` in a route: a guest who has a token."""

AnyGuest = Annotated[Guest, Depends(any_guest)]
"""`guest: AnyGuest` in a route: `guest.anonymous` says whether there was a token."""
