"""The composition root: settings -> gate -> ASGI app. Every adapter is chosen here and nowhere else."""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

from starlette.types import ASGIApp

from guestpass.adapters.issuers.guesttoken import GuestTokenIssuer, GuestTokenSettings
from guestpass.adapters.issuers.hosts import Hosts, gateway_hosts, hosts_of
from guestpass.adapters.issuers.local import LocalIssuer, LocalSettings
from guestpass.adapters.issuers.local_keys import jwks_of
from guestpass.adapters.issuers.oauth import ClientCredentials
from guestpass.adapters.issuers.signing_key import SigningKey
from guestpass.adapters.remote_jwks import RemoteJwks
from guestpass.adapters.static_jwks import StaticJwks
from guestpass.adapters.system_clock import SystemClock
from guestpass.asgi.asserting import Asserting
from guestpass.asgi.by_port import ByPort
from guestpass.asgi.client_script import ClientScript
from guestpass.asgi.cors import AnsweringCors
from guestpass.asgi.date import Dated
from guestpass.asgi.forward_auth import LOOPBACK, ForwardAuth
from guestpass.asgi.health import Livez, Readyz
from guestpass.asgi.middleware import GuestTokenMiddleware
from guestpass.asgi.published_keys import PublishedKeys
from guestpass.asgi.session_endpoint import SessionEndpoint
from guestpass.asgi.site import Site
from guestpass.asgi.token_endpoint import TokenEndpoint
from guestpass.assertion_wiring import Asserters, build_assertions, refuse_assertions
from guestpass.config import IssuerSettings, PoolSettings, Settings, VerifySettings, load
from guestpass.core.bearer import Sources
from guestpass.core.cors import Cors
from guestpass.core.forwarded import Trust, parse_networks
from guestpass.core.identity import IdentityMap
from guestpass.core.inject import CookieDelivery, Fields
from guestpass.core.model import Identity
from guestpass.core.surface import Surface
from guestpass.errors import ConfigError
from guestpass.gate import Gate
from guestpass.pool import Reserve
from guestpass.ports import Clock, KeySource, Logins, TokenIssuer, Verifier
from guestpass.recorded import RecordedVerifier
from guestpass.session_wiring import build_logins
from guestpass.state import State, build_state
from guestpass.tracing_wiring import build_tracing
from guestpass.verifier import JwksVerifier

if TYPE_CHECKING:
    from guestpass.asgi.routes import RoutedProxy

PUBLISHED_KEYS: Final = "/.well-known/guestpass/jwks.json"
"""Where the keys that we sign with are published."""

_SAME_SITE: Final = {"lax": "Lax", "strict": "Strict", "none": "None"}

G = TypeVar("G", bound=Gate)


@dataclass(frozen=True, slots=True)
class Parts:
    """What is built from the settings of the issuer: who mints, and whose keys verify."""

    issuer: TokenIssuer
    source: KeySource | None
    published: LocalIssuer | None = None
    logins: Logins | None = None

    @property
    def keys(self) -> KeySource:
        """The keys that verify.

        Raises:
            ConfigError: This issuer publishes none.
        """
        if self.source is None:
            raise ConfigError("issuer.kind", "must be one that publishes keys: 'guesttoken' or 'local'")
        return self.source


def build_gate(settings: Settings, kind: type[G], parts: Parts, state: State, clock: Clock) -> G:
    """Wire a gate of class `kind`.

    Raises:
        ConfigError: A setting is missing, or two do not go together.
    """
    verify, policy, limits = settings.verify, settings.policy, settings.limits
    tracing = build_tracing(settings.tracing)
    return tracing.gate(kind)(
        verifier=tracing.verifier(_verifier(settings, parts, clock)),
        issuer=tracing.issuer(parts.issuer),
        store=tracing.store(state.store),
        clock=clock,
        policy=policy,
        rules=settings.rules,
        open_paths=[path for path in _own_paths(settings) if path is not None],
        surface=build_surface(settings),
        failed_verification=state.limiter("failed_verification", limits.failed_verification),
        budget=state.limiter("mint_budget", limits.mint_budget),
        cache_size=verify.cache_size,
        pause=state.pause,
        reserve=_reserve(settings.pool, state),
        revocations=state.revocations,
        jobs=state.jobs,
        trust=Trust(parse_networks(settings.server.trusted_proxies, field="server.trusted_proxies")),
        logins=parts.logins,
    )


def _verifier(settings: Settings, parts: Parts, clock: Clock) -> Verifier:
    verify = settings.verify
    if parts.logins is not None:
        return RecordedVerifier(
            parts.logins.sessions, name_claim=verify.name_claim, email_claim=verify.email_claim
        )
    return JwksVerifier(
        parts.keys,
        settings.claim_rules(),
        algorithms=frozenset(verify.algorithms),
        types=frozenset(name.lower() for name in verify.types),
        clock=clock,
    )


def build_parts(settings: Settings, clock: Clock, state: State) -> Parts:
    """Build the issuer and the source of its keys; `state` keeps what its guests were given."""
    issuer, verify = settings.issuer, settings.verify
    issuer.require_credentials()
    if issuer.kind == "local":
        local = LocalIssuer(
            LocalSettings(
                issuer=settings.claim_rules().issuer,
                audience=verify.audience[0] if verify.audience else None,
                lifetime=issuer.lifetime,
                algorithm=issuer.algorithm,
                key_period=issuer.key_period,
            ),
            clock=clock,
            keys=_signing_keys(issuer),
        )
        return Parts(local, _configured_keys(verify, clock) or local.key_source(), local)
    if issuer.kind == "webdeployments":
        logins = build_logins(settings, _hosts(issuer), clock, state.sessions)
        return Parts(logins.issuer, None, logins=logins)
    if issuer.client_id is None or issuer.client_secret is None:
        raise ConfigError("issuer.client_id", "must be set, and issuer.client_secret too")
    minting = GuestTokenIssuer(
        hosts=_hosts(issuer),
        credentials=ClientCredentials(
            client_id=issuer.client_id, client_secret=issuer.client_secret.reveal()
        ),
        clock=clock,
        settings=_routes(issuer),
        http=build_tracing(settings.tracing).http(),
    )
    return Parts(minting, build_keys(settings, clock), None)


def build_keys(settings: Settings, clock: Clock) -> KeySource:
    """The source of the keys that verify, where the issuer is not in this process."""
    verify = settings.verify
    configured = _configured_keys(verify, clock)
    if configured is not None:
        return configured
    return _remote_keys(_routes(settings.issuer).jwks_url(_hosts(settings.issuer)), verify, clock)


def vendor_routes(issuer: IssuerSettings) -> tuple[Hosts, GuestTokenSettings]:
    """Where the vendor is, and its routes there."""
    return _hosts(issuer), _routes(issuer)


def build_surface(settings: Settings) -> Surface:
    """Which fields are read and set."""
    headers = settings.headers
    cookie = headers.set_cookie
    return Surface(
        sources=Sources(
            header=headers.header,
            bearer=headers.bearer,
            cookie=headers.cookie,
            subprotocol=headers.subprotocol,
            query=headers.query,
        ),
        fields=Fields(headers.token),
        identity=IdentityMap(headers.identity),
        cors=(
            Cors(frozenset(headers.cors_origins), credentials=cookie is not None)
            if headers.cors_origins
            else None
        ),
        cookie=None if cookie is None else CookieDelivery(cookie, _SAME_SITE[headers.same_site]),  # type: ignore[arg-type]  # the mapping's values are the literals
        forward_token=headers.forward_token,
    )


def build_app(
    settings: Settings, state: State | None = None, *, reread: Callable[[], Settings] | None = None
) -> ASGIApp:
    """What `guestpass serve` runs: the guarded proxy, and our own paths beside it.

    `state` is what it remembers, if that is there already. `reread` reads the settings anew, for a reload on
    SIGHUP; without it the signal is left to whoever runs the app.
    """
    from guestpass.backends import Backends  # noqa: PLC0415  the proxy's engine is an extra

    clock, backends = SystemClock(), Backends(settings)
    proxy = backends.proxy
    state = state or build_state(settings.store, clock)
    parts = build_parts(settings, clock, state)
    gate = build_gate(settings, Gate, parts, state, clock)
    gate.add_jobs(proxy.watch)
    if reread is not None:
        from guestpass.reloading import Reloading  # noqa: PLC0415  not every system has the signal

        gate.add_jobs(Reloading(backends, settings, reread).run)
    asserters = build_assertions(settings, clock)
    backend = build_tracing(settings.tracing).upstream(proxy)
    if asserters is not None:
        gate.add_jobs(asserters.keys.run)
        backend = Asserting(backend, asserters.assertions)
    guarded: ASGIApp = GuestTokenMiddleware(backend, gate=gate)
    if settings.headers.cors_answer and gate.surface.cors is not None:
        guarded = AnsweringCors(guarded, gate.surface.cors)
    return _site(guarded, gate, settings, parts, state, proxy=proxy, asserters=asserters)


def build_forward_auth(settings: Settings) -> ASGIApp:
    """What `guestpass forward-auth` runs: decisions for proxies, and our own paths beside them.

    Every request comes through a proxy, so where none is named those on this host are trusted: with nobody
    trusted all clients would share one address, and its limits.
    """
    refuse_assertions(settings)
    server, clock = settings.server, SystemClock()
    if not server.trusted_proxies:
        settings = replace(settings, server=replace(server, trusted_proxies=LOOPBACK))
    state = build_state(settings.store, clock)
    parts = build_parts(settings, clock, state)
    gate = build_gate(settings, Gate, parts, state, clock)
    return _site(ForwardAuth(gate), gate, settings, parts, state)


def _site(
    app: ASGIApp,
    gate: Gate,
    settings: Settings,
    parts: Parts,
    state: State,
    *,
    proxy: "RoutedProxy | None" = None,
    asserters: Asserters | None = None,
) -> ASGIApp:
    """Our own paths beside `app`, and the admin port.

    `proxy` is what stands behind it, if it is ours, and `asserters` what signs for the backend.
    """
    server = settings.server
    callers = state.limiter("token_endpoint", settings.limits.token_endpoint)
    upstream = None if proxy is None else lambda: proxy.condition
    own: dict[str | None, ASGIApp] = {
        server.token_endpoint: TokenEndpoint(gate, limiter=callers),
        server.client_script: ClientScript(),
        server.livez: Livez(),
        server.readyz: Readyz(gate, upstream=upstream),
    }
    if parts.logins is None:
        own[server.token_endpoint] = TokenEndpoint(gate, limiter=callers)
    else:
        own[server.session_endpoint] = SessionEndpoint(gate, limiter=callers)
    rings = [ring.keys for ring in (parts.published, asserters) if ring is not None]
    if rings:
        own[PUBLISHED_KEYS] = PublishedKeys(partial(jwks_of, *rings))
    site = Site(app, {path: app for path, app in own.items() if path is not None})
    public = build_tracing(settings.tracing).server(site, gate, server)
    if server.admin_port is not None:
        from guestpass.admin import build_admin  # noqa: PLC0415  it knows the proxy, whose engine is an extra

        public = ByPort(public, {server.admin_port: build_admin(server, gate, parts.source, proxy)})
    return Dated(public, gate.clock)


def gate_from_env(kind: type[G]) -> G:
    """What `Gate.from_env` calls."""
    settings, clock = load(None, os.environ), SystemClock()
    refuse_assertions(settings)
    state = build_state(settings.store, clock)
    return build_gate(settings, kind, build_parts(settings, clock, state), state, clock)


def app_from_env() -> ASGIApp:
    """The app of `guestpass serve`, made anew in each worker from the environment."""
    return build_app(load(None, os.environ))


def reloading_app_from_env() -> ASGIApp:
    """The same app, which takes over changed routes and upstreams on SIGHUP."""
    read = partial(load, None, os.environ)
    return build_app(read(), reread=read)


def forward_auth_from_env() -> ASGIApp:
    """The app of `guestpass forward-auth`, likewise."""
    return build_forward_auth(load(None, os.environ))


def _reserve(pool: PoolSettings, state: State) -> Reserve | None:
    if not pool.size:
        return None
    identity = Identity(name=pool.name, email=pool.email)
    return Reserve(
        tokens=state.pool(identity), identity=identity, size=pool.size, min_remaining=pool.min_remaining
    )


def _own_paths(settings: Settings) -> tuple[str | None, ...]:
    server = settings.server
    kind = settings.issuer.kind
    published = PUBLISHED_KEYS if kind == "local" or settings.assertion.audience is not None else None
    first = server.session_endpoint if kind == "webdeployments" else server.token_endpoint
    return first, server.client_script, server.livez, server.readyz, published


def _hosts(issuer: IssuerSettings) -> Hosts:
    if issuer.gateway is None:
        return hosts_of(issuer.environment)
    return gateway_hosts(
        issuer.gateway, login_prefix=issuer.gateway_login_prefix, api_prefix=issuer.gateway_api_prefix
    )


def _routes(issuer: IssuerSettings) -> GuestTokenSettings:
    return GuestTokenSettings(
        token_path=issuer.token_path,
        mint_path=issuer.mint_path,
        jwks_path=issuer.jwks_path,
        token_member=issuer.token_member,
        expires_member=issuer.expires_member,
        name_member=issuer.name_member,
        email_member=issuer.email_member,
    )


def _configured_keys(verify: VerifySettings, clock: Clock) -> KeySource | None:
    algorithms = frozenset(verify.algorithms)
    if verify.jwks is not None:
        return StaticJwks(verify.jwks.encode(), algorithms=algorithms)
    if verify.jwks_file is not None:
        try:
            document = verify.jwks_file.read_bytes()
        except OSError as exc:
            raise ConfigError("verify.jwks_file", f"cannot be read ({exc.strerror})") from exc
        return StaticJwks(document, algorithms=algorithms)
    return None if verify.jwks_url is None else _remote_keys(verify.jwks_url, verify, clock)


def _remote_keys(url: str, verify: VerifySettings, clock: Clock) -> RemoteJwks:
    algorithms = frozenset(verify.algorithms)
    return RemoteJwks(
        url, algorithms=algorithms, clock=clock, freshness=verify.freshness, timeout=verify.timeout
    )


def _signing_keys(issuer: IssuerSettings) -> list[SigningKey]:
    if issuer.key_file is None:
        return []
    try:
        document = issuer.key_file.read_bytes()
    except OSError as exc:
        raise ConfigError("issuer.key_file", f"cannot be read ({exc.strerror})") from exc
    return [SigningKey.read(document)]
