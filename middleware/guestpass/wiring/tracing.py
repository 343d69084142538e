"""Settings -> spans around the parts, where tracing is switched on; a part of the composition root."""

from typing import TypeVar

from starlette.types import ASGIApp

from guestpass.adapters.issuers.http_client import HttpClient
from guestpass.config import ServerSettings, TracingSettings
from guestpass.errors import ConfigError
from guestpass.gate import Gate
from guestpass.ports import TokenIssuer, TokenStore, Verifier

G = TypeVar("G", bound=Gate)


class Untraced:
    """Hands every part back as it is, so that without tracing not even a question is asked of it."""

    def http(self) -> HttpClient:
        """How issuers are reached."""
        return HttpClient()

    def verifier(self, verifier: Verifier) -> Verifier:
        """What a gate verifies with."""
        return verifier

    def issuer(self, issuer: TokenIssuer) -> TokenIssuer:
        """What a gate mints with."""
        return issuer

    def store(self, store: TokenStore) -> TokenStore:
        """What a gate remembers with."""
        return store

    def gate(self, kind: type[G]) -> type[G]:
        """The class of the gate."""
        return kind

    def upstream(self, proxy: ASGIApp) -> ASGIApp:
        """What carries requests to backends."""
        return proxy

    def server(self, app: ASGIApp, gate: Gate, server: ServerSettings) -> ASGIApp:
        """What answers at the public port."""
        del gate, server
        return app


class Traced(Untraced):
    """Puts spans around every part. Which of them are kept, and where they go, is the SDK's business."""

    def __init__(self) -> None:
        # Imported here, as the library is an extra.
        from guestpass.adapters import traced  # noqa: PLC0415
        from guestpass.adapters.issuers.traced_http import TracedHttpClient  # noqa: PLC0415
        from guestpass.asgi.traced import ServerSpans, UpstreamSpans  # noqa: PLC0415
        from guestpass.traced_gate import traced_gate  # noqa: PLC0415

        self._ports = traced
        self._http = TracedHttpClient
        self._server = ServerSpans
        self._upstream = UpstreamSpans
        self._gate = traced_gate

    def http(self) -> HttpClient:
        """As `Untraced.http`."""
        return self._http()

    def verifier(self, verifier: Verifier) -> Verifier:
        """As `Untraced.verifier`."""
        return self._ports.TracedVerifier(verifier)

    def issuer(self, issuer: TokenIssuer) -> TokenIssuer:
        """As `Untraced.issuer`."""
        return self._ports.TracedIssuer(issuer)

    def store(self, store: TokenStore) -> TokenStore:
        """As `Untraced.store`."""
        return self._ports.TracedStore(store)

    def gate(self, kind: type[G]) -> type[G]:
        """As `Untraced.gate`."""
        return self._gate(kind)

    def upstream(self, proxy: ASGIApp) -> ASGIApp:
        """As `Untraced.upstream`."""
        return self._upstream(proxy)

    def server(self, app: ASGIApp, gate: Gate, server: ServerSettings) -> ASGIApp:
        """As `Untraced.server`; probes ask all day long, and are left out."""
        token, probed = gate.surface.fields.token, (server.livez, server.readyz)
        return self._server(app, trust=gate.trust, token=token, unless=probed)


def build_tracing(settings: TracingSettings) -> Untraced:
    """What `tracing.enabled` says.

    Raises:
        ConfigError: It is switched on, and OpenTelemetry's API is not installed.
    """
    if not settings.enabled:
        return Untraced()
    try:
        return Traced()
    except ModuleNotFoundError as exc:
        raise ConfigError("tracing.enabled", 'needs an extra: pip install "guestpass[tracing]"') from exc
