"""ASGI messages made into values of ours, and ours into ASGI messages; nothing here decides.

Which responses carry a successor is decided by the request alone, never by the response: where the route is
guarded and the token was genuine and near or past its "exp", whatever the app answers carries it, be it 200,
304, 404 or 500, the opening of a stream, `websocket.accept` or the denial of a WebSocket. A page that meets
an error must not lose its session over it. Our own refusals carry none, as their token bought nothing; and
routes that are `off`, our own paths and genuine preflights neither read a token nor mint one.
"""

from collections.abc import Awaitable, Sequence
from functools import partial
from typing import Final

from starlette.authentication import AuthCredentials
from starlette.types import Message, Receive, Scope, Send

from guestpass.admission import Admitted, Refused, Request
from guestpass.asgi.problem import send_problem
from guestpass.core.bearer import SUBPROTOCOL_NAME, split_subprotocols
from guestpass.core.challenge import challenge
from guestpass.core.inject import expose, set_cookie_field, token_fields, with_token
from guestpass.core.model import Guest, Header, Successor
from guestpass.core.paths import wire_path
from guestpass.errors import GuestpassError, TokenError
from guestpass.gate import Gate

_AUTHENTICATED: Final = AuthCredentials(["authenticated"])
_UNAUTHENTICATED: Final = AuthCredentials()

_POLICY_VIOLATION: Final = 4000
"""A refused WebSocket closes with 4000 and the HTTP status it would have had: 4401, 4429, 4503."""


def read_request(scope: Scope) -> Request:
    """What the gate must know of an `http` or `websocket` scope."""
    path = scope["path"]
    client = scope.get("client")
    websocket = scope["type"] == "websocket"
    return Request(
        "GET" if websocket else scope["method"],
        path,
        wire_path(scope.get("raw_path"), path),
        scope["headers"],
        scope.get("query_string", b""),
        websocket,
        scope.get("subprotocols", ()) if websocket else (),
        client[0] if client else None,
    )


def scope_for(guest: Guest, scope: Scope, headers: list[Header]) -> Scope:
    """The scope that the app sees: fields without the token, and who the guest is.

    `scope["user"]` and `scope["auth"]` are as starlette's AuthenticationMiddleware sets them.
    """
    auth = _UNAUTHENTICATED if guest.anonymous else _AUTHENTICATED
    inner: Scope = {**scope, "headers": headers, "user": guest, "auth": auth}
    state = scope.get("state")
    if state is None:
        inner["state"] = {"guest": guest}
    else:  # the server's own copy for this request, which outer middleware may read too
        state["guest"] = guest
    return inner


def admitted_scope(scope: Scope, admitted: Admitted) -> Scope:
    """The scope that the app sees, on a guarded route and on others."""
    inner: Scope
    if admitted.guest is None:
        inner = {**scope, "headers": admitted.headers}
    else:
        inner = scope_for(admitted.guest, scope, admitted.headers)
    inner["query_string"] = admitted.query
    if scope["type"] == "websocket" and scope.get("subprotocols"):
        inner["subprotocols"] = split_subprotocols(scope["subprotocols"])[1]
    return inner


def _delivering(gate: Gate, successor: Successor) -> tuple[Sequence[Header], Sequence[Header]]:
    """The fields that carry a successor: those that replace the app's, and those added to them."""
    now, surface = gate.clock.time(), gate.surface
    injected = token_fields(successor, fields=surface.fields, now=now)
    if surface.cookie is None:
        return injected, ()
    return injected, (set_cookie_field(successor, surface.cookie, now=now, grace=gate.policy.grace),)


def send_with(due: Sequence[Header], send: Send, message: Message) -> Awaitable[None]:
    """Send on, with the fields of `due` on an HTTP response's opening message."""
    if message["type"] == "http.response.start":
        # A fresh dict, as the app may reuse its own; "headers" is optional in ASGI.
        message = {**message, "headers": [*message.get("headers", ()), *due]}
    return send(message)


def send_delivering(
    gate: Gate, successor: Successor, due: Sequence[Header], send: Send, message: Message
) -> Awaitable[None]:
    """As `send_with`, and with a successor on the opening message."""
    if message["type"] == "http.response.start":
        injected, appended = _delivering(gate, successor)
        headers = with_token(message.get("headers", ()), injected, [*due, *appended])
        message = {**message, "headers": headers}
    return send(message)


def answering(send: Send, gate: Gate, admitted: Admitted, scope: Scope) -> Send:
    """Wrap `send` so that the response's opening message carries what is due; one message is touched.

    HTTP: `Vary` always, our names exposed to pages of other origins, and the successor if there is one.
    WebSocket: the successor on `websocket.accept`; a socket's response is neither cached nor shared.
    """
    surface = gate.surface
    due = surface.varying if admitted.origin is None else surface.varying_and_exposing
    delivery = admitted.delivery

    if delivery is None and scope["type"] == "http":  # nearly every request: nothing to wait for
        return partial(send_with, due, send)

    async def start(message: Message) -> None:
        headers: Sequence[Header] = message.get("headers", ())
        successor = None if delivery is None else await delivery.wait()
        delivered = None if successor is None else _delivering(gate, successor)
        if message["type"] == "websocket.accept":
            if delivered is not None:
                headers = _with_successor(headers, *delivered)
            await send({**_accepting(message, scope), "headers": list(headers)})
        elif delivered is None:
            await send({**message, "headers": [*headers, *due]})
        else:
            injected, appended = delivered
            await send({**message, "headers": with_token(headers, injected, [*due, *appended])})

    def send_answering(message: Message) -> Awaitable[None]:
        if message["type"] in _OPENING:
            return start(message)
        return send(message)

    return send_answering


_OPENING: Final = frozenset({"http.response.start", "websocket.accept", "websocket.http.response.start"})


def _with_successor(
    headers: Sequence[Header], injected: Sequence[Header], appended: Sequence[Header]
) -> list[Header]:
    """The fields of a handshake with ours in place of the app's of the same names, in whatever case."""
    ours = {name for name, _ in injected}
    return [*(header for header in headers if header[0].lower() not in ours), *injected, *appended]


def _accepting(message: Message, scope: Scope) -> Message:
    """Select our own subprotocol where the app selects none: browsers fail a handshake without one."""
    if message.get("subprotocol") is None and SUBPROTOCOL_NAME in scope.get("subprotocols", ()):
        return {**message, "subprotocol": SUBPROTOCOL_NAME}
    return message


def refusal_fields(gate: Gate, error: GuestpassError, origin: bytes | None, *, guarded: bool) -> list[Header]:
    """What an answer of ours carries beside its body: challenge, `Vary`, and what CORS asks for."""
    surface = gate.surface
    fields: list[Header] = []
    if isinstance(error, TokenError):
        fields.append((b"www-authenticate", challenge(error, realm=surface.realm)))
    if guarded:
        fields.extend(surface.varying)
    exposed = (*surface.fields.names, *_EXPOSED)
    if surface.cors is not None:
        fields.extend(surface.cors.answer_fields(origin, exposed))
    elif origin is not None:  # the app's own CORS may stand around us
        fields.append(expose(*exposed))
    return fields


_EXPOSED: Final = ("Retry-After", "WWW-Authenticate")
"""What a page must read of a refusal: when to ask again, and whether it was the gate that refused."""


async def refuse(refused: Refused, gate: Gate, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer in place of the app."""
    error = refused.error
    if scope["type"] == "websocket":
        # Before it is accepted, a close is an HTTP 403 on the wire, whatever its code.
        await receive()
        await send(
            {"type": "websocket.close", "code": _POLICY_VIOLATION + error.status, "reason": error.code}
        )
        return
    extra = refusal_fields(gate, error, refused.origin, guarded=refused.guarded)
    await send_problem(send, error, extra)
