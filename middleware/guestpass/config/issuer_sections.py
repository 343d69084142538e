"""The sections of the issuer: who mints tokens, and what makes one genuine."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from guestpass.config.values import Secret, require_above_zero, require_url
from guestpass.core.claims import ClaimRules
from guestpass.core.freshness import Freshness
from guestpass.core.jwk import ALGORITHMS
from guestpass.core.jws import GUEST_TYPES
from guestpass.core.model import Policy
from guestpass.errors import ConfigError

_FRESHNESS: Final = Freshness()


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuerSettings:
    """Who mints tokens, and how it is reached.

    Attributes:
        kind: `guesttoken` asks the vendor's platform API, `webdeployments` its messaging API, `local` signs.
        environment: The vendor's domain, region name or host (GENESYS_ENVIRONMENT).
        client_id: The OAuth client (GENESYS_CLIENT_ID).
        client_secret: Its secret (GENESYS_CLIENT_SECRET).
        gateway: One base URL in place of the vendor's login and API hosts.
        gateway_login_prefix: What is put before login paths at the gateway.
        gateway_api_prefix: What is put before API paths at the gateway.
        token_path: The login route: a path on the login host, or a whole URL.
        mint_path: The route that mints: a path on the API host, or a whole URL.
        jwks_path: The published keys: a path on the API host, or a whole URL.
        token_member: Where the token stands in the mint's answer, with dots between members.
        expires_member: Where its expiry stands there.
        name_member: The member of the mint's request that holds the guest's name.
        email_member: The member that holds the guest's e-mail address.
        deployment_id: The messaging deployment (`webdeployments`).
        redirect_uri: The one redirect URI that codes may be had with (`webdeployments`); None: any.
        key_file: The signing key (`local`); without one, keys are made at each start.
        algorithm: What `local` signs with, where it makes its keys.
        lifetime: Seconds that a token of `local` lives.
        key_period: Seconds for which one made key signs; None: for ever.
    """

    kind: Literal["guesttoken", "local", "webdeployments"] = "guesttoken"
    environment: str = "mypurecloud.com"
    client_id: str | None = None
    client_secret: Secret | None = None
    gateway: str | None = None
    gateway_login_prefix: str = ""
    gateway_api_prefix: str = ""
    token_path: str = "/oauth/token"  # noqa: S105  a path
    mint_path: str = "/api/v2/webchat/v1/guesttokens"
    jwks_path: str = "/api/v2/oauth/jwks"
    token_member: str = "token"  # noqa: S105  a member's name
    expires_member: str = "expires_at"
    name_member: str = "name"
    email_member: str = "email"
    deployment_id: str | None = None
    redirect_uri: str | None = None
    key_file: Path | None = None
    algorithm: Literal["RS256", "ES256", "EdDSA"] = "RS256"
    lifetime: int = 1800
    key_period: float | None = None

    def __post_init__(self) -> None:
        if self.gateway is not None:
            require_url("issuer.gateway", self.gateway, encrypted=True)
        for name in ("token_path", "mint_path", "jwks_path"):
            if not getattr(self, name).startswith("/"):
                require_url(f"issuer.{name}", getattr(self, name), encrypted=True)
        for name in ("gateway_login_prefix", "gateway_api_prefix"):
            prefix = getattr(self, name)
            if prefix and (not prefix.startswith("/") or prefix.endswith("/")):
                raise ConfigError(f"issuer.{name}", "must start with / and not end with one")
        require_above_zero("issuer", self, "lifetime")

    def require_credentials(self) -> None:
        """Check that what the chosen kind cannot mint without is there.

        Raises:
            ConfigError: It is not. Asked for when an issuer is built, as reading settings needs none.
        """
        needed = {
            "guesttoken": {"client_id": "GENESYS_CLIENT_ID", "client_secret": "GENESYS_CLIENT_SECRET"},
            "webdeployments": {"deployment_id": "GUESTPASS_ISSUER__DEPLOYMENT_ID"},
            "local": {},
        }[self.kind]
        for name, variable in needed.items():
            if getattr(self, name) is None:
                raise ConfigError(
                    f"issuer.{name}", f"must be set for kind {self.kind!r}, for example as {variable}"
                )


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifySettings:
    """What makes a token genuine. The leeway is `policy.leeway`.

    Attributes:
        issuer: The one "iss" accepted; None: the name that goes with `issuer.kind`.
        audience: The "aud" values of which a token must name one; none: not asked for.
        algorithms: The "alg" values accepted.
        types: The "typ" values accepted, in any case; a token without "typ" passes.
        name_claim: Where the guest's name stands.
        email_claim: Where the guest's e-mail address stands.
        jwks_url: Where the keys are published; None: derived from the issuer.
        jwks_file: A file of keys, in place of a URL.
        jwks: The keys themselves as JSON, in place of a URL.
        max_age: Seconds until fetched keys are fetched again; that is tried early, at 80 % of it.
        max_stale: Seconds that known keys serve while no fetch succeeds.
        cooldown: Seconds between fetches for an unknown "kid", from the last attempt.
        timeout: Seconds for one fetch as a whole.
        cache_size: How many verified tokens are remembered, per worker.
    """

    issuer: str | None = None
    audience: tuple[str, ...] = ()
    algorithms: tuple[str, ...] = ("RS256",)
    types: tuple[str, ...] = tuple(sorted(GUEST_TYPES))
    name_claim: str = "name"
    email_claim: str = "email"
    jwks_url: str | None = None
    jwks_file: Path | None = None
    jwks: str | None = None
    max_age: float = _FRESHNESS.max_age
    max_stale: float = _FRESHNESS.max_stale
    cooldown: float = _FRESHNESS.cooldown
    timeout: float = 5.0
    cache_size: int = 20_000

    def __post_init__(self) -> None:
        if self.jwks_url is not None:
            require_url("verify.jwks_url", self.jwks_url, encrypted=True)
        given = [name for name in ("jwks_url", "jwks_file", "jwks") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ConfigError(f"verify.{given[-1]}", f"must stand alone: {given[0]} is set too")
        # `none` needs no key, and HMAC with a published key lets everyone sign (RFC 8725 §3.1, §3.2).
        if unknown := [name for name in self.algorithms if name not in ALGORITHMS]:
            known = ", ".join(sorted(ALGORITHMS))
            raise ConfigError("verify.algorithms", f"must not hold {unknown[0]!r}; allowed are {known}")
        for name in ("algorithms", "types"):
            if not getattr(self, name):
                raise ConfigError(f"verify.{name}", "must name at least one")
        self.claim_rules("any")
        _ = self.freshness
        require_above_zero("verify", self, "timeout", "cache_size")

    def claim_rules(self, issuer: str, policy: Policy | None = None) -> ClaimRules:
        """What a claims set must say.

        Args:
            issuer: The "iss" to expect where none is set.
            policy: Gives leeway and longest lifetime; None: its defaults.

        Raises:
            ConfigError: A setting breaks its rule.
        """
        policy = policy or Policy()
        return ClaimRules(
            issuer=issuer if self.issuer is None else self.issuer,
            audience=frozenset(self.audience) or None,
            leeway=policy.leeway,
            max_lifetime=policy.max_lifetime,
            name_claim=self.name_claim,
            email_claim=self.email_claim,
        )

    @property
    def freshness(self) -> Freshness:
        """How long fetched keys are relied on."""
        return Freshness(
            max_age=self.max_age,
            min_age=min(_FRESHNESS.min_age, self.max_age),
            max_stale=self.max_stale,
            cooldown=self.cooldown,
        )
