"""A guarded app on a real port, with the fake vendor as its issuer: for tests of the whole over HTTP."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from time import monotonic

from anyio.lowlevel import checkpoint
from kit import ADA, ALGORITHMS, ISSUER, HeldClock
from recorder import Answer, ask, get, serving
from shells import App
from starlette.types import ASGIApp, Receive, Scope, Send

from guestpass.adapters.issuers.guesttoken import GuestTokenIssuer
from guestpass.adapters.issuers.hosts import gateway_hosts
from guestpass.adapters.issuers.oauth import ClientCredentials
from guestpass.adapters.memory_store import MemoryStore
from guestpass.adapters.remote_jwks import RemoteJwks
from guestpass.asgi.middleware import GuestTokenMiddleware
from guestpass.core.claims import ClaimRules
from guestpass.core.model import Identity, MonotonicTime, Policy, RawToken, UnixTime
from guestpass.gate import Gate
from guestpass.testing import FakeVendor
from guestpass.verifier import JwksVerifier

MINT = "/api/v2/webchat/v1/guesttokens"


class MovingClock(HeldClock):
    """Runs as time does, and ahead of it when told: `advance` saves the waiting."""

    def __init__(self) -> None:
        super().__init__()
        self._began = monotonic()

    def time(self) -> UnixTime:
        return UnixTime(self.wall + monotonic() - self._began)

    def monotonic(self) -> MonotonicTime:
        return MonotonicTime(self.steady + monotonic() - self._began)


class Living(App):
    """An app with a lifespan, so that the gate's background runs."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await super().__call__(scope, receive, send)
            return
        for phase in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{phase}.complete"})


@dataclass
class Stage:
    """What a test reaches for: the vendor behind, the gate in the middle, the app's port in front."""

    vendor: FakeVendor
    clock: HeldClock
    gate: Gate
    port: int

    @property
    def mints(self) -> list[str]:
        """What became of every mint that the vendor was asked for."""
        return self.vendor.journal.outcomes(MINT)

    async def token(self, identity: Identity = ADA) -> RawToken:
        """A token as the vendor mints it; its call is struck from the journal."""
        raw = await self.gate.issuer.mint(identity)
        self.vendor.journal.clear()
        return raw

    async def ask(self, raw: RawToken) -> Answer:
        """A request on a connection of its own."""
        return await ask(self.port, request(raw))


def request(raw: RawToken) -> bytes:
    return get(b"/chat", b"X-Guest-Token: " + raw.compact)


def gate_over(gateway: str, clock: HeldClock, policy: Policy | None = None) -> Gate:
    """A gate whose issuer and keys are at `gateway`; retries do not wait."""
    keys = RemoteJwks(f"{gateway}/api/v2/oauth/jwks", algorithms=ALGORITHMS, clock=clock)
    issuer = GuestTokenIssuer(
        hosts=gateway_hosts(gateway),
        credentials=ClientCredentials(client_id="fake-client", client_secret="fake-secret"),
        clock=clock,
        sleep=lambda _: checkpoint(),
        draw=lambda: 0.0,
    )
    return Gate(
        verifier=JwksVerifier(keys, ClaimRules(issuer=ISSUER), algorithms=ALGORITHMS, clock=clock),
        issuer=issuer,
        store=MemoryStore(clock),
        clock=clock,
        policy=policy or Policy(spread=0),
    )


@asynccontextmanager
async def staged(
    vendor: FakeVendor,
    clock: HeldClock,
    parser: str,
    *,
    policy: Policy | None = None,
    app: ASGIApp | None = None,
) -> AsyncIterator[Stage]:
    """Serve `app`, guarded, by one of uvicorn's parsers in this event loop; the vendor is served already."""
    gate = gate_over(vendor.url, clock, policy)
    async with serving(GuestTokenMiddleware(app or Living(), gate=gate), parser) as port:
        yield Stage(vendor, clock, gate, port)
