"""The sections of the issuer: who mints tokens, and what makes one genuine."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from guestpass.config.values import Secret, require_above_zero, require_url
from guestpass.core.jwk import ALGORITHMS
from guestpass.errors import ConfigError


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
        oauth_url: The OAuth token URL, in place of the derived one.
        mint_url: The URL that mints guest tokens, in place of the derived one.
        token_field: Where the token stands in the mint's answer, with dots between members.
        timeout: Seconds for one call, within `policy.mint_deadline` for them all.
        attempts: The most calls for one mint.
        deployment_id: The messaging deployment (`webdeployments`).
        redirect_uri: The redirect URI of its code exchange (`webdeployments`).
        key_file: The signing key, PEM or JWK (`local`); without one a key is made at each start.
        algorithm: What `local` signs with.
        lifetime: Seconds that a token of `local` lives.
    """

    kind: Literal["guesttoken", "local", "webdeployments"] = "guesttoken"
    environment: str = "mypurecloud.com"
    client_id: str | None = None
    client_secret: Secret | None = None
    gateway: str | None = None
    gateway_login_prefix: str = ""
    gateway_api_prefix: str = ""
    oauth_url: str | None = None
    mint_url: str | None = None
    token_field: str = "token"  # noqa: S105  the name of a member
    timeout: float = 5.0
    attempts: int = 3
    deployment_id: str | None = None
    redirect_uri: str | None = None
    key_file: Path | None = None
    algorithm: Literal["RS256", "ES256", "EdDSA"] = "RS256"
    lifetime: float = 1800.0

    def __post_init__(self) -> None:
        for name in ("gateway", "oauth_url", "mint_url"):
            url = getattr(self, name)
            if url is not None:
                require_url(f"issuer.{name}", url, encrypted=True)
        for name in ("gateway_login_prefix", "gateway_api_prefix"):
            prefix = getattr(self, name)
            if prefix and (not prefix.startswith("/") or prefix.endswith("/")):
                raise ConfigError(f"issuer.{name}", "must start with / and not end with one")
        require_above_zero("issuer", self, "timeout", "attempts", "lifetime")

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
        audience: The "aud" that must be there; None: not asked for.
        algorithms: The "alg" values accepted.
        types: The "typ" values accepted, in any case; a token without "typ" passes.
        jwks_url: Where the keys are published; None: derived from the issuer.
        jwks_file: A file of keys, in place of a URL.
        jwks: The keys themselves as JSON, in place of a URL.
        max_age: Seconds until fetched keys are fetched again; that is tried early, at 80 % of it.
        max_stale: Seconds that known keys serve when no fetch succeeds.
        cooldown: Seconds between fetches for an unknown "kid", from the last attempt.
        timeout: Seconds for one fetch as a whole.
        cache_size: How many verified tokens are remembered, per worker.
    """

    issuer: str | None = None
    audience: str | None = None
    algorithms: tuple[str, ...] = ("RS256",)
    types: tuple[str, ...] = ("JWT",)
    jwks_url: str | None = None
    jwks_file: Path | None = None
    jwks: str | None = None
    max_age: float = 600.0
    max_stale: float = 3600.0
    cooldown: float = 30.0
    timeout: float = 5.0
    cache_size: int = 20_000

    def __post_init__(self) -> None:
        if self.jwks_url is not None:
            require_url("verify.jwks_url", self.jwks_url, encrypted=True)
        given = [name for name in ("jwks_url", "jwks_file", "jwks") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ConfigError(f"verify.{given[-1]}", f"must stand alone: {given[0]} is set too")
        if not self.algorithms:
            raise ConfigError("verify.algorithms", "must name at least one algorithm")
        # `none` needs no key, and HMAC with a published key lets everyone sign (RFC 8725 §3.1, §3.2).
        if unknown := [name for name in self.algorithms if name not in ALGORITHMS]:
            known = ", ".join(sorted(ALGORITHMS))
            raise ConfigError("verify.algorithms", f"must not hold {unknown[0]!r}; allowed are {known}")
        for name in ("issuer", "audience"):
            if getattr(self, name) == "":
                raise ConfigError(f"verify.{name}", "must not be empty")
        require_above_zero("verify", self, "max_age", "max_stale", "cooldown", "timeout", "cache_size")
        if self.max_stale < self.max_age:
            raise ConfigError("verify.max_stale", "must not be shorter than verify.max_age")
