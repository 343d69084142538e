"""The authenticated-messaging routes: a code in, a JWT and a refresh token out; refreshed, and revoked.

The shapes are the vendor's, as its SDK has them. **Invented**, as no source tells: the claims of the JWT;
the codes `code.already.used`, `deployment.not.found`, `refresh.token.invalid`, `refresh.token.expired` and
`refresh.token.revoked`, and the statuses they come with; the 204 of a revocation. No JWKS of the vendor's
holds the key that signs these tokens, so here an unpublished one does.
"""

import json
from dataclasses import dataclass
from typing import Any, Final

from guestpass.core.model import UnixTime
from guestpass.fake_vendor.clock import VendorClock
from guestpass.fake_vendor.ids import Ids
from guestpass.fake_vendor.keys import Keys
from guestpass.fake_vendor.messages import Call, Reply, as_json, envelope
from guestpass.fake_vendor.ratelimit import RateLimit, too_many
from guestpass.fake_vendor.spoiling import handed_over, signed, spoil_claims

_OPTIONAL: Final = {"codeVerifier": str, "nonce": str, "maxAge": int, "iss": str, "idToken": str}


@dataclass(slots=True, eq=False)
class Session:
    """What a code was exchanged for.

    Attributes:
        subject: "sub" of every JWT of it.
        ends: When its refresh token dies.
        revoked: Whether it was revoked.
    """

    subject: str
    ends: UnixTime
    revoked: bool = False


class WebDeployments:
    """Sessions of guests who have logged in with an identity provider. Any code is good, once.

    Attributes:
        deployment_id: The one deployment.
        jwt_lifetime: Seconds that a JWT lives; the vendor's is at most 900.
        refresh_lifetime: Seconds that a refresh token lives.
        single_use: Whether a refresh token works once, and its answer holds the next one (RFC 6749 §6). The
            vendor's SDK expects neither; set it to see that nothing rests on that.
        exchanges: How many codes were exchanged.
        refreshes: How many JWTs were had for a refresh token.
        rate: The calls a minute of each of the three routes.
    """

    def __init__(
        self,
        *,
        deployment_id: str,
        jwt_lifetime: int,
        refresh_lifetime: int,
        issuer: str,
        rate: RateLimit,
        keys: Keys,
        clock: VendorClock,
        ids: Ids,
    ) -> None:
        self.deployment_id = deployment_id
        self.jwt_lifetime = jwt_lifetime
        self.refresh_lifetime = refresh_lifetime
        self.single_use = False
        self.rate = rate
        self._issuer = issuer
        self._keys = keys
        self._clock = clock
        self._ids = ids
        self.reset()

    def reset(self) -> None:
        """Forget every code and session."""
        self.exchanges = self.refreshes = 0
        self.rate.reset()
        self._used: set[str] = set()
        self._by_refresh: dict[str, Session] = {}
        self._by_jwt: dict[str, tuple[Session, UnixTime]] = {}  # JWT -> (session, "exp")

    def exchange(self, call: Call) -> Reply:
        """Answer `POST .../token/oauthcodegrantjwtexchange`."""
        if limited := self._limited("exchange", call):
            return limited
        document = self._request(call)
        if isinstance(document, Reply):
            return document
        oauth = document.get("oauth")
        if not isinstance(oauth, dict) or not _texts(oauth, "code", "redirectUri") or not _typed(oauth):
            return envelope(call, 400, "invalid.value", "The value of [oauth] is not valid")
        if oauth["code"] in self._used:
            return envelope(call, 400, "code.already.used", "The authorization code was used before")
        self._used.add(oauth["code"])
        self.exchanges += 1
        session = Session(
            self._ids.stable("deployment subject", oauth["code"]),
            UnixTime(self._clock.time() + self.refresh_lifetime),
        )
        return as_json({**self._jwt(call, session), "refreshToken": self._refresh_token(session)})

    def refresh(self, call: Call) -> Reply:
        """Answer `POST .../token/refresh`; the refresh token stays the same, unless it works once."""
        if limited := self._limited("refresh", call):
            return limited
        document = self._request(call)
        if isinstance(document, Reply):
            return document
        if not _texts(document, "refreshToken"):
            return envelope(call, 400, "invalid.value", "The value of [refreshToken] must be a string")
        session = self._by_refresh.get(document["refreshToken"])
        if session is None:
            return envelope(call, 401, "refresh.token.invalid", "The refresh token is not known")
        if session.revoked:
            return envelope(call, 401, "refresh.token.revoked", "The refresh token was revoked")
        if session.ends <= self._clock.time():
            return envelope(call, 401, "refresh.token.expired", "The refresh token has expired")
        self.refreshes += 1
        members = self._jwt(call, session)
        if self.single_use:
            del self._by_refresh[document["refreshToken"]]
            members["refreshToken"] = self._refresh_token(session)
        return as_json(members)

    def revoke(self, call: Call) -> Reply:
        """Answer `DELETE .../token/revoke`; the bearer is a JWT of the session that is to end."""
        if limited := self._limited("revoke", call):
            return limited
        jwt = call.credentials("bearer")
        if jwt is None:
            return envelope(call, 401, "authentication.required", "No authentication bearer token specified")
        session, expires_at = self._by_jwt.get(jwt, (None, UnixTime(0)))
        if session is None or session.revoked or expires_at <= self._clock.time():
            return envelope(call, 401, "bad.credentials", "Invalid login credentials")
        session.revoked = True
        return Reply(204, media_type=None)

    def _limited(self, route: str, call: Call) -> Reply | None:
        wait = self.rate.take(route)
        return None if wait is None else too_many(call, str(wait), value=self.rate.per_minute or 0)

    def _request(self, call: Call) -> dict[str, Any] | Reply:
        """The request's JSON object, if it is of our deployment, or the refusal."""
        if call.media_type != "application/json":
            return envelope(call, 415, "unsupported.media.type", "The media type is not supported")
        try:
            document = json.loads(call.body)
        except (ValueError, RecursionError):
            document = None
        if not isinstance(document, dict) or not _texts(document, "deploymentId"):
            return envelope(call, 400, "invalid.value", "The value of [deploymentId] must be a string")
        if document["deploymentId"] != self.deployment_id:
            return envelope(call, 404, "deployment.not.found", "The deployment was not found")
        return document

    def _refresh_token(self, session: Session) -> str:
        refresh = self._ids.opaque("refresh token")
        self._by_refresh[refresh] = session
        return refresh

    def _jwt(self, call: Call, session: Session) -> dict[str, Any]:
        now = int(self._clock.time())
        claims = {
            "iss": self._issuer,
            "sub": session.subject,
            "iat": int(now + call.skew.iat),
            "nbf": int(now + call.skew.nbf),
            "exp": int(now + self.jwt_lifetime + call.skew.exp),
            "jti": self._ids.uuid("jti"),
        }
        spoil_claims(claims, call.fault, lifetime=self.jwt_lifetime, ids=self._ids)
        # By the vendor's own record a token is as good as its time says, whatever it claims itself.
        good_until = UnixTime(now + self.jwt_lifetime)
        stray = self._keys.unpublished
        jwt = signed(claims, call.fault, key=stray, stray=stray)
        # The dead ones go, so that a demo that runs for days does not grow.
        self._by_jwt = {old: kept for old, kept in self._by_jwt.items() if kept[1] > now}
        self._by_jwt[jwt] = (session, good_until)
        return handed_over("jwt", jwt, call.fault)


def _texts(document: dict[str, Any], *names: str) -> bool:
    return all(isinstance(document.get(name), str) and document[name] for name in names)


def _typed(oauth: dict[str, Any]) -> bool:
    return all(isinstance(oauth[name], kind) for name, kind in _OPTIONAL.items() if name in oauth)
