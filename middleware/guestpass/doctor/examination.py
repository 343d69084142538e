"""The order of the checks, each resting on what those before it have found."""

from collections.abc import AsyncIterator, Callable
from typing import Final

from guestpass.config import Settings
from guestpass.core.model import Identity
from guestpass.core.session import Grant
from guestpass.doctor import logins, network, surroundings, tokens, vendor
from guestpass.doctor.findings import Finding
from guestpass.doctor.patient import Patient
from guestpass.ports import Clock
from guestpass.wiring.parts import build_parts, vendor_routes
from guestpass.wiring.state import build_state

Check = Callable[[Patient], AsyncIterator[Finding]]

MINTING: Final[tuple[Check, ...]] = (
    network.hosts,
    vendor.credentials,
    vendor.permission,
    tokens.keys,
    tokens.token,
    tokens.clock,
    tokens.rotation,
    surroundings.store,
    surroundings.response,
)
"""For issuers that mint for whoever is named, and publish keys."""

LOGGING_IN: Final[tuple[Check, ...]] = (
    network.hosts,
    logins.deployment,
    surroundings.store,
    logins.login,
    tokens.clock,
    tokens.rotation,
    logins.refresh,
    surroundings.response,
    logins.logout,
)
"""For issuers that take codes of guests, and whose tokens our own record verifies."""


async def examine(
    settings: Settings,
    clock: Clock,
    *,
    identity: Identity,
    path: str,
    grant: Grant | None = None,
    begun: Callable[[str], None] = lambda _: None,
) -> AsyncIterator[Finding]:
    """Every finding, as it is made.

    Args:
        settings: What `serve` would run with.
        clock: Ours.
        identity: Whom one token is minted for.
        path: What is asked for through the proxy.
        grant: A guest's code, where guests log in; it is spent.
        begun: Told the name of each check as it begins, as some of them wait for seconds.

    Raises:
        ConfigError: A setting is missing, or two do not go together.
    """
    state = build_state(settings.store, clock)
    parts = build_parts(settings, clock, state)
    patient = Patient(
        settings=settings, parts=parts, state=state, clock=clock, identity=identity, path=path, grant=grant
    )
    if settings.issuer.kind != "local":
        patient.hosts, patient.routes = vendor_routes(settings.issuer)
    try:
        for check in MINTING if parts.logins is None else LOGGING_IN:
            begun(check.__name__)
            async for finding in check(patient):
                yield finding
    finally:
        await patient.http.aclose()
        await patient.parts.issuer.aclose()
        await state.store.aclose()
