"""The demo's legacy backend: a WSGI app on the standard library's server, in a process of its own.

It knows nothing of tokens: it reads who the guest is from its environ, as a CGI program of 1999 would.
"""

import json
import sys
from collections.abc import Iterable
from itertools import count
from socketserver import ThreadingMixIn
from typing import Final
from urllib.parse import unquote
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server
from wsgiref.types import StartResponse, WSGIEnvironment

_IDENTITY: Final = "HTTP_X_GUEST_"
_served = count(1)


def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Echo the path, the identity fields, and how many requests have come this far."""
    identity = {name: unquote(str(environ[name])) for name in sorted(environ) if name.startswith(_IDENTITY)}
    answer = {
        "backend": environ["SERVER_SOFTWARE"],
        "path": environ["PATH_INFO"],
        "served": next(_served),
        "identity": identity,
    }
    body = json.dumps(answer, indent=2).encode() + b"\n"
    headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
    # What a backend may well say of a page that is the same for everyone.
    start_response("200 OK", [*headers, ("Cache-Control", "public, max-age=60")])
    return [body]


class Server(ThreadingMixIn, WSGIServer):
    """One thread a connection."""

    daemon_threads = True
    request_queue_size = 128


class QuietHandler(WSGIRequestHandler):
    """Without a line on stderr for each request."""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the base class's signature
        """Say nothing."""


def main() -> None:
    """Serve on the port of loopback that the first argument names; 0: a free one."""
    server = make_server("127.0.0.1", int(sys.argv[1]), app, server_class=Server, handler_class=QuietHandler)
    with server:
        sys.stdout.write(f"The backend listens on http://127.0.0.1:{server.server_port}\n")
        sys.stdout.flush()
        server.serve_forever()


if __name__ == "__main__":
    main()
