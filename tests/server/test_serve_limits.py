"""`guestpass serve` under clients that never come to an end, and under a stop in the midst of a request."""

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread

import httpx
import pytest
from running import GUESTPASS, running

LOCAL = {"GUESTPASS_ISSUER__KIND": "local", "GUESTPASS_SERVER__PORT": "0"}
PARSERS = ("h11", "httptools")
FLOOD = b"a" * 65_536


@contextmanager
def serving(parser: str, upstream: str = "http://127.0.0.1:9") -> Iterator[str]:
    command = (*GUESTPASS, "serve", "--upstream", upstream, "--http", parser)
    with running(*command, env=LOCAL) as proxy:
        yield json.loads(proxy.said("server.listening"))["url"]
        assert proxy.stop() == 0


@contextmanager
def connected(url: str) -> Iterator[socket.socket]:
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as client:
        yield client


def bytes_taken(client: socket.socket, most: int) -> int:
    """How much of an endless flood is taken before the connection is closed; at most `most`."""
    sent = 0
    try:
        while sent < most:
            client.sendall(FLOOD)
            sent += len(FLOOD)
    except (BrokenPipeError, ConnectionResetError):
        pass
    return sent


@pytest.mark.parametrize("parser", PARSERS)
@pytest.mark.parametrize(
    "beginning",
    [
        b"GET /livez HTTP/1.1\r\nHost: a\r\nX-Long: ",
        b"GET /",
        b"POST /guestpass/token HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-Trailer: ",
        b"POST /guestpass/token HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;ext=",
    ],
    ids=["field", "target", "trailer", "chunk extension"],
)
def test_what_never_ends_is_cut_and_the_next_client_is_served(parser: str, beginning: bytes) -> None:
    """P31: the sockets' own buffers take some megabytes, so the bound is felt well before 64."""
    with serving(parser) as url:
        with connected(url) as client:
            client.sendall(beginning)
            assert bytes_taken(client, 64 * 2**20) < 64 * 2**20
        assert httpx.get(f"{url}/livez", trust_env=False).status_code == 200


@pytest.mark.parametrize("parser", PARSERS)
def test_a_head_of_many_fields_within_the_bound_passes(parser: str) -> None:
    fields = b"".join(b"X-Field-%d: %b\r\n" % (n, b"v" * 1000) for n in range(40))
    with serving(parser) as url, connected(url) as client:
        for part in (b"GET /livez HTTP/1.1\r\n", b"Host: a\r\n", fields, b"Connection: close\r\n\r\n"):
            client.sendall(part)
        assert client.makefile("rb").readline() == b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize("parser", PARSERS)
def test_a_long_body_is_no_long_head(parser: str) -> None:
    """The token endpoint says itself that a body is too long, once it has read enough of it."""
    with serving(parser) as url:
        answer = httpx.post(
            f"{url}/guestpass/token",
            content=b" " * 2**20,
            headers={"Content-Type": "application/json"},
            trust_env=False,
        )
    assert answer.json()["code"] == "content_too_large"


def test_a_request_under_way_is_answered_whole_after_sigterm() -> None:
    """F9: the backend answers only once the proxy has said that it is shutting down."""
    with socket.create_server(("127.0.0.1", 0)) as backend:
        backend.settimeout(40)
        upstream = f"http://127.0.0.1:{backend.getsockname()[1]}"
        with running(*GUESTPASS, "serve", "--upstream", upstream, env=LOCAL) as proxy:
            url = json.loads(proxy.said("server.listening"))["url"]
            visitor = {"name": "Ada", "email": "ada@example.org"}
            token = httpx.post(f"{url}/guestpass/token", json=visitor, trust_env=False).json()["token"]
            answers: list[httpx.Response] = []

            def ask() -> None:
                headers = {"X-Guest-Token": token}
                answers.append(httpx.get(f"{url}/slow", headers=headers, trust_env=False, timeout=40))

            client = Thread(target=ask)
            client.start()
            connection, _ = backend.accept()
            with connection:
                proxy.process.terminate()
                proxy.said("Shutting down")
                connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ndone")
                client.join(40)
            assert proxy.wait() == 0
    assert [(answer.status_code, answer.text) for answer in answers] == [(200, "done")]
