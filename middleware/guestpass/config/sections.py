"""The sections of the configuration, each with its defaults and rules.

The `Attributes:` of these docstrings are also the documentation: `guestpass.config.describe` reads them.
A setting that may be None is turned off with the word `off` in a file or the environment.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_network
from typing import Final, Literal

from guestpass.config.assertion_section import AssertionSettings
from guestpass.config.issuer_sections import IssuerSettings, VerifySettings
from guestpass.config.upstream_sections import RouteSettings, UpstreamSettings
from guestpass.config.values import (
    Rate,
    Secret,
    require_above_zero,
    require_origin,
)
from guestpass.core.bearer import Sources
from guestpass.core.claims import ClaimRules
from guestpass.core.identity import IdentityMap
from guestpass.core.inject import Fields
from guestpass.core.matching import Rule
from guestpass.core.model import Policy
from guestpass.errors import ConfigError

_MAX_PORT: Final = 65_535
_STORE_SCHEMES: Final = (
    "memory", "redis", "rediss", "unix",
    "redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster",
)  # fmt: skip
_MIN_SECRET: Final = 32  # bytes
_NAME: Final = re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*")
_ISSUER_NAMES: Final = {
    "guesttoken": "genesys-cloud-webchat",
    "webdeployments": "genesys-cloud-webchat",
    "local": "guestpass",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """Where `guestpass serve` listens, and what it answers itself.

    Attributes:
        host: The address to listen on.
        port: The port to listen on; 0 takes a free one.
        workers: How many processes serve; more than one asks for a shared store.
        admin_host: The address of the admin port.
        admin_port: Metrics, status page and health on a port of their own.
        admin_names: Host names by which the admin port may be asked for, such as the one that Prometheus
            scrapes. Addresses and `localhost` are known; any other name may be a web page's that was made to
            point here, so it gets 421.
        token_endpoint: The path at which a browser gets its token.
        session_endpoint: Where a guest logs in and out, in place of the one above (`webdeployments`).
        client_script: The path of the browser's script.
        livez: The path that says the process is alive.
        readyz: The path that says whether it can serve.
        trusted_proxies: Addresses and networks whose X-Forwarded-For and Forwarded are believed.
        drain_delay: Seconds after SIGTERM during which all is served on while `readyz` answers 503. Behind a
            load balancer 5 or more: longer than it takes to turn away.
        drain_timeout: Seconds that requests then get to finish.
        log_format: One JSON object a line, or text for a person; auto: text on a terminal, else JSON.
        log_level: The least level that is logged.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    workers: int = 1
    admin_host: str = "127.0.0.1"
    admin_port: int | None = None
    admin_names: tuple[str, ...] = ()
    token_endpoint: str | None = "/guestpass/token"  # noqa: S105  a path
    session_endpoint: str | None = "/api/webchat/session"
    client_script: str | None = "/guestpass/client.js"
    livez: str | None = "/livez"
    readyz: str | None = "/readyz"
    trusted_proxies: tuple[str, ...] = ()
    drain_delay: float = 0.0
    drain_timeout: float = 30.0
    log_format: Literal["auto", "json", "text"] = "auto"
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    def __post_init__(self) -> None:
        for name in ("port", "admin_port"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= _MAX_PORT:
                raise ConfigError(f"server.{name}", f"must be 0 to {_MAX_PORT}")
        require_above_zero("server", self, "workers", "drain_timeout")
        if not 0 <= self.drain_delay < math.inf:
            raise ConfigError("server.drain_delay", "must be a finite number, 0 or above")
        names = ("token_endpoint", "session_endpoint", "client_script", "livez", "readyz")
        paths = [getattr(self, name) for name in names]
        for name in names:
            value = getattr(self, name)
            if value is not None and (not value.startswith("/") or value.startswith("//") or "?" in value):
                raise ConfigError(f"server.{name}", "must be a path that starts with one /, or off")
            if value is not None and paths.count(value) > 1:
                raise ConfigError(f"server.{name}", "must differ from the other paths of this section")
        if not all(map(_NAME.fullmatch, self.admin_names)):
            raise ConfigError("server.admin_names", "must be host names, without scheme or port")
        for proxy in self.trusted_proxies:
            try:
                ip_network(proxy)
            except ValueError:
                raise ConfigError(
                    "server.trusted_proxies", "must be addresses or networks, such as 10.0.0.0/8"
                ) from None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreSettings:
    """What is remembered between requests, workers and hosts.

    Attributes:
        url: `memory://` for one process; for several, Redis or Valkey: `redis://host:6379/0`, `rediss://` for
            TLS, `unix:///path`, `redis+sentinel://host:26379,host:26379/service/0` or
            `redis+cluster://host:6379,host:6379`. May hold a password, so it is never shown.
        secret: Seals what leaves the process; the same on every host. Needed with Redis.
        second_secret: Opens too what it sealed. To change the secret without a gap: first add the new one
            here on every host, then swap the two on every host, then take the old one away.
        prefix: What every key in Redis starts with.
    """

    url: Secret = field(default_factory=lambda: Secret("memory://"))
    secret: Secret | None = None
    second_secret: Secret | None = None
    prefix: str = "guestpass:"

    def __post_init__(self) -> None:
        if self.scheme not in _STORE_SCHEMES:
            raise ConfigError("store.url", f"must start with one of {', '.join(_STORE_SCHEMES)}, then ://")
        for name, secret in (("secret", self.secret), ("second_secret", self.second_secret)):
            if secret is not None and len(secret.reveal().encode()) < _MIN_SECRET:
                raise ConfigError(f"store.{name}", f"must have at least {_MIN_SECRET} bytes")
        if self.shared and self.secret is None:
            raise ConfigError("store.secret", "must be set with Redis: successors are sealed with it")

    @property
    def secrets(self) -> list[str]:
        """The secrets that are set, the one that seals first."""
        return [secret.reveal() for secret in (self.secret, self.second_secret) if secret is not None]

    @property
    def scheme(self) -> str:
        """The kind of store: the part of the URL that is no secret."""
        return self.url.reveal().partition("://")[0]

    @property
    def shared(self) -> bool:
        """Whether several processes can share it."""
        return self.scheme != "memory"


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSettings:
    """Tokens that are kept ready for visitors whom the site does not know.

    Attributes:
        size: How many, all workers together; 0: none. They are minted within half of `limits.mint_budget`,
            and minted anew when they have grown too old.
        name: The name that the site sends for a visitor it does not know. Only a call of the token endpoint
            with exactly this name and e-mail address is answered from the pool.
        email: The e-mail address that goes with it.
        min_remaining: How long a token must still live to be handed out; well below what the issuer gives.
    """

    size: int = 0
    name: str = ""
    email: str = ""
    min_remaining: float = 900.0

    def __post_init__(self) -> None:
        if self.size < 0:
            raise ConfigError("pool.size", "must be 0 or more")
        if self.size and not self.name.strip():
            raise ConfigError(
                "pool.name", "must be set where pool.size is: a pooled token is for one identity"
            )
        require_above_zero("pool", self, "min_remaining")


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitSettings:
    """How often is too often; each may be off.

    Attributes:
        failed_verification: Bad tokens from one client address (/64 for IPv6).
        token_endpoint: Calls of the token endpoint, or of the session endpoint, from one client address.
        mint_budget: Calls of the issuer by all workers together.
    """

    failed_verification: Rate | None = field(default_factory=lambda: Rate(100, 60.0))
    token_endpoint: Rate | None = field(default_factory=lambda: Rate(30, 60.0))
    mint_budget: Rate | None = field(default_factory=lambda: Rate(300, 60.0))


@dataclass(frozen=True, slots=True, kw_only=True)
class HeaderSettings(Sources):
    """Where tokens are looked for, and which fields carry them and the guest's identity.

    Attributes:
        token: The response field that carries a successor; its two companions derive their names from it.
        forward_token: Leave the token in the request, for an app that reads it itself.
        identity: Which claim goes into which field for the backend, as `claim=Field` pairs.
        cors_origins: Origins whose pages may call the token endpoint; `*` for any.
        cors_answer: Answer preflights, and let those pages read every answer, in place of a backend that
            knows nothing of CORS.
        set_cookie: Deliver tokens as a cookie of this name too (HttpOnly, Secure).
        same_site: SameSite of that cookie.
    """

    token: str = field(default_factory=lambda: Fields().token)
    forward_token: bool = False
    identity: Mapping[str, str] = field(default_factory=lambda: dict(IdentityMap().headers))
    cors_origins: tuple[str, ...] = ()
    cors_answer: bool = False
    set_cookie: str | None = None
    same_site: Literal["lax", "strict", "none"] = "lax"

    def __post_init__(self) -> None:
        Sources.__post_init__(self)  # not super(): slots=True makes a second class, which it would miss
        if not any((self.header, self.bearer, self.cookie, self.subprotocol, self.query)):
            raise ConfigError("headers.header", "must not be off while every other source is")
        Fields(self.token)
        IdentityMap(self.identity)
        for origin in self.cors_origins:
            if origin != "*":
                require_origin("headers.cors_origins", origin)
        if self.cors_answer and not self.cors_origins:
            raise ConfigError("headers.cors_answer", "needs headers.cors_origins: whose pages to answer")
        if "*" in self.cors_origins and self.set_cookie is not None:
            raise ConfigError("headers.cors_origins", "must not be * where tokens travel as a cookie")


@dataclass(frozen=True, slots=True, kw_only=True)
class TracingSettings:
    """Spans for OpenTelemetry; where they go is said by its own variables, `OTEL_*`.

    Attributes:
        enabled: Make spans, and pass the context of the trace to the issuer and to the backend.
    """

    enabled: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that can be set, a section each."""

    server: ServerSettings = field(default_factory=ServerSettings)
    upstream: UpstreamSettings = field(default_factory=UpstreamSettings)
    issuer: IssuerSettings = field(default_factory=IssuerSettings)
    verify: VerifySettings = field(default_factory=VerifySettings)
    policy: Policy = field(default_factory=Policy)
    store: StoreSettings = field(default_factory=StoreSettings)
    pool: PoolSettings = field(default_factory=PoolSettings)
    limits: LimitSettings = field(default_factory=LimitSettings)
    headers: HeaderSettings = field(default_factory=HeaderSettings)
    assertion: AssertionSettings = field(default_factory=AssertionSettings)
    tracing: TracingSettings = field(default_factory=TracingSettings)
    rules: tuple[Rule, ...] = ()
    routes: tuple[RouteSettings, ...] = ()

    def claim_rules(self) -> ClaimRules:
        """What a claims set must say, by `verify`, `policy` and the kind of issuer."""
        return self.verify.claim_rules(_ISSUER_NAMES[self.issuer.kind], self.policy)
