"""A backend as there are many: WSGI, no token in sight, and a guest's identity in its environ."""

import sys
from collections.abc import Iterable
from urllib.parse import unquote
from wsgiref.simple_server import make_server
from wsgiref.types import StartResponse, WSGIEnvironment


def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    # Percent-encoded UTF-8, as a field's value is ASCII and a name need not be.
    name = unquote(environ.get("HTTP_X_GUEST_NAME", "a stranger"))
    start_response("200 OK", [("Content-Type", "text/plain; charset=utf-8")])
    return [f"Hello, {name}.\n".encode()]


if __name__ == "__main__":
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 9000
    with make_server("127.0.0.1", port, app) as server:
        print(f"The backend listens on http://127.0.0.1:{server.server_port}", flush=True)
        server.serve_forever()
