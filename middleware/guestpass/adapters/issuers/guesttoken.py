"""The default issuer: client credentials, then `POST {name, email}` for a guest token."""

import json
from dataclasses import dataclass
from typing import Final

import anyio

from guestpass.adapters.issuers import answers
from guestpass.adapters.issuers.hosts import Hosts, endpoint
from guestpass.adapters.issuers.http_client import Answer, HttpClient
from guestpass.adapters.issuers.oauth import AccessTokens, ClientCredentials
from guestpass.adapters.issuers.retry import DRAW, Draw, Sleep, told_wait
from guestpass.adapters.issuers.route import Route
from guestpass.core.model import Claims, Identity, RawToken, UnixTime
from guestpass.errors import ConfigError, Fault, TokenRefused, Unavailable
from guestpass.ports import Clock

_UNAUTHORIZED: Final = 401
_FORBIDDEN: Final = 403
_NOT_THERE: Final = frozenset({404, 405, 410})
_REFUSES_IDENTITY: Final = frozenset({400, 413, 415, 422})


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestTokenSettings:
    """Where the routes are, and where things stand in their bodies. Neither is in any SDK of the vendor's.

    Attributes:
        token_path: The login route: a path on the login host, or a whole URL.
        mint_path: The mint route: a path on the API host, or a whole URL.
        jwks_path: The published keys: a path on the API host, or a whole URL.
        token_member: Dotted path of the token in the answer.
        expires_member: Dotted path of its expiry in the answer.
        name_member: Member of the request that holds the guest's name.
        email_member: Member of the request that holds the guest's e-mail address.
    """

    token_path: str = "/oauth/token"  # noqa: S105  a path
    mint_path: str = "/api/v2/webchat/v1/guesttokens"
    jwks_path: str = "/api/v2/oauth/jwks"
    token_member: str = "token"  # noqa: S105  a member's name
    expires_member: str = "expires_at"
    name_member: str = "name"
    email_member: str = "email"

    def __post_init__(self) -> None:
        for name in ("token_path", "mint_path", "jwks_path"):
            endpoint(f"issuer.{name}", "https://host.invalid", getattr(self, name))
        for name in ("token_member", "expires_member"):
            if not all(getattr(self, name).split(".")):
                raise ConfigError(f"issuer.{name}", "must be member names, joined by single dots")
        if not self.name_member or not self.email_member or self.name_member == self.email_member:
            raise ConfigError("issuer.name_member", "must be non-empty and differ from issuer.email_member")

    def token_url(self, hosts: Hosts) -> str:
        """Where access tokens are had."""
        return endpoint("issuer.token_path", hosts.login, self.token_path)

    def mint_url(self, hosts: Hosts) -> str:
        """Where guest tokens are minted."""
        return endpoint("issuer.mint_path", hosts.api, self.mint_path)

    def jwks_url(self, hosts: Hosts) -> str:
        """Where the keys are published: it follows the environment as the other two do."""
        return endpoint("issuer.jwks_path", hosts.api, self.jwks_path)


@dataclass(frozen=True, slots=True)
class Minted:
    """What a mint yields.

    Attributes:
        token: The token, unverified.
        expires_at: The answer's own word on its expiry, or None. A hint for diagnostics: what counts is the
            "exp" that our verifier reads, and no instant is ever taken from here.
    """

    token: RawToken
    expires_at: UnixTime | None


class GuestTokenIssuer:
    """`ports.TokenIssuer` over the vendor's guest token route.

    What an answer means:

    | answer | meaning |
    |---|---|
    | 2xx with a usable token | minted |
    | 401 | drop that access token, log in once, ask once more; a second 401 is `IssuerMisconfigured` |
    | 403 | `IssuerMisconfigured`, and nobody asks for 30 s |
    | 403 from something in front of the issuer | `TokenRefused`, and an operator is called |
    | 400, 413, 415, 422 | `TokenRefused`: this identity is not to the issuer's liking |
    | 404, 405, 410 | `Unavailable`, and an operator is called: the route is not there |
    | 429 | `Unavailable` with its Retry-After, and nobody asks until then |
    | 502, 503, 504, no connection | asked again, three times at most, then `Unavailable` |
    | anything else (other 4xx, 5xx, redirects, no or a broken answer) | `Unavailable`, not asked again |

    Args:
        hosts: Where the issuer is.
        credentials: Ours.
        settings: Routes and members.
        clock: Ours.
        http: How to get there; closed by `aclose`.
        sleep: How retries wait.
        draw: The source of jitter.
    """

    def __init__(
        self,
        *,
        hosts: Hosts,
        credentials: ClientCredentials,
        clock: Clock,
        settings: GuestTokenSettings | None = None,
        http: HttpClient | None = None,
        sleep: Sleep = anyio.sleep,
        draw: Draw = DRAW,
    ) -> None:
        self._settings = settings or GuestTokenSettings()
        self._http = http or HttpClient()
        self._clock = clock
        login = Route(
            "login", self._settings.token_url(hosts), http=self._http, clock=clock, sleep=sleep, draw=draw
        )
        self._access = AccessTokens(route=login, credentials=credentials, clock=clock)
        self._route = Route(
            "mint", self._settings.mint_url(hosts), http=self._http, clock=clock, sleep=sleep, draw=draw
        )

    async def mint(self, identity: Identity) -> RawToken:
        """Mint a token for `identity`; see `ports.TokenIssuer.mint`."""
        return (await self.ask(identity)).token

    async def rotate(self, token: RawToken, claims: Claims) -> RawToken:  # noqa: ARG002  the issuer asks for no proof
        """Mint anew for the same identity: this issuer has no exchange."""
        return await self.mint(claims.minted_for)

    async def ask(self, identity: Identity) -> Minted:
        """Mint, and give the issuer's word on the expiry as well; raises as `mint` does."""
        self._route.check()  # before a login that would be for nothing
        access = await self._access.current()
        answer = await self._post(identity, access)
        if answer.status == _UNAUTHORIZED:
            # It may die before its "expires_in": the vendor displaces the oldest of too many.
            self._access.invalidate(access)
            access = await self._access.current()
            answer = await self._post(identity, access)
            if answer.status == _UNAUTHORIZED:
                self._access.invalidate(access)
                raise self._route.refused_us(answer, "unauthenticated")
        if not answers.succeeded(answer):
            raise self._refusal(answer)
        document = answers.members(answer)
        compact = answers.credential(answers.member(document, self._settings.token_member))
        hint = answers.instant(answers.member(document, self._settings.expires_member))
        return Minted(RawToken(compact.encode("ascii")), hint)

    async def aclose(self) -> None:
        """Close connections; the issuer can be used again afterwards."""
        await self._http.aclose()

    async def _post(self, identity: Identity, access: str) -> Answer:
        body = {self._settings.name_member: identity.name, self._settings.email_member: identity.email}
        headers = {"authorization": f"Bearer {access}", "content-type": "application/json"}
        return await self._route.post(json.dumps(body).encode(), headers)

    def _refusal(self, answer: Answer) -> Fault | TokenRefused:
        if answer.status == _FORBIDDEN:
            if answers.is_the_vendors(answer):
                return self._route.refused_us(answer, "forbidden")
            # A firewall that dislikes one guest's name must not stop the mints of all others.
            self._route.report(answer)
            return TokenRefused("something in front of the issuer refuses this request")
        if answer.status in _REFUSES_IDENTITY:
            return TokenRefused("the issuer refuses this identity")
        if answer.status in _NOT_THERE:
            self._route.report(answer)
        return Unavailable("no token", retry_after=told_wait(answer, self._clock))
