"""The lifespan around a guarded app: the gate's background runs for as long as the app does.

Some apps refuse the scope, which ASGI allows: Django raises, others return at once. The server would then
send no lifespan events to anyone, so for such an app we answer them ourselves.
"""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from guestpass import events
from guestpass.gate import Gate

_LAST = ("lifespan.shutdown.complete", "lifespan.shutdown.failed")


class _Watched:
    """The server's callables, and whether the app has used either of them; keeps the app's last word."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self.touched = False
        self.last: Message | None = None

    async def receive(self) -> Message:
        self.touched = True
        return await self._receive()

    async def send(self, message: Message) -> None:
        self.touched = True
        if message["type"] in _LAST:
            # The server may stop the loop as soon as it hears this, and the background is still to end.
            self.last = message
        else:
            await self._send(message)


async def serve_lifespan(app: ASGIApp, gate: Gate, scope: Scope, receive: Receive, send: Send) -> None:
    """Run `app`'s lifespan inside the gate's background, or a lifespan of our own if the app has none.

    An app has none if it ends without a single message in or out. One that took its `lifespan.startup` and
    then raised has failed to start, which is for the server to see.
    """
    watched = _Watched(receive, send)
    # Entered and left in the server's own lifespan task, so cancel scopes nest.
    async with gate.background():
        cause = "returned"
        try:
            await app(scope, watched.receive, watched.send)
        except Exception as exc:
            if watched.touched:
                raise
            cause = type(exc).__name__
        if not watched.touched:
            await _stand_in(cause, receive, send)
            watched.last = {"type": "lifespan.shutdown.complete"}
    if watched.last is not None:
        await send(watched.last)


async def _stand_in(cause: str, receive: Receive, send: Send) -> None:
    # Told, as a mistake in the app's own code looks the same; it shows again with the first request.
    events.emit(events.LIFESPAN_REFUSED, cause=cause)
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
