"""`TokenEndpoint`: gives a browser its first token, and heals one whose token went stale.

POST {"name": ..., "email": ..., "currentToken"?: ...} -> {"token", "expires_at", "expires_in", "rotated"}
"""

import json
import math
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

from starlette.types import Receive, Scope, Send

from guestpass.asgi.messages import refusal_fields
from guestpass.asgi.problem import problem
from guestpass.core import strict_json
from guestpass.core.cors import Cors
from guestpass.core.inject import is_deliverable, set_cookie_field
from guestpass.core.matching import is_preflight
from guestpass.core.model import Header, Identity, RawToken, Successor
from guestpass.errors import (
    ContentTooLarge,
    GuestpassError,
    MediaTypeUnsupported,
    MethodNotAllowed,
    RequestInvalid,
    TooManyRequests,
)
from guestpass.exchange import Exchange, Issued
from guestpass.gate import Gate
from guestpass.ports import Limiter, Quota

_MOST_BODY: Final = 16_384  # a token of 8 KiB, a name, an e-mail, and room
_MOST_NAME: Final = 200
_MOST_EMAIL: Final = 254  # RFC 5321 §4.5.3.1.3, less the angle brackets
_MEMBERS: Final = frozenset({"name", "email", "currentToken"})
# One @, something before it, a dotted host name after it; what is deliverable only the mail says.
_EMAIL: Final = re.compile(r"[^\s@\x00-\x1f\x7f]{1,64}@[^\s@.\x00-\x1f\x7f]+(?:\.[^\s@.\x00-\x1f\x7f]+)+")
_CONTROLS: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


class TokenEndpoint:
    """An ASGI app for one path; mount it outside what the gate guards (it is one of `gate.OPEN_PATHS`)."""

    def __init__(
        self,
        gate: Gate,
        *,
        limiter: Limiter | None = None,
        require_email: bool = True,
        refuse_invalid: bool = False,
    ) -> None:
        """Stand over `gate`.

        Args:
            gate: Mints, verifies and rotates; its `surface.cors` names the origins that may call.
            limiter: Calls per client address; None: no limit.
            require_email: Whether the e-mail must be one; False lets an empty or odd one pass.
            refuse_invalid: `on_invalid = "refuse"`: 401 for a current token that is no good.
        """
        self.gate = gate
        self.limiter = limiter
        self.require_email = require_email
        self.exchange = Exchange(gate, refuse_invalid=refuse_invalid)
        self.cors = gate.surface.cors or Cors(frozenset())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            raise RuntimeError("the token endpoint serves HTTP only")
        origin = _field(scope, b"origin")
        asks_method = _field(scope, b"access-control-request-method") is not None
        if is_preflight(scope["method"], origin is not None, asks_method):
            headers = _field_names(self.gate)
            allowed = self.cors.preflight_fields(origin, methods=("POST",), headers=headers)
            await _send(send, 204, [(b"cache-control", b"no-store"), *allowed], b"")
            return
        quota: Quota | None = None
        peer = scope.get("client")
        self.gate.refusals.name_request(peer[0] if peer else None, scope["headers"])
        try:
            if scope["method"] != "POST":
                raise MethodNotAllowed("method: must be POST")
            client = self.gate.client_of(peer[0] if peer else None, scope["headers"])
            if self.limiter is not None:
                quota = await self.limiter.hit(client)
                if not quota.allowed:
                    raise TooManyRequests("token endpoint", retry_after=quota.reset_after)
            identity, current = self._read(await _body(scope, receive))
            issued = await self.exchange.issue(identity, current, client=client)
            self.gate.tally.endpoint[issued.outcome.value] += 1
        except GuestpassError as error:
            self.gate.refusals.report(error, scope["path"])
            status, fields, body = problem(error)
            fields += refusal_fields(self.gate, error, origin, guarded=False)
            if isinstance(error, MethodNotAllowed):
                fields.append((b"allow", b"POST, OPTIONS"))
        else:
            status, fields, body = self._answer(issued, origin)
        await _send(send, status, [*fields, *_rate_limit(quota)], body)

    def _answer(self, issued: Issued, origin: bytes | None) -> tuple[int, list[Header], bytes]:
        expires_at = math.floor(issued.expires_at)
        answer = {
            "token": issued.token.compact.decode("ascii"),
            "expires_at": datetime.fromtimestamp(expires_at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "expires_in": max(0, math.floor(issued.expires_at - self.gate.clock.time())),
            "rotated": issued.rotated,
        }
        body = json.dumps(answer, separators=(",", ":")).encode()
        fields = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            (b"cache-control", b"no-store"),
            *self.cors.answer_fields(origin),
            *self._cookie(issued),
        ]
        return 200, fields, body

    def _cookie(self, issued: Issued) -> Sequence[Header]:
        """The token as a cookie, where successors come as one: a page cannot set an HttpOnly one itself."""
        delivery, now = self.gate.surface.cookie, self.gate.clock.time()
        if delivery is None or not is_deliverable(issued.token.compact):
            return ()
        carried = Successor(issued.token, issued.expires_at, now)
        return (set_cookie_field(carried, delivery, now=now, grace=self.gate.policy.grace),)

    def _read(self, body: bytes) -> tuple[Identity, RawToken | None]:
        try:
            members = strict_json.loads_object(body)
        except ValueError as exc:
            raise RequestInvalid("body: must be a JSON object in UTF-8 without duplicate members") from exc
        if unknown := members.keys() - _MEMBERS:
            # The name is the client's own, so it is not echoed; how many are known is enough to find it.
            raise RequestInvalid(f"body: must have no members but {_listed(_MEMBERS)} ({len(unknown)} more)")
        name = _text(members, "name", _MOST_NAME, required=True)
        email = _text(members, "email", _MOST_EMAIL, required=self.require_email)
        if self.require_email and not _EMAIL.fullmatch(email):
            raise RequestInvalid("email: must be an e-mail address")
        current = members.get("currentToken")
        if current is not None and not isinstance(current, str):
            raise RequestInvalid("currentToken: must be a string, or left out")
        # What is not ASCII is no token, which the verifier says, not we.
        raw = RawToken(current.encode("utf-8", "surrogatepass")) if current else None
        return Identity(name=name, email=email), raw


def _text(members: dict[str, Any], name: str, most: int, *, required: bool) -> str:
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


async def _body(scope: Scope, receive: Receive) -> bytes:
    """The request's content, never more than is allowed in memory."""
    media_type = (_field(scope, b"content-type") or b"").split(b";")[0].strip().lower()
    if media_type != b"application/json":
        # Also what keeps a cross-site form out: a browser sends this type only after a preflight.
        raise MediaTypeUnsupported("content-type: must be application/json")
    if (_field(scope, b"content-encoding") or b"identity").lower() != b"identity":
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


def _field(scope: Scope, name: bytes) -> bytes | None:
    values = [value for field, value in scope["headers"] if field.lower() == name]
    return values[0] if values else None


def _field_names(gate: Gate) -> Sequence[str]:
    header = gate.surface.sources.header
    return ("Content-Type",) if header is None else ("Content-Type", header)


def _listed(names: frozenset[str]) -> str:
    return ", ".join(sorted(names))


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
