"""The demo's legacy backend: a WSGI app on the standard library's server, in a process of its own.

It knows nothing of tokens: it reads who the guest is from its environ, as a CGI program of 1999 would.
"""

import json
import sys
from collections.abc import Iterable
from itertools import count
from socketserver import ThreadingMixIn
from typing import Any, Final
from urllib.parse import parse_qs, unquote
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server
from wsgiref.types import StartResponse, WSGIEnvironment

from guestpass.demo.conversation import Caller, FrontDesk

_IDENTITY: Final = "HTTP_X_GUEST_"
_MOST_OCTETS: Final = 4096
_served = count(1)
_desk = FrontDesk()


def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """At `/chat` the front desk; elsewhere an echo: the path, the identity, the number of requests so far."""
    # What a backend may well say of a page that is the same for everyone.
    status, caching = "200 OK", "public, max-age=60"
    if environ["PATH_INFO"] == "/chat":
        caching = "no-cache"
        answer = _chat(environ)
        if answer is None:
            status, answer = "400 Bad Request", {"error": "text: must be there, in at most 4096 octets"}
    else:
        answer = {
            "backend": environ["SERVER_SOFTWARE"],
            "path": environ["PATH_INFO"],
            "served": next(_served),
            "identity": _identity(environ),
        }
    body = json.dumps(answer, indent=2).encode() + b"\n"
    headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
    start_response(status, [*headers, ("Cache-Control", caching)])
    return [body]


def _identity(environ: WSGIEnvironment) -> dict[str, str]:
    return {name: unquote(str(environ[name])) for name in sorted(environ) if name.startswith(_IDENTITY)}


def _chat(environ: WSGIEnvironment) -> dict[str, Any] | None:
    """What was said after the message `after` of the query; a form's `text` is said first."""
    found = _identity(environ)
    caller = Caller(*(found.get(f"{_IDENTITY}{part}", "") for part in ("SUBJECT", "NAME", "EMAIL")))
    if environ["REQUEST_METHOD"] == "POST":
        size = int(environ.get("CONTENT_LENGTH") or 0)
        form = parse_qs(environ["wsgi.input"].read(size).decode("latin-1")) if size <= _MOST_OCTETS else {}
        if not form.get("text"):
            return None
        _desk.hear(caller, form["text"][0])
    after = parse_qs(environ["QUERY_STRING"]).get("after", ["0"])[0]
    return {"messages": _desk.since(caller, int(after) if after.isdigit() else 0)}


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
