"""Guarded WebSockets on real uvicorn: what a client meets on the wire, and how the server takes it."""

import logging

import anyio
import pytest
from kit import NOW, World, token, world
from recorder import serving
from stage import MovingClock
from starlette.types import Message, Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol

from guestpass.asgi.middleware import GuestTokenMiddleware
from guestpass.core.model import Policy, RawToken

pytestmark = pytest.mark.anyio

SHORT = Policy(spread=0, leeway=0, grace=0, rotate_before=0)


@pytest.fixture(params=["h11", "httptools"])
def parser(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def anyio_backend(parser: str) -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": parser == "httptools"}


class Chat:
    """Greets its guest by name, and then does what `mode` says until the socket ends."""

    def __init__(self, mode: str = "echo") -> None:
        self.mode = mode
        self.codes: list[int] = []
        self.ended = anyio.Event()
        self.opened = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            for phase in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{phase}.complete"})
            return
        self.opened += 1
        socket = WebSocket(scope, receive, send)
        await socket.accept()
        try:
            await socket.send_text(f"hello {scope['state']['guest'].name}")
            while True:
                if self.mode == "tick":
                    await socket.send_text("tick")
                    await anyio.sleep(0.01)
                else:
                    await socket.send_text(await socket.receive_text())
        except WebSocketDisconnect as gone:
            self.codes.append(gone.code)
            if self.mode == "close":
                await socket.close()  # one too many, which the server would not forgive
        finally:
            self.ended.set()


def offering(raw: RawToken | None) -> list[Subprotocol]:
    """As a browser brings its token."""
    return (
        []
        if raw is None
        else [Subprotocol("guestpass"), Subprotocol("guestpass.token." + raw.compact.decode())]
    )


async def refused(w: World, raw: RawToken | None, parser: str) -> tuple[int, Chat]:
    chat = Chat()
    async with serving(GuestTokenMiddleware(chat, gate=w.gate), parser) as port:
        with pytest.raises(InvalidStatus) as caught:
            await connect(f"ws://127.0.0.1:{port}/chat", subprotocols=offering(raw) or None)
    return caught.value.response.status_code, chat


@pytest.mark.parametrize(
    "raw",
    [None, RawToken(b"rubbish"), token(exp=NOW - 60), token(key="unpublished")],
    ids=["missing", "rubbish", "expired", "forged"],
)
async def test_who_has_no_good_token_gets_no_socket(parser: str, raw: RawToken | None) -> None:
    """P27."""
    status, chat = await refused(world(), raw, parser)
    assert status == 403
    assert chat.opened == 0


async def test_a_browsers_token_opens_the_socket_and_its_subprotocol_is_answered(parser: str) -> None:
    async with (
        serving(GuestTokenMiddleware(Chat(), gate=world().gate), parser) as port,
        connect(f"ws://127.0.0.1:{port}/chat", subprotocols=offering(token())) as socket,
    ):
        assert socket.subprotocol == "guestpass"
        assert await socket.recv() == "hello Ada"
        await socket.send("and good bye")
        assert await socket.recv() == "and good bye"


async def test_near_expiry_the_handshake_carries_the_successor(parser: str) -> None:
    headers = {"X-Guest-Token": token(exp=NOW + 200).compact.decode()}
    async with (
        serving(GuestTokenMiddleware(Chat(), gate=world().gate), parser) as port,
        connect(f"ws://127.0.0.1:{port}/chat", additional_headers=headers) as socket,
    ):
        assert socket.response is not None
        successor = socket.response.headers["X-Guest-Token"].encode()
    assert successor == token(exp=NOW + 1800).compact


@pytest.mark.parametrize("mode", ["echo", "close", "tick"])
async def test_when_its_tokens_time_is_up_the_socket_closes_with_4401(
    parser: str, mode: str, caplog: pytest.LogCaptureFixture
) -> None:
    """P28: while the app waits, while it only sends, and though it closes once more."""
    clock = MovingClock()
    w = world(clock=clock, policy=SHORT)
    chat = Chat(mode)
    async with serving(GuestTokenMiddleware(chat, gate=w.gate), parser) as port:
        raw = token(exp=clock.time() + 0.3)
        with caplog.at_level(logging.INFO), anyio.fail_after(10):
            async with connect(f"ws://127.0.0.1:{port}/chat", subprotocols=offering(raw)) as socket:
                assert await socket.recv() == "hello Ada"
                code = await _close_code(socket)
            await chat.ended.wait()
    assert code == 4401
    assert chat.codes == [1006 if mode == "tick" else 4401]  # starlette's word for a send that failed
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def _close_code(socket: ClientConnection) -> int | None:
    try:
        while True:
            await socket.recv()
    except ConnectionClosed as closed:
        return None if closed.rcvd is None else closed.rcvd.code


async def test_an_app_on_bare_asgi_that_only_sends_is_ended_without_a_traceback(
    parser: str, caplog: pytest.LogCaptureFixture
) -> None:
    clock = MovingClock()
    w = world(clock=clock, policy=SHORT)
    ended = anyio.Event()

    async def ticker(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return
        await send({"type": "websocket.accept"})
        tick: Message = {"type": "websocket.send", "text": "tick"}
        try:
            while True:
                await send(tick)
                await anyio.sleep(0.01)
        finally:
            ended.set()

    async with serving(GuestTokenMiddleware(ticker, gate=w.gate), parser) as port:
        raw = token(exp=clock.time() + 0.2)
        with caplog.at_level(logging.INFO), anyio.fail_after(10):
            async with connect(f"ws://127.0.0.1:{port}/chat", subprotocols=offering(raw)) as socket:
                assert await _close_code(socket) == 4401
            await ended.wait()
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR and record.exc_info]
