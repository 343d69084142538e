"""Publishes the keys that we sign with ourselves, as a JWKS (RFC 7517 §5)."""

from collections.abc import Callable

from starlette.types import Receive, Scope, Send


class PublishedKeys:
    """Serves `document`, public parts only, to anyone."""

    def __init__(self, document: Callable[[], bytes]) -> None:
        """Ask for `document` at every request, as keys come and go."""
        self.document = document

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002  ASGI's signature
        """Answer one request."""
        body = self.document()
        headers = [
            (b"content-type", b"application/jwk-set+json"),
            (b"content-length", b"%d" % len(body)),
            # Short: a verifier that holds this longer than keys overlap would refuse good tokens.
            (b"cache-control", b"public, max-age=300"),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})
