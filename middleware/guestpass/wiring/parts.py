"""Settings -> who mints, and whose keys verify."""

from dataclasses import dataclass

from guestpass.adapters.issuers.guesttoken import GuestTokenIssuer, GuestTokenSettings
from guestpass.adapters.issuers.hosts import Hosts, gateway_hosts, hosts_of
from guestpass.adapters.issuers.local import LocalIssuer, LocalSettings
from guestpass.adapters.issuers.oauth import ClientCredentials
from guestpass.adapters.issuers.signing_key import SigningKey
from guestpass.adapters.remote_jwks import RemoteJwks
from guestpass.adapters.static_jwks import StaticJwks
from guestpass.config import IssuerSettings, Settings, VerifySettings
from guestpass.errors import ConfigError
from guestpass.ports import Clock, KeySource, Logins, TokenIssuer
from guestpass.wiring.logins import build_logins
from guestpass.wiring.state import State
from guestpass.wiring.tracing import build_tracing


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
        return StaticJwks(verify.jwks.encode(), algorithms=algorithms, setting="verify.jwks")
    if verify.jwks_file is not None:
        try:
            document = verify.jwks_file.read_bytes()
        except OSError as exc:
            raise ConfigError("verify.jwks_file", f"cannot be read ({exc.strerror})") from exc
        return StaticJwks(document, algorithms=algorithms, setting="verify.jwks_file")
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
