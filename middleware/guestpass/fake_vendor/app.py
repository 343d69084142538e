"""The ASGI app: takes a request to its handler, past the faults, and writes the journal."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from email.utils import formatdate
from typing import Any, Final

from starlette.types import Message, Receive, Scope, Send

from guestpass.core.model import UnixTime
from guestpass.errors import ConfigError
from guestpass.fake_vendor.answers import in_place, spoilt
from guestpass.fake_vendor.clock import TimeSource, VendorClock
from guestpass.fake_vendor.control import PREFIX, Control
from guestpass.fake_vendor.delivery import cut, deliver, hung_up
from guestpass.fake_vendor.faults import Faults
from guestpass.fake_vendor.guesttokens import GuestTokens
from guestpass.fake_vendor.ids import Ids
from guestpass.fake_vendor.journal import Entry, Journal
from guestpass.fake_vendor.keys import Keys
from guestpass.fake_vendor.messages import Call, Reply, envelope
from guestpass.fake_vendor.oauth import AccessTokens
from guestpass.fake_vendor.published import Published
from guestpass.fake_vendor.ratelimit import RateLimit
from guestpass.fake_vendor.rules import Rule
from guestpass.fake_vendor.webdeployments import WebDeployments

_WEB: Final = "/api/v2/webdeployments/token"
_MAX_BODY: Final = 1024 * 1024  # octets; far more than any request of this API


@dataclass(frozen=True, slots=True)
class Route:
    """What answers at a path; `name` is what rules know it by."""

    name: str
    methods: tuple[str, ...]
    handler: Callable[[Call], Reply]


class FakeVendor:
    """The issuer's stand-in as an ASGI app; every part of it can be reached and moved from Python, too.

    Nothing in it is secret, and its identifiers can be predicted: loopback only.

    Args:
        seed: Decides all ids and every draw of the faults; RSA keys are new in each process.
        lifetime: Seconds that a guest token lives.
        control: Whether `/__fake__/` is there (see `guestpass.fake_vendor.control`).
        client_id: The one OAuth client.
        client_secret: Its secret.
        issuer: "iss" of the tokens.
        audience: "aud" of the tokens, or None for no such claim.
        access_lifetime: `expires_in` of an access token, in seconds.
        max_access_tokens: How many access tokens may live; the vendor's number is not known.
        rate: Calls a minute for each access token; None for no limit.
        permitted: Whether the client's role allows it to mint.
        require_email: Whether an empty e-mail address is refused.
        deployment_id: The one deployment of the authenticated-messaging routes.
        jwt_lifetime: Seconds that a JWT of theirs lives.
        refresh_lifetime: Seconds that a refresh token lives.
        clock: What its time runs on; the machine's if None.

    Attributes:
        url: Where `guestpass.testing.serving` serves it, without a trailing slash; "" while it does not.
        clock: Its time: `advance`, `set_skew`.
        keys: Its keys: `rotate`, `publish_late`, `publish`, `retire`, `sign_unpublished`; `jwks()`.
        faults: How it misbehaves: `add`, `clear`.
        journal: What it was asked.
        access: Its access tokens: `logins`, `live`, `revoke_all()`.
        guests: Its guest tokens: `lifetime`, `permitted`, `issuer`, `audience` may be changed at any time.
        web: Its authenticated-messaging sessions: `exchanges`, `refreshes`, `jwt_lifetime`.

    Raises:
        ConfigError: A number is not a whole one above zero.
    """

    def __init__(
        self,
        *,
        seed: int = 0,
        lifetime: int = 1800,
        control: bool = False,
        client_id: str = "fake-client",
        client_secret: str = "fake-secret",  # noqa: S107  the documented one, known to all
        issuer: str = "genesys-cloud-webchat",
        audience: str | list[str] | None = None,
        access_lifetime: int = 86_400,
        max_access_tokens: int = 10,
        rate: int | None = 300,
        permitted: bool = True,
        require_email: bool = True,
        deployment_id: str = "fake-deployment",
        jwt_lifetime: int = 900,
        refresh_lifetime: int = 86_400,
        clock: TimeSource | None = None,
    ) -> None:
        _whole("lifetime", lifetime)
        _whole("access_lifetime", access_lifetime)
        _whole("max_access_tokens", max_access_tokens)
        _whole("jwt_lifetime", jwt_lifetime)
        _whole("refresh_lifetime", refresh_lifetime)
        if rate is not None:
            _whole("rate", rate)
        self.url = ""
        self._ids = Ids(seed)
        self.clock = VendorClock(clock)
        self.keys = Keys(seed)
        self.faults = Faults(self._ids)
        self.journal = Journal()
        self.access = AccessTokens(
            client_id=client_id,
            client_secret=client_secret,
            expires_in=access_lifetime,
            most=max_access_tokens,
            rate=RateLimit(self.clock, rate),
            clock=self.clock,
            ids=self._ids,
        )
        self.guests = GuestTokens(
            access=self.access,
            keys=self.keys,
            clock=self.clock,
            ids=self._ids,
            lifetime=lifetime,
            issuer=issuer,
            audience=audience,
            permitted=permitted,
            require_email=require_email,
        )
        self.web = WebDeployments(
            deployment_id=deployment_id,
            jwt_lifetime=jwt_lifetime,
            refresh_lifetime=refresh_lifetime,
            issuer=issuer,
            rate=RateLimit(self.clock, rate),
            keys=self.keys,
            clock=self.clock,
            ids=self._ids,
        )
        self._control = Control(self) if control else None
        self._routes = self._table()

    @property
    def mints(self) -> int:
        """How many guest tokens were minted, those whose reply got lost included."""
        return self.guests.mints

    def reset(self) -> None:
        """Put everything back to how it was at the start, but for what was set on `guests` by hand."""
        self._ids.reset()
        self.clock.reset()
        self.keys.reset()
        self.faults.clear()
        self.journal.clear()
        self.access.reset()
        self.guests.mints = 0
        self.web.reset()

    def state(self) -> dict[str, Any]:
        """The clock, the keys, the faults and the counts, as JSON has them."""
        return {
            "clock": self.clock.state(),
            "keys": self.keys.state(),
            "faults": self.faults.state(),
            "lifetime": self.guests.lifetime,
            "requests": len(self.journal),
            "logins": self.access.logins,
            "live_access_tokens": self.access.live,
            "mints": self.mints,
            "exchanges": self.web.exchanges,
            "refreshes": self.web.refreshes,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one scope: HTTP; the lifespan has nothing to do, and a WebSocket is refused."""
        match scope["type"]:
            case "http":
                await self._serve(scope, receive, send)
            case "lifespan":
                await _lifespan(receive, send)
            case "websocket":
                await send({"type": "websocket.close"})

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await _body(receive)
        if body is None:
            return
        call = Call(
            scope["method"],
            scope["path"],
            _fields_of(scope),
            body[:_MAX_BODY],
            self._ids.uuid("correlation"),
        )
        head = call.method == "HEAD"
        if self._control and call.path.startswith(PREFIX):
            reply = self._finished(call, self._control.answer(call))
            await deliver(reply, None, head=head, receive=receive, send=send)
            return
        route = self._routes.get(call.path)
        rule = self.faults.next(route.name) if route and call.method in route.methods else None
        call = self._under(call, rule)
        if rule and rule.action in ("hang", "reset_before"):
            self._note(call, "none", 0)
            if rule.action == "reset_before":
                await cut(send)
            await hung_up(receive)
            return
        reply = _too_large(call) if len(body) > _MAX_BODY else self._answer(call, route, rule)
        # Before the reply leaves, so that whoever has read it finds it in the journal.
        self._note(call, reply.outcome, reply.status)
        await deliver(self._finished(call, reply), rule, head=head, receive=receive, send=send)

    def _answer(self, call: Call, route: Route | None, rule: Rule | None) -> Reply:
        if route is None:
            return envelope(call, 404, "not.found", "The requested resource was not found")
        if call.method not in route.methods:
            # The code is invented: no source names the one for a method that a route does not know.
            refused = envelope(call, 405, "method.not.allowed", "The method is not allowed")
            return refused.with_fields(("Allow", ", ".join(route.methods)))
        if rule is None:
            return route.handler(call)
        stand_in = in_place(rule, call, self.clock.time())
        return spoilt(rule, route.handler(call)) if stand_in is None else stand_in

    def _under(self, call: Call, rule: Rule | None) -> Call:
        """The call, with what the handlers need to know of the rule that acts on it."""
        if rule is None:
            return replace(call, skew=self.clock.skew)
        return replace(call, fault=rule.action, skew=self.clock.skew + rule.skew)

    def _finished(self, call: Call, reply: Reply) -> Reply:
        """The reply, with the fields that every reply has."""
        return reply.with_fields(
            ("ININ-Correlation-Id", call.correlation),
            ("Date", formatdate(self.clock.time() + call.skew.date, usegmt=True)),
            ("Cache-Control", "no-store"),
        )

    def _note(self, call: Call, outcome: str, status: int) -> None:
        now: UnixTime = self.clock.time()
        self.journal.write(Entry(call.method, call.path, now, outcome, status, call.fault, call.correlation))

    def _table(self) -> dict[str, Route]:
        published = Published(keys=self.keys, access=self.access, ids=self._ids)
        login = Route("login", ("POST",), self.access.login)
        return {
            "/oauth/token": login,
            "/api/v2/oauth/token": login,
            "/api/v2/webchat/v1/guesttokens": Route("mint", ("POST",), self.guests.mint),
            "/api/v2/oauth/jwks": Route("jwks", ("GET", "HEAD"), published.jwks),
            "/api/v2/tokens/me": Route("me", ("GET", "HEAD"), published.me),
            f"{_WEB}/oauthcodegrantjwtexchange": Route("exchange", ("POST",), self.web.exchange),
            f"{_WEB}/refresh": Route("refresh", ("POST",), self.web.refresh),
            f"{_WEB}/revoke": Route("revoke", ("DELETE",), self.web.revoke),
        }


def _whole(field: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigError(field, "must be a whole number of 1 or more")


def _too_large(call: Call) -> Reply:
    # The code is invented: no source names the one for a body that is too large.
    return envelope(call, 413, "request.entity.too.large", "The request body is too large")


def _fields_of(scope: Scope) -> dict[str, str]:
    fields: dict[str, str] = {}
    for name, value in scope["headers"]:
        fields.setdefault(name.decode("latin-1").lower(), value.decode("latin-1"))
    return fields


async def _body(receive: Receive) -> bytes | None:
    """The request's body; of one that is too large, enough to tell; None if the client hung up within it."""
    body = b""
    while True:
        message: Message = await receive()
        if message["type"] == "http.disconnect":
            return None
        if len(body) <= _MAX_BODY:
            body += message.get("body", b"")
        if not message.get("more_body", False):
            return body


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        phase = (await receive())["type"]
        await send({"type": f"{phase}.complete"})
        if phase == "lifespan.shutdown":
            return
