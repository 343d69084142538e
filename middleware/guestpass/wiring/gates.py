"""Settings -> gate."""

import os
from typing import Final, TypeVar

from guestpass.adapters.system_clock import SystemClock
from guestpass.config import PoolSettings, Settings, load
from guestpass.core.bearer import Sources
from guestpass.core.cors import Cors
from guestpass.core.forwarded import Trust, parse_networks
from guestpass.core.identity import IdentityMap
from guestpass.core.inject import CookieDelivery, Fields
from guestpass.core.model import Identity
from guestpass.core.surface import Surface
from guestpass.gate import Gate
from guestpass.pool import Reserve
from guestpass.ports import Clock, Verifier
from guestpass.recorded import RecordedVerifier
from guestpass.verifier import JwksVerifier
from guestpass.wiring.assertions import refuse_assertions
from guestpass.wiring.parts import Parts, build_parts
from guestpass.wiring.state import State, build_state
from guestpass.wiring.tracing import build_tracing

PUBLISHED_KEYS: Final = "/.well-known/guestpass/jwks.json"
"""Where the keys that we sign with are published."""

_SAME_SITE: Final = {"lax": "Lax", "strict": "Strict", "none": "None"}

G = TypeVar("G", bound=Gate)


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
        open_paths=[path for path in own_paths(settings) if path is not None],
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


def gate_from_env(kind: type[G]) -> G:
    """What `Gate.from_env` calls."""
    settings, clock = load(None, os.environ), SystemClock()
    refuse_assertions(settings)
    state = build_state(settings.store, clock)
    return build_gate(settings, kind, build_parts(settings, clock, state), state, clock)


def _reserve(pool: PoolSettings, state: State) -> Reserve | None:
    if not pool.size:
        return None
    identity = Identity(name=pool.name, email=pool.email)
    return Reserve(
        tokens=state.pool(identity), identity=identity, size=pool.size, min_remaining=pool.min_remaining
    )


def own_paths(settings: Settings) -> tuple[str | None, ...]:
    """The paths that are served beside the app, and never guarded; None where one is switched off."""
    server = settings.server
    kind = settings.issuer.kind
    published = PUBLISHED_KEYS if kind == "local" or settings.assertion.audience is not None else None
    first = server.session_endpoint if kind == "webdeployments" else server.token_endpoint
    return first, server.client_script, server.livez, server.readyz, published
