"""One path of our own that pages of other origins may call: preflights, limits, strict JSON, answers.

What such a call does is said by one handler for each method; everything that must never differ between our
endpoints is here.
"""

import json
import math
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from starlette.types import Receive, Scope, Send

from guestpass.asgi.messages import refusal_fields
from guestpass.asgi.problem import problem
from guestpass.core import strict_json
from guestpass.core.cors import NO_ORIGINS
from guestpass.core.inject import is_deliverable, set_cookie_field
from guestpass.core.matching import is_preflight
from guestpass.core.model import Header, RawToken, Successor, UnixTime
from guestpass.errors import (
    ContentTooLarge,
    GuestpassError,
    MediaTypeUnsupported,
    MethodNotAllowed,
    RequestInvalid,
    TooManyRequests,
)
from guestpass.gate import Gate
from guestpass.ports import Limiter, Quota

_MOST_BODY: Final = 16_384  # a token of 8 KiB, a name, an e-mail, and room
_CONTROLS: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


@dataclass(frozen=True, slots=True)
class Call:
    """One request that is within its limits.

    Attributes:
        scope: As ASGI has it.
        receive: As ASGI has it.
        client: The key under which the client is counted.
    """

    scope: Scope
    receive: Receive
    client: str

    async def members(self, known: frozenset[str]) -> dict[str, Any]:
        """The request's JSON object, which may have `known` members only.

        Raises:
            RequestInvalid: It is none, or has others.
            MediaTypeUnsupported: It is not declared as JSON.
            ContentTooLarge: It is too long.
        """
        try:
            members = strict_json.loads_object(await _body(self.scope, self.receive))
        except ValueError as exc:
            raise RequestInvalid("body: must be a JSON object in UTF-8 without duplicate members") from exc
        if unknown := members.keys() - known:
            # The name is the client's own, so it is not echoed; how many are known is enough to find it.
            listed = ", ".join(sorted(known))
            raise RequestInvalid(f"body: must have no members but {listed} ({len(unknown)} more)")
        return members


@dataclass(frozen=True, slots=True)
class Reply:
    """What a handler answers: a JSON object, or nothing at all."""

    status: int
    members: Mapping[str, object] | None = None
    headers: Sequence[Header] = ()


Handler = Callable[[Call], Awaitable[Reply]]


class JsonEndpoint:
    """Serves one path; every error of ours becomes a problem document that the page may read."""

    def __init__(
        self, gate: Gate, handlers: Mapping[str, Handler], *, limiter: Limiter | None = None
    ) -> None:
        """Serve by `handlers`, one for each method.

        Args:
            gate: Its `surface.cors` names the origins that may call.
            handlers: Method -> what it does.
            limiter: Calls per client address; None: no limit.
        """
        self._gate = gate
        self._handlers = handlers
        self._limiter = limiter
        self._cors = gate.surface.cors or NO_ORIGINS
        self._methods = ", ".join((*handlers, "OPTIONS"))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            raise RuntimeError("this endpoint serves HTTP only")
        origin = field(scope, b"origin")
        asks_method = field(scope, b"access-control-request-method") is not None
        if is_preflight(scope["method"], origin is not None, asks_method):
            header = self._gate.surface.sources.header
            names = ("Content-Type",) if header is None else ("Content-Type", header)
            allowed = self._cors.preflight_fields(origin, methods=tuple(self._handlers), headers=names)
            await _send(send, 204, [(b"cache-control", b"no-store"), *allowed], b"")
            return
        quota: Quota | None = None
        peer = scope.get("client")
        address = peer[0] if peer else None
        self._gate.refusals.name_request(address, scope["headers"])
        try:
            handler = self._handlers.get(scope["method"])
            if handler is None:
                raise MethodNotAllowed(f"method: must be {' or '.join(self._handlers)}")
            client = self._gate.client_of(address, scope["headers"])
            if self._limiter is not None:
                quota = await self._limiter.hit(client)
                if not quota.allowed:
                    raise TooManyRequests(scope["path"], retry_after=quota.reset_after)
            reply = await handler(Call(scope, receive, client))
        except GuestpassError as error:
            self._gate.refusals.report(error, scope["path"])
            status, fields, body = problem(error)
            fields += refusal_fields(self._gate, error, origin, guarded=False)
            if isinstance(error, MethodNotAllowed):
                fields.append((b"allow", self._methods.encode()))
        else:
            status, fields, body = self._answer(reply, origin)
        await _send(send, status, [*fields, *_rate_limit(quota)], body)

    def _answer(self, reply: Reply, origin: bytes | None) -> tuple[int, list[Header], bytes]:
        fields: list[Header] = []
        body = b""
        if reply.members is not None:
            body = json.dumps(reply.members, separators=(",", ":")).encode()
            fields += [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        fields += [(b"cache-control", b"no-store"), *self._cors.answer_fields(origin), *reply.headers]
        return reply.status, fields, body


def token_members(token: RawToken, expires_at: UnixTime, *, now: UnixTime) -> dict[str, object]:
    """What every answer says of the token that it holds."""
    whole = math.floor(expires_at)
    return {
        "token": token.compact.decode("ascii"),
        "expires_at": datetime.fromtimestamp(whole, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "expires_in": max(0, math.floor(expires_at - now)),
    }


def token_cookie(gate: Gate, token: RawToken, expires_at: UnixTime) -> Sequence[Header]:
    """The token as a cookie, where successors come as one: a page cannot set an HttpOnly one itself."""
    delivery, now = gate.surface.cookie, gate.clock.time()
    if delivery is None or not is_deliverable(token.compact):
        return ()
    carried = Successor(token, expires_at, now)
    return (set_cookie_field(carried, delivery, now=now, grace=gate.policy.grace),)


def text(members: Mapping[str, Any], name: str, most: int, *, required: bool) -> str:
    """The string of that name, without blanks around it; "" if it is left out and may be.

    Raises:
        RequestInvalid: It is no string, is empty though required, too long, or holds control characters.
    """
    value = members.get(name, None if required else "")
    if not isinstance(value, str):
        raise RequestInvalid(f"{name}: must be there, as a string")
    value = value.strip()
    if required and not value:
        raise RequestInvalid(f"{name}: must not be empty")
    if len(value) > most:
        raise RequestInvalid(f"{name}: must have at most {most} characters")
    if _CONTROLS.search(value):
        raise RequestInvalid(f"{name}: must not hold control characters")
    return value


def field(scope: Scope, name: bytes) -> bytes | None:
    """The first value of a field; None if there is none."""
    values = [value for found, value in scope["headers"] if found.lower() == name]
    return values[0] if values else None


async def _body(scope: Scope, receive: Receive) -> bytes:
    """The request's content, never more than is allowed in memory."""
    media_type = (field(scope, b"content-type") or b"").split(b";")[0].strip().lower()
    if media_type != b"application/json":
        # Also what keeps a cross-site form out: a browser sends this type only after a preflight.
        raise MediaTypeUnsupported("content-type: must be application/json")
    if (field(scope, b"content-encoding") or b"identity").lower() != b"identity":
        raise MediaTypeUnsupported("content-encoding: must be left out")
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise RequestInvalid("body: must be complete")  # the client is gone, nobody reads the answer
        body += message.get("body", b"")
        if len(body) > _MOST_BODY:
            raise ContentTooLarge(f"body: must have at most {_MOST_BODY} bytes")
        if not message.get("more_body", False):
            return bytes(body)


def _rate_limit(quota: Quota | None) -> list[Header]:
    """The RateLimit fields (draft-ietf-httpapi-ratelimit-headers-06 §5), in whole seconds."""
    if quota is None:
        return []
    return [
        (b"ratelimit-limit", b"%d" % quota.limit),
        (b"ratelimit-remaining", b"%d" % quota.remaining),
        (b"ratelimit-reset", b"%d" % math.ceil(quota.reset_after)),
    ]


async def _send(send: Send, status: int, headers: list[Header], body: bytes) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
