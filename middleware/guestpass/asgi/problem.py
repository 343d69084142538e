"""Answers an error as `application/problem+json` (RFC 9457): its stable code, never its cause."""

import json
import math
from collections.abc import Sequence

from starlette.types import Send

from guestpass.core.model import Header
from guestpass.errors import GuestpassError, RequestInvalid

_CONTENT_TYPE: Header = (b"content-type", b"application/problem+json")
_NO_STORE: Header = (b"cache-control", b"no-store")  # a refusal must not outlive what caused it


def problem(error: GuestpassError) -> tuple[int, list[Header], bytes]:
    """Describe `error` for a client: status, header fields, JSON body.

    The body has `type`, `title`, `status` and `code` (RFC 9457 §3.1), and `detail` where the request is at
    fault and the client can mend it. Nothing else: no reason, nothing that an upstream said. `Retry-After`
    is in whole seconds, rounded up and at least one (RFC 9110 §10.2.3), and only there when the error knows.
    """
    status = int(error.status)
    members = {
        "type": f"urn:guestpass:{error.code}",
        "title": error.title,
        "status": status,
        "code": error.code,
    }
    if isinstance(error, RequestInvalid) and (detail := str(error)):
        members["detail"] = detail
    body = json.dumps(members, separators=(",", ":")).encode()
    headers = [_CONTENT_TYPE, (b"content-length", b"%d" % len(body)), _NO_STORE]
    retry_after: float | None = getattr(error, "retry_after", None)
    if retry_after is not None:
        headers.append((b"retry-after", b"%d" % max(1, math.ceil(retry_after))))
    return status, headers, body


async def send_problem(send: Send, error: GuestpassError, extra: Sequence[Header] = ()) -> None:
    """Send `error` as the whole response; `extra` goes last (`WWW-Authenticate`, `Connection`)."""
    status, headers, body = problem(error)
    await send({"type": "http.response.start", "status": status, "headers": [*headers, *extra]})
    await send({"type": "http.response.body", "body": body})


async def send_websocket_response(
    send: Send, status: int, headers: Sequence[Header], body: bytes, *, possible: bool
) -> None:
    """Answer a WebSocket's handshake with an HTTP response, in place of accepting it.

    Args:
        send: The ASGI callable.
        status: The response's status.
        headers: Its fields, without framing.
        body: Its whole body.
        possible: Whether the server has the extension `websocket.http.response`; if not, it says 403.
    """
    if not possible:
        await send({"type": "websocket.close"})
        return
    await send({"type": "websocket.http.response.start", "status": status, "headers": [*headers]})
    await send({"type": "websocket.http.response.body", "body": body})
