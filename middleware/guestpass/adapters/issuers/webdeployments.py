"""The vendor's authenticated messaging: a code in, then one JWT after another for a refresh token."""

import json
import secrets
from dataclasses import dataclass, replace
from typing import Final, NoReturn

import anyio

from guestpass.adapters.issuers import answers
from guestpass.adapters.issuers.hosts import Hosts
from guestpass.adapters.issuers.http_client import Answer, HttpClient
from guestpass.adapters.issuers.retry import DRAW, Draw, Sleep, told_wait
from guestpass.adapters.issuers.route import Route
from guestpass.core.model import Claims, Identity, RawToken, UnixTime
from guestpass.core.session import Grant, Recorded, Session, expiry, unverified_members
from guestpass.errors import ConfigError, Fault, GrantRefused, TokenRefused, Unavailable
from guestpass.ports import Clock, SessionStore

ROOT: Final = "/api/v2/webdeployments/token"
_JSON: Final = {"content-type": "application/json"}
_OURS: Final = frozenset({403, 404, 405, 410})
"""Nothing that a guest could mend: the deployment is not there, or not set up for this."""

THEIRS: Final = frozenset({400, 401, 409, 413, 422})
"""The code or the refresh token is not good, or not any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WebDeploymentsSettings:
    """Whose guests they are.

    Attributes:
        deployment_id: The messaging deployment.
        redirect_uri: The one redirect URI that a code may have been had with; None: any.
        kept: Seconds past its end for which a token stays known, as it can still be exchanged for so long.
        lease: Seconds for which one worker has a session to itself; more than a refresh may take.
    """

    deployment_id: str
    redirect_uri: str | None = None
    kept: float = 60.0
    lease: float = 10.0

    def __post_init__(self) -> None:
        if not self.deployment_id:
            raise ConfigError("issuer.deployment_id", "must not be empty")


class WebDeploymentsIssuer:
    """`ports.SessionIssuer` over the vendor's authenticated messaging. It needs no credentials of ours.

    What an answer means:

    | answer | to a code | to a refresh token | to a revocation |
    |---|---|---|---|
    | 2xx | a session, and its first token | the next token | done |
    | 400, 401, 409, 413, 422 | `GrantRefused` | `TokenRefused` | it was over already |
    | 403, 404, 405, 410 | `IssuerMisconfigured`, and nobody asks that route for 30 s | the same | the same |
    | anything else | `Unavailable`, asked again as with any other issuer | the same | the same |

    Args:
        hosts: Where the issuer is; the login host is not needed.
        settings: Whose guests they are.
        sessions: The record: what is issued is in it before anyone gets it.
        clock: Ours.
        http: How to get there; closed by `aclose`.
        sleep: How retries wait.
        draw: The source of jitter.
    """

    def __init__(
        self,
        *,
        hosts: Hosts,
        settings: WebDeploymentsSettings,
        sessions: SessionStore,
        clock: Clock,
        http: HttpClient | None = None,
        sleep: Sleep = anyio.sleep,
        draw: Draw = DRAW,
    ) -> None:
        self._settings = settings
        self._sessions = sessions
        self._clock = clock
        self._http = http or HttpClient()
        self._exchange, self._refresh, self._revoke = (
            Route(name, hosts.api + ROOT + path, http=self._http, clock=clock, sleep=sleep, draw=draw)
            for name, path in (
                ("exchange", "/oauthcodegrantjwtexchange"),
                ("refresh", "/refresh"),
                ("revoke", "/revoke"),
            )
        )

    async def mint(self, identity: Identity) -> RawToken:
        """Refuse: who a guest is, the code says, and nobody else can."""
        del identity
        raise TokenRefused("this issuer mints for an authorization code only")

    async def exchange(self, grant: Grant) -> RawToken:
        """As the port says."""
        if self._settings.redirect_uri not in (None, grant.redirect_uri):
            raise GrantRefused("redirectUri: must be the one that is configured")
        await self._sessions.ready()
        optional = {"codeVerifier": grant.code_verifier, "nonce": grant.nonce}
        oauth = {
            "code": grant.code,
            "redirectUri": grant.redirect_uri,
            **{name: value for name, value in optional.items() if value is not None},
        }
        answer = await self._exchange.ask("POST", _JSON, self._body(oauth=oauth))
        if not answers.succeeded(answer):
            if answer.status in THEIRS:
                raise GrantRefused("code: was refused by the issuer")
            self._failed(self._exchange, answer)
        document = answers.members(answer)
        token = RawToken(answers.credential(document.get("jwt")).encode("ascii"))
        refresh_token = answers.credential(document.get("refreshToken"))
        name = secrets.token_urlsafe(24)
        subject = unverified_members(token).get("sub")
        session = Session(
            name=name,
            subject=subject if isinstance(subject, str) and subject else name,
            refresh_token=refresh_token,
            tokens={},
        )
        await self._sessions.open(*self._with(session, token))
        return token

    async def rotate(self, token: RawToken, claims: Claims) -> RawToken:
        """The session's next token: same guest, as the refresh token is the session's own.

        One at a time has the session: a refresh token may work once, and whoever comes second, with this
        token or an earlier one, gets what the first one was given.
        """
        del claims
        recorded = await self._sessions.recorded(token)
        if recorded is None:
            raise TokenRefused("the session is over")
        async with self._sessions.held(recorded.session, lease=self._settings.lease) as session:
            if session is None:
                raise TokenRefused("the session is over")
            return session.later_than(recorded, now=self._clock.time()) or await self._refreshed(session)

    async def _refreshed(self, session: Session) -> RawToken:
        answer = await self._refresh.ask("POST", _JSON, self._body(refreshToken=session.refresh_token))
        if not answers.succeeded(answer):
            if answer.status in THEIRS:
                raise TokenRefused("the issuer refuses the refresh token")
            self._failed(self._refresh, answer)
        document = answers.members(answer)
        successor = RawToken(answers.credential(document.get("jwt")).encode("ascii"))
        if document.get("refreshToken") is not None:  # RFC 6749 §6: it replaces the one that was used
            session = replace(session, refresh_token=answers.credential(document["refreshToken"]))
        if not await self._sessions.extend(*self._with(session, successor)):
            raise TokenRefused("the session was ended meanwhile")
        return successor

    async def revoke(self, token: RawToken) -> None:
        """As the port says."""
        headers = {"authorization": f"Bearer {token.compact.decode('ascii')}"}
        answer = await self._revoke.ask("DELETE", headers)
        if not answers.succeeded(answer) and answer.status not in THEIRS:
            self._failed(self._revoke, answer)

    async def aclose(self) -> None:
        """Close connections; the issuer can be used again afterwards."""
        await self._http.aclose()

    def _body(self, **members: object) -> bytes:
        return json.dumps({"deploymentId": self._settings.deployment_id, **members}).encode()

    def _with(self, session: Session, token: RawToken) -> tuple[Session, RawToken, Recorded]:
        """The session with one more token."""
        now = self._clock.time()
        expires_at = expiry(unverified_members(token), now=now)
        recorded = Recorded(
            session=session.name, subject=session.subject, issued_at=now, expires_at=expires_at
        )
        until = UnixTime(expires_at + self._settings.kept)
        tokens = {**session.tokens, token.id: until}
        return replace(session, tokens=tokens, latest=token, latest_ends=expires_at), token, recorded

    def _failed(self, route: Route, answer: Answer) -> NoReturn:
        fault: Fault
        if answer.status in _OURS:
            fault = route.refused_us(answer, "forbidden")
        else:
            fault = Unavailable("no token", retry_after=told_wait(answer, self._clock))
        raise fault
