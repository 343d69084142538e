"""Sends a reply over ASGI, as badly as a fault asks for."""

from contextlib import suppress
from http import HTTPStatus
from math import inf
from typing import Final, NoReturn

import anyio
from starlette.types import Receive, Send

from guestpass.core.model import Header
from guestpass.fake_vendor.messages import Reply
from guestpass.fake_vendor.rules import Rule

_CHUNK: Final = 64 * 1024
# No server may put it on the wire, so it ends the response at its very beginning.
_ILLEGAL: Final[Header] = (b"x-cut", b"\r\n")


class ConnectionCutError(ConnectionResetError):
    """Raised through the server so that it closes the connection: a fault at work, not a bug."""


async def deliver(reply: Reply, rule: Rule | None, *, head: bool, receive: Receive, send: Send) -> None:
    """Send `reply`.

    Args:
        reply: What the handler, or a fault in its place, has answered.
        rule: How the transport is to misbehave, if at all.
        head: Whether the request was HEAD, whose answer has no body (RFC 9110 §9.3.2).
        receive: Of this request, whose body has been read.
        send: Of this request.

    Raises:
        ConnectionCutError: The connection is to be closed now.
    """
    action = rule.action if rule else None
    seconds = rule.seconds if rule else 0.0
    if action == "reset_after":
        await cut(send)
    if action == "slow" and await hung_up(receive, seconds):
        return
    await send({"type": "http.response.start", "status": reply.status, "headers": _fields(reply)})
    body = b"" if head else reply.body
    if action == "truncated":
        await send({"type": "http.response.body", "body": body[: len(body) // 2], "more_body": True})
        raise ConnectionCutError("fault: truncated")
    step = 1 if action == "drip" else _CHUNK
    for start in range(0, len(body), step):
        if action == "drip" and await hung_up(receive, seconds):
            return
        await send({"type": "http.response.body", "body": body[start : start + step], "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def cut(send: Send) -> NoReturn:
    """Have the server close the connection without a single octet of an answer.

    ASGI has no message for that. What it has is a server that must not send a 500 once a response has
    begun: a start that cannot be written begins one, and the exception then leaves nothing but to close.
    So it is with uvicorn, on both of its parsers. A client in process sees the exception itself.

    Raises:
        ConnectionCutError: Always.
    """
    with suppress(Exception):  # each server has its own way to refuse the field
        await send({"type": "http.response.start", "status": 500, "headers": [_ILLEGAL]})
    raise ConnectionCutError("fault: no answer")


async def hung_up(receive: Receive, seconds: float = inf) -> bool:
    """Wait so long, but no longer than the client does; whether it is the client who gave up."""
    with anyio.move_on_after(seconds):
        while (await receive())["type"] != "http.disconnect":
            pass
        return True
    return False


def _fields(reply: Reply) -> list[Header]:
    fields = [(name.lower().encode("ascii"), value.encode("latin-1")) for name, value in reply.fields]
    if reply.media_type is not None:
        fields.append((b"content-type", reply.media_type.encode("ascii")))
    if reply.status != HTTPStatus.NO_CONTENT:  # RFC 9110 §8.6
        fields.append((b"content-length", b"%d" % len(reply.body)))
    return fields
