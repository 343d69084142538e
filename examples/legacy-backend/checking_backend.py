"""The same backend for a network where not everyone who reaches it is to be believed: it asks for proof."""

import sys
from collections.abc import Iterable
from wsgiref.simple_server import make_server
from wsgiref.types import StartResponse, WSGIEnvironment

import jwt

PORT, SITE = sys.argv[1:] or ("9000", "http://127.0.0.1:8080")
KEYS = jwt.PyJWKClient(f"{SITE}/.well-known/guestpass/jwks.json")


def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    try:
        assertion = environ["HTTP_X_GUEST_ASSERTION"]
        key = KEYS.get_signing_key_from_jwt(assertion)
        guest = jwt.decode(assertion, key, ["ES256"], audience="orders", issuer="guestpass-gateway")
    except (KeyError, jwt.PyJWTError):
        start_response("403 Forbidden", [("Content-Type", "text/plain")])
        return [b"I know nobody by that name.\n"]
    start_response("200 OK", [("Content-Type", "text/plain; charset=utf-8")])
    return [f"Hello, {guest['name']}, and that is certain.\n".encode()]


if __name__ == "__main__":
    with make_server("127.0.0.1", int(PORT), app) as server:
        print(f"The backend listens on http://127.0.0.1:{server.server_port}", flush=True)
        server.serve_forever()
