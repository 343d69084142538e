"""The lifespan: whose it is, and that the gate's background runs for as long as the server does."""

import logging

import pytest
from kit import World, drive, token, world
from shells import NEAR, App, carrying
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from guestpass.asgi.middleware import GuestTokenMiddleware

pytestmark = pytest.mark.anyio

STARTUP: Message = {"type": "lifespan.startup"}
SHUTDOWN: Message = {"type": "lifespan.shutdown"}
COMPLETE = ["lifespan.startup.complete", "lifespan.shutdown.complete"]


class Broken(Exception):  # noqa: N818  the app's own
    """What an app raises."""


async def lived(app: ASGIApp, w: World, *messages: Message) -> list[str]:
    """What the server hears over a lifespan."""
    sent = await drive(GuestTokenMiddleware(app, gate=w.gate), {"type": "lifespan"}, *messages)
    return [message["type"] for message in sent.messages]


async def test_the_lifespan_runs_the_background_for_as_long_as_the_app_does() -> None:
    w = world()
    during: list[bool] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        during.append(w.gate._tasks is not None)
        assert await receive() == STARTUP
        await send({"type": "lifespan.startup.complete"})
        assert await receive() == SHUTDOWN
        await send({"type": "lifespan.shutdown.complete"})

    assert await lived(app, w, STARTUP, SHUTDOWN) == COMPLETE
    assert during == [True]
    assert w.gate._tasks is None
    assert w.issuer.closed == 1


async def test_the_server_hears_of_the_end_when_the_background_has_ended() -> None:
    """It may stop the loop then, and what the background still had to do would be cancelled."""
    w = world()
    over: dict[str, bool] = {}
    inbox = [STARTUP, SHUTDOWN]

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for word in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{word}.complete"})

    async def receive() -> Message:
        return inbox.pop(0)

    async def send(message: Message) -> None:
        over[message["type"]] = w.gate._tasks is None and w.issuer.closed == 1

    await GuestTokenMiddleware(app, gate=w.gate)({"type": "lifespan"}, receive, send)
    assert over == dict(zip(COMPLETE, (False, True), strict=True))


async def test_an_app_that_fails_to_start_has_the_last_word() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed"})

    assert await lived(app, world(), STARTUP) == ["lifespan.startup.failed"]


async def test_a_second_lifespan_over_one_gate_raises() -> None:
    w = world()

    async def never(*_: object) -> None:
        raise AssertionError

    async with w.gate.background():
        with pytest.raises(RuntimeError, match="once"):
            await lived(never, w)


async def raising(*_: object) -> None:
    """As Django's ASGI app does."""
    raise Broken


async def returning(*_: object) -> None:
    """As an app does that only looks for HTTP."""


@pytest.mark.parametrize(("app", "cause"), [(raising, "Broken"), (returning, "returned")])
async def test_for_an_app_that_refuses_the_lifespan_it_is_ours(
    app: ASGIApp, cause: str, caplog: pytest.LogCaptureFixture
) -> None:
    w = world()
    during: list[bool] = []
    inbox = [STARTUP, SHUTDOWN]
    heard: list[str] = []

    async def receive() -> Message:
        during.append(w.gate._tasks is not None)
        return inbox.pop(0)

    async def send(message: Message) -> None:
        heard.append(message["type"])
        during.append(w.gate._tasks is not None)

    with caplog.at_level(logging.INFO, logger="guestpass"):
        await GuestTokenMiddleware(app, gate=w.gate)({"type": "lifespan"}, receive, send)
    assert heard == COMPLETE
    # Startup asked for and answered, and shutdown awaited, inside the background; only then is it over.
    assert during == [True, True, True, False]
    assert w.issuer.closed == 1
    assert f"lifespan.refused cause='{cause}'" in caplog.text


async def test_an_app_that_fails_to_start_is_the_servers_to_see() -> None:
    """It took its startup: going on without it would serve an app that is half there."""
    raised = Broken()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        raise raised

    w = world()
    with pytest.raises(Broken) as caught:
        await lived(app, w, STARTUP)
    assert caught.value is raised
    assert w.gate._tasks is None


async def test_an_app_that_spoke_before_it_raised_has_a_lifespan() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "lifespan.startup.failed"})
        raise Broken

    with pytest.raises(Broken):
        await lived(app, world())


async def test_without_any_lifespan_a_token_rotates_inside_its_request() -> None:
    """A server may have it switched off, and a mounted app never sees one."""
    w = world()
    sent = await drive(GuestTokenMiddleware(App(), gate=w.gate), carrying(token(exp=NEAR)))
    assert len(sent.values(b"x-guest-token")) == 1
