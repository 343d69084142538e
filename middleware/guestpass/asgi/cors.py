"""Answers the CORS protocol in the place of a backend that knows nothing of it (Fetch, CORS protocol).

The token's own field makes a browser ask first (a preflight), so behind such a backend no page of another
origin could send it. Stands around `GuestTokenMiddleware`, and leaves alone what the app says itself.
"""

import re
from collections.abc import Awaitable
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from guestpass.core.cors import Cors

_NAMES: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+(?:[ \t]*,[ \t]*[!#$%&'*+.^_`|~0-9A-Za-z-]+)*")
_MOST_NAMES: Final = 2048  # bytes of a list that is echoed


class AnsweringCors:
    """Answers preflights from allowed origins, and lets their pages read what the app answers."""

    def __init__(self, app: ASGIApp, cors: Cors) -> None:
        """Stand around `app`, for the origins of `cors`."""
        self.app = app
        self.cors = cors

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        fields = dict(scope["headers"])
        origin: bytes | None = fields.get(b"origin")
        if origin is None or not self.cors.allows(origin):
            await self.app(scope, receive, send)
            return
        method: bytes | None = fields.get(b"access-control-request-method")
        if scope["method"] == "OPTIONS" and method is not None:
            await self._preflight(origin, method, fields.get(b"access-control-request-headers", b""), send)
        else:
            await self.app(scope, receive, self._allowing(origin, send))

    async def _preflight(self, origin: bytes, method: bytes, names: bytes, send: Send) -> None:
        # What is asked for is allowed, as the backend decides on the request itself; but only what is a list
        # of names is echoed.
        methods = (method.decode("ascii"),) if _NAMES.fullmatch(method) else ()
        listed = len(names) <= _MOST_NAMES and _NAMES.fullmatch(names) is not None
        headers = (names.decode("ascii"),) if listed else ()
        allowed = self.cors.preflight_fields(origin, methods=methods, headers=headers)
        await send({"type": "http.response.start", "status": 204, "headers": list(allowed)})
        await send({"type": "http.response.body", "body": b""})

    def _allowing(self, origin: bytes, send: Send) -> Send:
        def send_allowing(message: Message) -> Awaitable[None]:
            if message["type"] == "http.response.start":
                headers = message.get("headers", ())
                if all(name.lower() != b"access-control-allow-origin" for name, _ in headers):
                    message = {**message, "headers": [*headers, *self.cors.answer_fields(origin)]}
            return send(message)

        return send_allowing
