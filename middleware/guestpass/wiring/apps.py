"""Settings -> the apps of `guestpass serve` and `guestpass forward-auth`, our own paths beside them."""

import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from starlette.types import ASGIApp

from guestpass.adapters.issuers.local_keys import jwks_of
from guestpass.adapters.system_clock import SystemClock
from guestpass.asgi.asserting import Asserting
from guestpass.asgi.by_port import ByPort
from guestpass.asgi.client_script import ClientScript
from guestpass.asgi.closing import Closing
from guestpass.asgi.cors import AnsweringCors
from guestpass.asgi.date import Dated
from guestpass.asgi.forward_auth import LOOPBACK, ForwardAuth
from guestpass.asgi.health import Livez, Readyz
from guestpass.asgi.middleware import GuestTokenMiddleware
from guestpass.asgi.published_keys import PublishedKeys
from guestpass.asgi.session_endpoint import SessionEndpoint
from guestpass.asgi.site import Site
from guestpass.asgi.token_endpoint import TokenEndpoint
from guestpass.config import ServerSettings, Settings, load
from guestpass.gate import Gate
from guestpass.wiring.assertions import Asserters, build_assertions, refuse_assertions
from guestpass.wiring.gates import PUBLISHED_KEYS, build_gate
from guestpass.wiring.parts import Parts, build_parts
from guestpass.wiring.state import State, build_state
from guestpass.wiring.tracing import build_tracing

if TYPE_CHECKING:
    from guestpass.asgi.routes import RoutedProxy
    from guestpass.wiring.draining import Draining


def build_app(
    settings: Settings,
    state: State | None = None,
    *,
    reread: Callable[[], Settings] | None = None,
    draining: "Draining | None" = None,
) -> ASGIApp:
    """What `guestpass serve` runs: the guarded proxy, and our own paths beside it.

    `state` is what it remembers, if that is there already. `reread` reads the settings anew, for a reload on
    SIGHUP; without it the signal is left to whoever runs the app. So it is with `draining` and SIGTERM.
    """
    from guestpass.wiring.backends import Backends  # noqa: PLC0415  the proxy's engine is an extra

    clock, backends = SystemClock(), Backends(settings)
    proxy = backends.proxy
    state = state or build_state(settings.store, clock)
    parts = build_parts(settings, clock, state)
    gate = build_gate(settings, Gate, parts, state, clock)
    gate.add_jobs(proxy.watch)
    if reread is not None:
        from guestpass.wiring.reloading import Reloading  # noqa: PLC0415  not every system has the signal

        gate.add_jobs(Reloading(backends, settings, reread).run)
    asserters = build_assertions(settings, clock)
    backend = build_tracing(settings.tracing).upstream(proxy)
    if asserters is not None:
        gate.add_jobs(asserters.keys.run)
        backend = Asserting(backend, asserters.assertions)
    guarded: ASGIApp = GuestTokenMiddleware(backend, gate=gate)
    if settings.headers.cors_answer and gate.surface.cors is not None:
        guarded = AnsweringCors(guarded, gate.surface.cors)
    return _site(guarded, gate, settings, parts, state, proxy=proxy, asserters=asserters, draining=draining)


def build_forward_auth(settings: Settings, *, draining: "Draining | None" = None) -> ASGIApp:
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
    return _site(ForwardAuth(gate), gate, settings, parts, state, draining=draining)


def _site(
    app: ASGIApp,
    gate: Gate,
    settings: Settings,
    parts: Parts,
    state: State,
    *,
    proxy: "RoutedProxy | None" = None,
    asserters: Asserters | None = None,
    draining: "Draining | None" = None,
) -> ASGIApp:
    """Our own paths beside `app`, and the admin port.

    `proxy` is what stands behind it, if it is ours, and `asserters` what signs for the backend. `draining` is
    what goes before the stop, if anything does.
    """
    server = settings.server
    callers = state.limiter("token_endpoint", settings.limits.token_endpoint)
    upstream = None if proxy is None else lambda: proxy.condition
    ending = None
    if draining is not None:
        gate.add_jobs(draining.run)
        ending = draining.has_begun
    own: dict[str | None, ASGIApp] = {
        server.client_script: ClientScript(),
        server.livez: Livez(),
        server.readyz: Readyz(gate, upstream=upstream, draining=ending),
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
        from guestpass.wiring.admin import build_admin  # noqa: PLC0415  it knows the proxy, whose engine is an extra

        admin = build_admin(server, gate, parts.source, proxy, ending)
        public = ByPort(public, {server.admin_port: admin})
    if ending is not None:
        public = Closing(public, ending)
    return Dated(public, gate.clock)


def app_from_env() -> ASGIApp:
    """The app of `guestpass serve`, made anew in each worker from the environment."""
    return build_app(load(None, os.environ))


def reloading_app_from_env() -> ASGIApp:
    """The same app, which heeds signals: SIGHUP takes over changed routes and upstreams, SIGTERM drains."""
    read = partial(load, None, os.environ)
    settings = read()
    return build_app(settings, reread=read, draining=_draining(settings.server))


def forward_auth_from_env() -> ASGIApp:
    """The app of `guestpass forward-auth`, likewise; no change of a file applies to it."""
    settings = load(None, os.environ)
    return build_forward_auth(settings, draining=_draining(settings.server))


def _draining(server: ServerSettings) -> "Draining | None":
    if not server.drain_delay:
        return None
    from guestpass.wiring.draining import Draining  # noqa: PLC0415  not every system has its signals

    return Draining(server.drain_delay, supervised=server.workers > 1)
