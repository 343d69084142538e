"""`ForwardAuth`: answers a proxy's question whether a request may pass, so that no body goes through Python.

| path | asked by | original request in | refusals |
|---|---|---|---|
| `/guestpass/auth/nginx` | `auth_request` | X-Original-Method, X-Original-URI | 401 or 403, see below |
| `/guestpass/auth/caddy` | `forward_auth` | X-Forwarded-Method, X-Forwarded-Uri | as they are |
| `/guestpass/auth/traefik` | `ForwardAuth` | X-Forwarded-Method, X-Forwarded-Uri | as they are |
| `/guestpass/auth/haproxy` | the Lua action of the recipe | X-Original-Method, X-Original-URI | as they are |
| `/guestpass/auth/envoy` + path | `ext_authz` over HTTP | the request itself | as they are |

200 lets the request pass. Its fields are for the proxy to copy: to the backend every identity field, empty
where there is nothing to say, so that what the client sent is always overwritten; to the client the fields of
a successor, with `Cache-Control: private, no-store`, only where there is one. nginx knows 401 and 403 only:
any other refusal is 403 there; `X-Guest-Refusal-Status` and `X-Guest-Refusal-Code` say what was meant.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Final

from starlette.types import Receive, Scope, Send

from guestpass.admission import Admitted, Refused, Request
from guestpass.asgi.messages import refusal_fields
from guestpass.asgi.problem import problem, send_websocket_response
from guestpass.core.forwarded import Trust, parse_networks
from guestpass.core.identity import owned
from guestpass.core.inject import set_cookie_field, token_fields, with_token
from guestpass.core.model import Header, Successor, token_digest
from guestpass.core.original_request import CONVENTIONS, Convention, OwnedNames, original
from guestpass.core.paths import wire_path
from guestpass.errors import ConfigError, GuestpassError, NotFound, PeerUntrusted
from guestpass.gate import Gate

PREFIX: Final = "/guestpass/auth"
LOOPBACK: Final = ("127.0.0.0/8", "::1/128")

_FORBIDDEN: Final = 403
_FORWARDED_FOR: Final = b"x-forwarded-for"
_FORWARDED_HOST: Final = b"x-forwarded-host"
_WEBSOCKET_VERSION: Final = b"sec-websocket-version"


class ForwardAuth:
    """An ASGI app that decides on requests which others carry; also the lifespan's end.

    Whether a rotation is due is decided as by the middleware, but no app works meanwhile: an answer waits for
    the successor, no longer than `rotation_wait`.
    """

    def __init__(
        self,
        gate: Gate,
        *,
        prefix: str = PREFIX,
        peers: Iterable[str] | None = None,
        cache_for: float = 1.0,
    ) -> None:
        """Stand over `gate`.

        Args:
            gate: Admits or refuses.
            prefix: The path before the proxy's name.
            peers: Addresses and networks of the proxies: nobody else gets a decision, and their word on a
                client's address (X-Forwarded-For) counts for limits. None: those that the gate trusts, or
                loopback alone if it trusts nobody.
            cache_for: The most seconds for which nginx may keep a decision that depends on the token alone
                (`X-Accel-Expires`). A revoked token or a retired key passes for as long. 0: never.

        Raises:
            ConfigError: One of these breaks its rule.
        """
        if not prefix.startswith("/") or prefix.endswith("/"):
            raise ConfigError("forward_auth.prefix", "must start with a / and end without one")
        if not 0 <= cache_for < math.inf:
            raise ConfigError("forward_auth.cache_for", "must be a finite number of seconds, zero or more")
        self.gate = gate
        self.cache_for = cache_for
        self._prefix = prefix.encode() + b"/"
        if peers is None:
            self._trust = gate.trust if gate.trust.networks else Trust(parse_networks(LOOPBACK, field=""))
        else:
            self._trust = Trust(parse_networks(peers, field="forward_auth.peers"))
        surface = gate.surface
        self._identity = [name for _, name in surface.identity.pairs]
        names = owned(surface.identity, surface.fields, extra=surface.reserved)
        self._owned = OwnedNames(names, overwritten=self._identity, token=surface.sources.header)
        header = surface.sources.header
        self._token_field = None if header is None else header.lower().encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection; a request's body is never read."""
        kind = scope["type"]
        if kind == "lifespan":
            async with self.gate.background():
                await _lifespan(receive, send)
            return
        if kind == "websocket":  # a proxy that passed Upgrade on with its question
            await receive()
        status, fields, body = await self._answer(scope)
        if kind == "websocket":
            possible = "websocket.http.response" in scope.get("extensions", ())
            await send_websocket_response(send, status, fields, body, possible=possible)
            return
        await send({"type": "http.response.start", "status": status, "headers": fields})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    async def _answer(self, scope: Scope) -> tuple[int, list[Header], bytes]:
        raw_path = wire_path(scope.get("raw_path"), scope["path"])
        name, slash, rest = raw_path.removeprefix(self._prefix).partition(b"/")
        convention = CONVENTIONS.get(name.decode("latin-1"))
        if convention is None or not raw_path.startswith(self._prefix):
            return problem(NotFound(f"path: must be {self._prefix.decode()} and the name of a proxy"))
        try:
            request = self._request(scope, convention, slash + rest)
            self._owned.check(request.headers)
            outcome = await self.gate.admit(request)
            if isinstance(outcome, Admitted):
                successor = None if outcome.delivery is None else await outcome.delivery.wait()
                return 200, self._passing(request, outcome, successor), b""
        except GuestpassError as error:
            outcome = Refused(error, guarded=False)
        return self._refusal(outcome, convention)

    def _request(self, scope: Scope, convention: Convention, behind: bytes) -> Request:
        """The request that the proxy asks about.

        Raises:
            PeerUntrusted: Whoever asks is not one of `peers`.
            RequestInvalid: What the proxy must say is missing, or said twice.
        """
        peer = scope["client"][0] if scope.get("client") else None
        if not self._trust.believes(peer):
            raise PeerUntrusted("only a trusted proxy may ask")
        headers: Sequence[Header] = scope["headers"]
        if query := scope.get("query_string", b""):
            behind = b"%b?%b" % (behind, query)
        asked = original(convention, headers, method=scope.get("method", "GET"), behind=behind)
        told = [value for name, value in headers if name.lower() == _FORWARDED_FOR]
        # Upgrade is between two hops, so most proxies leave it out of the question; this one is end to end,
        # by HTTP/2 too (RFC 8441 §5), and no page can leave it out of what its browser sends.
        websocket = any(name.lower() == _WEBSOCKET_VERSION for name, _ in headers)
        return Request(
            asked.method,
            asked.path,
            asked.raw_path,
            _as_asked_of_the_site(headers),
            asked.query,
            websocket=websocket or scope["type"] == "websocket",
            peer=self._trust.client(peer, told),
        )

    def _passing(self, request: Request, admitted: Admitted, successor: Successor | None) -> list[Header]:
        gate, surface = self.gate, self.gate.surface
        known = {name: value for name, value in admitted.headers if name in self._identity}
        fields: list[Header] = [(name, known.get(name, b"")) for name in self._identity]
        fields.append((b"content-length", b"0"))
        fields.append((b"x-accel-expires", b"%d" % self._cacheable_for(request, admitted)))
        if admitted.guest is None:
            return fields
        due = surface.varying if admitted.origin is None else surface.varying_and_exposing
        if successor is None:
            return [*fields, *due]
        now = gate.clock.time()
        cookie = (
            ()
            if surface.cookie is None
            else (set_cookie_field(successor, surface.cookie, now=now, grace=gate.policy.grace),)
        )
        injected = token_fields(successor, fields=surface.fields, now=now)
        # `with_token` takes fields for caches out, ours among them: without it nothing is kept either.
        return with_token(fields, injected, [*due, *cookie])

    def _cacheable_for(self, request: Request, admitted: Admitted) -> int:
        """For how many whole seconds the same answer is right for whoever sends the same token.

        Only where the token stood in its own field, as that is what a cache is keyed by, and where neither
        method nor path could make a difference; never into the token's rotation window.
        """
        gate = self.gate
        tokens = [value for name, value in request.headers if name.lower() == self._token_field]
        if not gate.uniform or admitted.guest is None or admitted.delivery is not None or len(tokens) != 1:
            return 0
        entry = gate.entries.cache.get(token_digest(tokens[0]))
        if entry is None:
            return 0
        return max(0, math.floor(min(self.cache_for, entry.fresh_until - gate.clock.time())))

    def _refusal(self, refused: Refused, convention: Convention) -> tuple[int, list[Header], bytes]:
        error = refused.error
        status, fields, body = problem(error)
        fields += refusal_fields(self.gate, error, refused.origin, guarded=refused.guarded)
        if convention.refusals is not None:
            fields.append((b"x-guest-refusal-status", b"%d" % status))
            fields.append((b"x-guest-refusal-code", error.code.encode("ascii")))
            if status not in convention.refusals:
                status = _FORBIDDEN
        return status, fields, body


def _as_asked_of_the_site(headers: Sequence[Header]) -> list[Header]:
    """The fields of a question, with the site's host for ours, and without the word on the client.

    That word is taken once: left in, the gate would read it again. A client may claim any X-Forwarded-Host
    where its proxy sets none; a page, against which Origin is compared with it, can set no field of a socket.
    """
    host = [(b"host", value) for name, value in headers if name.lower() == _FORWARDED_HOST]
    left_out = {_FORWARDED_FOR, b"host"} if host else {_FORWARDED_FOR}
    return [*host, *(header for header in headers if header[0].lower() not in left_out)]


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
        elif message["type"] == "lifespan.shutdown":
            await send({"type": "lifespan.shutdown.complete"})
            return
