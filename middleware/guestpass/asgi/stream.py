"""Server-sent events of the admin port: what happens, and once a second how things stand."""

import json
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Final

import anyio
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

_EVERY: Final = 1.0
_MOST_STREAMS: Final = 32

ROUNDS: Final = 10
"""A stream ends after so many rounds, as a server that stops waits for it; EventSource then asks again."""

News = Callable[[], Iterable[tuple[int, int, dict[str, Any]]]]
Status = Callable[[], Awaitable[Mapping[str, Any]]]


class EventStream:
    """Sends each event once, whichever worker answers: a stream's `id` tells the next where it ended.

    A round's events are `event: log`; then, with `status`, `event: status`.
    """

    def __init__(self, news: News, status: Status | None = None, *, every: float = _EVERY) -> None:
        """Send what `news` gives, and what `status` says; `every` in seconds."""
        self.news = news
        self.status = status
        self.every = every
        self.streams = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request with a stream."""
        if scope["method"] != "GET":
            await PlainTextResponse("Method Not Allowed", 405, {"allow": "GET"})(scope, receive, send)
        elif self.streams >= _MOST_STREAMS:
            await PlainTextResponse("Too many streams", 503)(scope, receive, send)
        else:
            self.streams += 1
            try:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(_until_gone, receive, tasks.cancel_scope)
                    await self._stream(_cursor(scope), send)
                    tasks.cancel_scope.cancel()
            finally:
                self.streams -= 1

    async def _stream(self, seen: dict[int, int], send: Send) -> None:
        headers = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-store")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        body = b"retry: 200\n\n"
        for turn in range(ROUNDS):
            if turn:
                await anyio.sleep(self.every)
            fresh = [item for item in self.news() if item[1] > seen.get(item[0], 0)]
            for place, number, line in sorted(fresh, key=lambda item: item[1]):
                seen[place] = number
                body += _message("log", line, seen)
            if self.status is not None:
                body += _message("status", await self.status(), seen)
            await send({"type": "http.response.body", "body": body or b":\n\n", "more_body": True})
            body = b""
        await send({"type": "http.response.body", "body": b""})


def _message(kind: str, data: Mapping[str, Any], seen: Mapping[int, int]) -> bytes:
    where = ",".join(f"{place}:{number}" for place, number in sorted(seen.items()))
    # JSON in ASCII has no line end, so no event can end before its time.
    return f"id: {where}\nevent: {kind}\ndata: {json.dumps(data)}\n\n".encode()


def _cursor(scope: Scope) -> dict[int, int]:
    """What the client has seen: the last number of each place; nothing where it says nothing sensible."""
    told = next((value for name, value in scope["headers"] if name == b"last-event-id"), b"")
    seen = {}
    for part in told.decode("latin-1").split(","):
        place, _, number = part.partition(":")
        if place.isdecimal() and number.isdecimal() and len(part) < 32:  # noqa: PLR2004  some sixteen digits
            seen[int(place)] = int(number)
    return seen


async def _until_gone(receive: Receive, scope: anyio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()
