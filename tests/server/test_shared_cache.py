"""A real nginx with `proxy_cache` in front of `guestpass serve`: no guest gets another's token or page."""

import http.client
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

import pytest
from fleet import Fleet, fleet
from starlette.types import Receive, Scope, Send

TRIES = 1_000
NGINX = shutil.which("nginx", path=f"{os.environ['PATH']}{os.pathsep}/usr/sbin") or "nginx"
# The key leaves out who asks, and the cache keeps whatever it may: as careless as a shared cache may be.
CONFIGURATION = """
{user}
daemon off;
worker_processes 1;
pid {here}/nginx.pid;
error_log {here}/error.log;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path {here}/body;
    proxy_temp_path {here}/temp;
    fastcgi_temp_path {here}/fastcgi;
    uwsgi_temp_path {here}/uwsgi;
    scgi_temp_path {here}/scgi;
    proxy_cache_path {here}/cache keys_zone=shared:10m;
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass {upstream};
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_cache shared;
            proxy_cache_key $request_uri;
            proxy_cache_lock on;
            proxy_cache_revalidate on;
            add_header X-Cache $upstream_cache_status always;
        }}
    }}
}}
"""


async def public_pages(scope: Scope, receive: Receive, send: Send) -> None:
    """A backend that lets everyone keep what it says of one guest."""
    if scope["type"] != "http":
        return
    name = dict(scope["headers"]).get(b"x-guest-name", b"nobody")
    fields = [
        (b"cache-control", b"public, max-age=60"),
        (b"etag", b'"one"'),
        (b"expires", b"Thu, 01 Jan 2099 00:00:00 GMT"),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": fields})
    await send({"type": "http.response.body", "body": name})


@dataclass
class Answer:
    status: int
    name: str
    token: str | None
    cache: str | None


class Browser:
    """One guest on one connection through the cache."""

    def __init__(self, port: int, token: str | None) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        self.headers = {} if token is None else {"X-Guest-Token": token}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()

    def get(self, path: str) -> Answer:
        self.connection.request("GET", path, headers=self.headers)
        response = self.connection.getresponse()
        body = response.read().decode()
        return Answer(
            response.status, body, response.getheader("x-guest-token"), response.getheader("x-cache")
        )


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextmanager
def nginx(here: Path, upstream: str) -> Iterator[int]:
    port = free_port()
    file = here / "nginx.conf"
    # As root its workers would become nobody, who may not write here.
    user = "" if os.getuid() else "user root;"
    file.write_text(CONFIGURATION.format(here=here, port=port, upstream=upstream, user=user))
    process = subprocess.Popen([NGINX, "-p", str(here), "-c", str(file), "-e", str(here / "error.log")])
    try:
        deadline = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                assert process.poll() is None, (here / "error.log").read_text()
                assert time.monotonic() < deadline
                time.sleep(0.01)
        yield port
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Fleet]]:
    here = tmp_path_factory.mktemp("nginx")
    with ExitStack() as stack:
        running = stack.enter_context(fleet("memory://", backend=public_pages))
        yield stack.enter_context(nginx(here, running.url)), running


def test_the_cache_keeps_what_it_may(site: tuple[int, Fleet]) -> None:
    """Else the law below would hold of a cache that keeps nothing: the same guest is served from it."""
    port, running = site
    assert urlsplit(running.url).port != port
    with Browser(port, running.token("Carol", left=1700)) as fresh:
        assert [fresh.get("/kept").cache for _ in range(3)] == ["MISS", "HIT", "HIT"]


def test_no_guest_gets_anothers_token_or_page_in_a_thousand_tries(site: tuple[int, Fleet]) -> None:
    """P17: Ada's token is rotated on a page that the backend calls public, and Bob asks for the same page."""
    port, running = site
    of_ada, of_bob = set(), set()
    with (
        Browser(port, running.token("Ada")) as ada,
        Browser(port, running.token("Bob")) as bob,
        Browser(port, running.token("Dan", left=1700)) as fresh,
        Browser(port, None) as nobody,
    ):
        for number in range(TRIES):
            path = f"/page/{number % 100}"
            hers, his, another, none = (who.get(path) for who in (ada, bob, fresh, nobody))
            assert (hers.status, hers.name) == (200, "Ada")
            assert (his.status, his.name) == (200, "Bob")
            assert (another.name, another.token) == ("Dan", None)
            assert (none.status, none.token) == (401, None)
            assert "HIT" not in (hers.cache, his.cache, none.cache)
            of_ada.add(hers.token)
            of_bob.add(his.token)
    assert None not in of_ada | of_bob
    assert of_ada.isdisjoint(of_bob)
    assert (len(of_ada), len(of_bob)) == (1, 1)
