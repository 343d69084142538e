"""Settings -> what guests log in with, for issuers that work by authorization codes."""

from guestpass.adapters.issuers.hosts import Hosts
from guestpass.adapters.issuers.webdeployments import WebDeploymentsIssuer, WebDeploymentsSettings
from guestpass.adapters.memory_sessions import MemorySessions
from guestpass.config import Settings
from guestpass.errors import ConfigError
from guestpass.ports import Clock, Logins
from guestpass.tracing_wiring import build_tracing


def build_logins(settings: Settings, hosts: Hosts, clock: Clock) -> Logins:
    """The issuer, and the record that its tokens are verified by.

    Raises:
        ConfigError: More than one process would serve: the record is one process' own, so the others would
            refuse every token that this one gave out.
    """
    issuer, policy = settings.issuer, settings.policy
    if settings.store.shared:
        raise ConfigError("store.url", "must be memory:// with issuer.kind 'webdeployments'")
    if settings.server.workers > 1:
        raise ConfigError("server.workers", "must be 1 with issuer.kind 'webdeployments'")
    sessions = MemorySessions(clock)
    codes = WebDeploymentsIssuer(
        hosts=hosts,
        settings=WebDeploymentsSettings(
            deployment_id=issuer.deployment_id or "",
            redirect_uri=issuer.redirect_uri,
            kept=max(policy.grace, policy.leeway),
        ),
        sessions=sessions,
        clock=clock,
        http=build_tracing(settings.tracing).http(),
    )
    return Logins(codes, sessions)
