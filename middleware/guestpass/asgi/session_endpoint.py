"""`SessionEndpoint`: a guest logs in with an authorization code, goes on with a token, and logs out.

POST {"code", "redirectUri", "codeVerifier"?, "nonce"?} -> {"token", "expires_at", "expires_in"}
POST {"currentToken"} -> the same, for that token or its successor; 401 if it is no good: log in anew
DELETE, with the token where any request carries it -> 204
"""

from typing import Any, Final

from starlette.types import Receive, Scope, Send

from guestpass.asgi.json_endpoint import Call, JsonEndpoint, Reply, text, token_cookie, token_members
from guestpass.asgi.messages import read_request
from guestpass.core.jws import MAX_TOKEN
from guestpass.core.model import RawToken, UnixTime
from guestpass.core.session import Grant
from guestpass.errors import RequestInvalid, TokenMissing
from guestpass.exchange import Issued
from guestpass.gate import Gate
from guestpass.minting import Minted
from guestpass.ports import Limiter
from guestpass.sessions import Sessions

_RENEWAL: Final = "currentToken"
_MEMBERS: Final = frozenset({"code", "redirectUri", "codeVerifier", "nonce", _RENEWAL})
_MOST_CODE: Final = 4096
_MOST_URI: Final = 2048
_MOST_VERIFIER: Final = 128  # RFC 7636 §4.1
_MOST_NONCE: Final = 512
_ENDED: Final = RawToken(b"ended")


class SessionEndpoint:
    """An ASGI app for one path; mount it outside what the gate guards."""

    def __init__(self, gate: Gate, *, limiter: Limiter | None = None) -> None:
        """Stand over `gate`.

        Args:
            gate: Its `logins` take the codes; its `surface.cors` names the origins that may call.
            limiter: Calls per client address; None: no limit.

        Raises:
            ConfigError: The gate's issuer does not work by codes.
        """
        self._gate = gate
        self._sessions = Sessions(gate)
        handlers = {"POST": self._post, "DELETE": self._end}
        self._endpoint = JsonEndpoint(gate, handlers, limiter=limiter)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        await self._endpoint(scope, receive, send)

    async def _post(self, call: Call) -> Reply:
        members = await call.members(_MEMBERS)
        had: Minted | Issued
        if _RENEWAL in members:
            had = await self._sessions.renew(_current(members), client=call.client)
        else:
            had = await self._sessions.begin(grant_of(members))
        answer = token_members(had.token, had.expires_at, now=self._gate.clock.time())
        return Reply(200, answer, token_cookie(self._gate, had.token, had.expires_at))

    async def _end(self, call: Call) -> Reply:
        token = self._gate.token_of(read_request(call.scope))
        if token is None:
            raise TokenMissing
        await self._sessions.end(token, client=call.client)
        # A page cannot take an HttpOnly cookie away itself: it ends with an age of zero.
        return Reply(204, headers=token_cookie(self._gate, _ENDED, UnixTime(0)))


def _current(members: dict[str, Any]) -> RawToken:
    if len(members) > 1:
        raise RequestInvalid(f"{_RENEWAL}: must stand alone")
    # What is not ASCII is no token, which the verifier says, not we.
    return RawToken(text(members, _RENEWAL, MAX_TOKEN, required=True).encode("utf-8", "surrogatepass"))


def grant_of(members: dict[str, Any]) -> Grant:
    """The code that a page sends, with what belongs to it.

    Raises:
        RequestInvalid: A member is missing, no string, or too long.
    """
    return Grant(
        code=text(members, "code", _MOST_CODE, required=True),
        redirect_uri=text(members, "redirectUri", _MOST_URI, required=True),
        code_verifier=text(members, "codeVerifier", _MOST_VERIFIER, required=False) or None,
        nonce=text(members, "nonce", _MOST_NONCE, required=False) or None,
    )
