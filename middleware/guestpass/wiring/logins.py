"""Settings -> what guests log in with, for issuers that work by authorization codes."""

from typing import Final

from guestpass.adapters.issuers.hosts import Hosts
from guestpass.adapters.issuers.webdeployments import WebDeploymentsIssuer, WebDeploymentsSettings
from guestpass.config import Settings
from guestpass.errors import ConfigError
from guestpass.ports import Clock, Logins, SessionStore
from guestpass.wiring.tracing import build_tracing

_LEASE_MARGIN: Final = 2.0
"""A session is held longer than the mint deadline by this many seconds, for the store's own round trips."""


def require_shared_record(settings: Settings) -> None:
    """Check that every worker would know what another one issued.

    Raises:
        ConfigError: Several processes would serve, each with a record of its own: it would refuse every token
            that another one gave out.
    """
    several = settings.server.workers > 1
    if settings.issuer.kind == "webdeployments" and several and not settings.store.shared:
        raise ConfigError(
            "store.url",
            "must be a Redis where server.workers is above 1 with issuer.kind 'webdeployments':"
            " each worker would refuse the tokens that another one gave out",
        )


def build_logins(settings: Settings, hosts: Hosts, clock: Clock, sessions: SessionStore) -> Logins:
    """The issuer, and `sessions`, the record that its tokens are verified by.

    Raises:
        ConfigError: As `require_shared_record`.
    """
    require_shared_record(settings)
    issuer, policy = settings.issuer, settings.policy
    codes = WebDeploymentsIssuer(
        hosts=hosts,
        settings=WebDeploymentsSettings(
            deployment_id=issuer.deployment_id or "",
            redirect_uri=issuer.redirect_uri,
            kept=max(policy.grace, policy.leeway),
            lease=policy.mint_deadline + _LEASE_MARGIN,
        ),
        sessions=sessions,
        clock=clock,
        http=build_tracing(settings.tracing).http(),
    )
    return Logins(codes, sessions)
