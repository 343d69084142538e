"""The order of the checks, each resting on what those before it have found."""

from collections.abc import AsyncIterator, Callable
from typing import Final

from guestpass.config import Settings
from guestpass.core.model import Identity
from guestpass.doctor import network, surroundings, tokens, vendor
from guestpass.doctor.findings import Finding
from guestpass.doctor.patient import Patient
from guestpass.ports import Clock
from guestpass.state import build_state
from guestpass.wiring import build_parts, vendor_routes

Check = Callable[[Patient], AsyncIterator[Finding]]

CHECKS: Final[tuple[Check, ...]] = (
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


async def examine(
    settings: Settings, clock: Clock, *, identity: Identity, path: str
) -> AsyncIterator[Finding]:
    """Every finding, as it is made.

    Args:
        settings: What `serve` would run with.
        clock: Ours.
        identity: Whom one token is minted for.
        path: What is asked for through the proxy.

    Raises:
        ConfigError: A setting is missing, or two do not go together.
    """
    state = build_state(settings.store, clock)
    parts = build_parts(settings, clock, state)
    patient = Patient(settings=settings, parts=parts, clock=clock, identity=identity, path=path)
    if settings.issuer.kind == "guesttoken":
        patient.hosts, patient.routes = vendor_routes(settings.issuer)
    try:
        for check in CHECKS:
            async for finding in check(patient):
                yield finding
    finally:
        await patient.http.aclose()
        await patient.parts.issuer.aclose()
