"""`TokenEndpoint`: gives a browser its first token, and heals one whose token went stale.

POST {"name": ..., "email": ..., "currentToken"?: ...} -> {"token", "expires_at", "expires_in", "rotated"}
"""

import re
from typing import Any, Final

from starlette.types import Receive, Scope, Send

from guestpass.asgi.json_endpoint import Call, JsonEndpoint, Reply, text, token_cookie, token_members
from guestpass.core.model import Identity, RawToken
from guestpass.errors import RequestInvalid
from guestpass.exchange import Exchange
from guestpass.gate import Gate
from guestpass.ports import Limiter

_MOST_NAME: Final = 200
_MOST_EMAIL: Final = 254  # RFC 5321 §4.5.3.1.3, less the angle brackets
_MEMBERS: Final = frozenset({"name", "email", "currentToken"})
# One @, something before it, a dotted host name after it; what is deliverable only the mail says.
_EMAIL: Final = re.compile(r"[^\s@\x00-\x1f\x7f]{1,64}@[^\s@.\x00-\x1f\x7f]+(?:\.[^\s@.\x00-\x1f\x7f]+)+")


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
        self.require_email = require_email
        self.exchange = Exchange(gate, refuse_invalid=refuse_invalid)
        self._endpoint = JsonEndpoint(gate, {"POST": self._post}, limiter=limiter)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        await self._endpoint(scope, receive, send)

    async def _post(self, call: Call) -> Reply:
        identity, current = self._read(await call.members(_MEMBERS))
        issued = await self.exchange.issue(identity, current, client=call.client)
        self.gate.tally.endpoint[issued.outcome.value] += 1
        members = token_members(issued.token, issued.expires_at, now=self.gate.clock.time())
        cookie = token_cookie(self.gate, issued.token, issued.expires_at)
        return Reply(200, {**members, "rotated": issued.rotated}, cookie)

    def _read(self, members: dict[str, Any]) -> tuple[Identity, RawToken | None]:
        name = text(members, "name", _MOST_NAME, required=True)
        email = text(members, "email", _MOST_EMAIL, required=self.require_email)
        if self.require_email and not _EMAIL.fullmatch(email):
            raise RequestInvalid("email: must be an e-mail address")
        current = members.get("currentToken")
        if current is not None and not isinstance(current, str):
            raise RequestInvalid("currentToken: must be a string, or left out")
        # What is not ASCII is no token, which the verifier says, not we.
        raw = RawToken(current.encode("utf-8", "surrogatepass")) if current else None
        return Identity(name=name, email=email), raw
