"""What `[upstream]` and `[[routes]]` come to: several backends behind one gate, each path to its own."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import anyio
import pytest
from kit import drive, http_scope
from recorder import Recorder, answer_ok, answering, ask, get, recording, serving
from served import LOCAL, first_token
from starlette.types import Message
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve

from guestpass.asgi.proxy import ReverseProxy
from guestpass.asgi.routes import RoutedProxy
from guestpass.config import RouteSettings, Settings, UpstreamSettings, load
from guestpass.errors import ConfigError
from guestpass.wiring.apps import build_app
from guestpass.wiring.backends import Backends

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@asynccontextmanager
async def site(tmp_path: Path, toml: str, backends: int) -> AsyncIterator[tuple[int, list[Recorder], bytes]]:
    """`guestpass serve` by the settings of a file; `{0}`, `{1}`... in it are the backends' URLs."""
    async with AsyncExitStack() as stack:
        recorders = [await stack.enter_async_context(recording(answer_ok)) for _ in range(backends)]
        path = tmp_path / "guestpass.toml"
        path.write_text(toml.format(*(recorder.url for recorder in recorders)), "utf-8")
        port = await stack.enter_async_context(serving(build_app(load(path, LOCAL)), "httptools"))
        with anyio.fail_after(10):
            yield port, recorders, b"X-Guest-Token: " + await first_token(port)


ROUTES = """
[upstream]
url = "{0}"

[[routes]]
path = "/chat/old"
upstream = "{0}"

[[routes]]
path = "/chat/*"
upstream = ["{1}"]

[[routes]]
path = "/users/*/avatar"
upstream = ["{2}"]
"""


@pytest.mark.parametrize(
    ("path", "index"),
    [
        (b"/", 0),
        (b"/chat/old", 0),
        (b"/chat", 0),
        (b"/chatter/x", 0),
        (b"/chat/", 1),
        (b"/chat/a/b?q=/users/1/avatar", 1),
        (b"/ch%61t/a%20b", 1),
        (b"/users/7/avatar", 2),
        (b"/users/7/8/avatar", 0),
    ],
)
async def test_the_first_route_that_covers_a_path_names_its_backend(
    tmp_path: Path, path: bytes, index: int
) -> None:
    """The path that arrives is the one that came, byte for byte, whatever it was matched by."""
    async with site(tmp_path, ROUTES, 3) as (port, backends, token):
        assert (await ask(port, get(path, token))).status == 200
        assert [len(backend.requests) for backend in backends] == [int(i == index) for i in range(3)]
        assert backends[index].requests[0].line == b"GET " + path + b" HTTP/1.1"
        assert backends[index].requests[0].values(b"x-guest-name") == [b"Ada%20L%C3%B6ve"]


@pytest.mark.parametrize(
    "path", [b"/chat/../x", b"/x/../chat/a", b"/chat/%2e%2e/x", b"//chat/a", b"/chat%2fa"]
)
async def test_no_spelling_of_a_path_takes_another_route_than_the_backend_would_read(
    tmp_path: Path, path: bytes
) -> None:
    async with site(tmp_path, ROUTES, 3) as (port, backends, token):
        assert (await ask(port, get(path, token))).status == 400
        assert [backend.requests for backend in backends] == [[], [], []]


async def test_every_route_is_behind_the_gate(tmp_path: Path) -> None:
    async with site(tmp_path, ROUTES, 3) as (port, backends, _):
        for path in (b"/", b"/chat/a", b"/users/7/avatar"):
            assert (await ask(port, get(path, b"X-Guest-Token: forged"))).status == 401
        assert [backend.requests for backend in backends] == [[], [], []]


async def test_replicas_take_turns(tmp_path: Path) -> None:
    async with site(tmp_path, '[upstream]\nurl = ["{0}", "{1}"]\n', 2) as (port, backends, token):
        for _ in range(6):
            assert (await ask(port, get(b"/", token))).status == 200
        assert [len(backend.requests) for backend in backends] == [3, 3]


async def test_a_body_over_the_limit_is_refused(tmp_path: Path) -> None:
    async with site(tmp_path, '[upstream]\nurl = "{0}"\nmax_body = 3\n', 1) as (port, backends, token):
        for length, status in ((3, 200), (4, 413)):
            head = b"POST / HTTP/1.1\r\nHost: x\r\n%b\r\nContent-Length: %d\r\n\r\n" % (token, length)
            assert (await ask(port, head + b"x" * length, b"POST")).status == status
        assert [request.body for request in backends[0].requests] == [b"xxx"]


async def test_a_websocket_takes_the_route_of_its_path() -> None:
    async def name(socket: ServerConnection) -> None:
        await socket.send("chat")

    async with (
        serve(name, "127.0.0.1", 0) as server,
        recording(answering(b"HTTP/1.1 404 No\r\n\r\n")) as rest,
    ):
        port = next(iter(server.sockets)).getsockname()[1]
        chat = ReverseProxy(f"http://127.0.0.1:{port}")
        app = RoutedProxy([("/chat/*", chat)], ReverseProxy(rest.url))
        async with serving(app, "httptools") as public, connect(f"ws://127.0.0.1:{public}/chat/x") as socket:
            assert await socket.recv() == "chat"
            assert (app.websockets, chat.websockets) == (1, 1)
        assert rest.requests == []


async def test_what_all_routes_have_to_show_is_shown_as_one() -> None:
    async with recording() as one, recording() as other:
        default = ReverseProxy(one.url)
        app = RoutedProxy([("/a/*", ReverseProxy(other.url)), ("/b", default)], default)
        async with serving(app, "httptools") as port:
            assert app.backends == []
            for path in (b"/", b"/a/1", b"/b"):
                assert (await ask(port, get(path))).status == 200
            assert len(app.backends) == 2
            assert app.limits is default.limits
            assert not app.figures.errors


async def test_the_end_of_the_lifespan_closes_the_connections_of_every_route() -> None:
    async with recording() as one, recording() as other:
        app = RoutedProxy([("/a", ReverseProxy(other.url))], ReverseProxy(one.url))
        for path in ("/a", "/"):
            assert (await drive(app, http_scope(path=path, headers=[(b"host", b"x")]))).status == 200
        inbox: list[Message] = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
        sent = await drive(app, {"type": "lifespan"}, *inbox)
        assert [m["type"] for m in sent.messages] == [
            "lifespan.startup.complete",
            "lifespan.shutdown.complete",
        ]
        with anyio.fail_after(5):
            for backend in (one, other):
                await backend.connections[0].closed.wait()


def test_routes_to_the_same_backends_share_one_proxy() -> None:
    """So they share its connections, and what is known of its health."""
    upstream = UpstreamSettings(url=("http://127.0.0.1:1",))
    routes = [RouteSettings(path=path, upstream=("http://127.0.0.1:2",)) for path in ("/a", "/b")]
    app = Backends(Settings(upstream=upstream, routes=tuple(routes))).proxy
    assert app._proxy_of("/a") is app._proxy_of("/b") is not app._proxy_of("/c")


URL = 'upstream.url = "http://127.0.0.1:1"\n'


@pytest.mark.parametrize(
    ("toml", "field"),
    [
        (URL + "[[routes]]\npath = 'a'\nupstream = 'http://b'", "routes"),
        (URL + "[[routes]]\npath = '/a*'\nupstream = 'http://b'", "routes"),
        (URL + "[[routes]]\npath = '/a'\nupstream = []", "routes"),
        (URL + "[[routes]]\npath = '/a'\nupstream = 'http://b/path'", "routes"),
        (URL + "[[routes]]\npath = '/a'\nupstream = ['http://b', 'http://b']", "routes"),
        (URL + "[[routes]]\npath = '/a'\nurl = 'http://b'", "routes"),
        (URL + "[[routes]]\nupstream = 'http://b'", "routes"),
        (URL + "[routes]\npath = '/a'", "routes"),
        ("[[routes]]\npath = '/a'\nupstream = 'http://b'", "upstream.url"),
        ("upstream.url = ['http://a', 'http://a']", "upstream.url"),
        (URL + "upstream.balance = 'random'", "upstream.balance"),
        (URL + "upstream.max_body = -1", "upstream.max_body"),
        (URL + "upstream.max_websockets = 0", "upstream.max_websockets"),
        (URL + "upstream.key_file = 'key.pem'", "upstream.key_file"),
        ("upstream.url = 'https://127.0.0.1:1'\nupstream.ca_file = 'none.pem'", "upstream.ca_file"),
        (
            "upstream.url = 'https://127.0.0.1:1'\nupstream.certificate_file = 'none.pem'",
            "upstream.certificate_file",
        ),
    ],
)
def test_a_mistake_is_an_error_that_names_its_setting(tmp_path: Path, toml: str, field: str) -> None:
    path = tmp_path / "guestpass.toml"
    path.write_text(toml, "utf-8")
    with pytest.raises(ConfigError, match=field.replace(".", r"\.")):
        build_app(load(path, LOCAL))
