"""Settings -> what forwards to the backends; a part of the composition root."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from guestpass.asgi.proxy import ReverseProxy
from guestpass.asgi.routes import RoutedProxy
from guestpass.config import Settings, UpstreamSettings
from guestpass.errors import ConfigError
from guestpass.upstream.balance import Figures
from guestpass.upstream.checks import HealthCheck
from guestpass.upstream.dial import BackendTls
from guestpass.upstream.pool import PoolLimits
from guestpass.upstream.websocket import WebSocketLimits


@dataclass(frozen=True, slots=True)
class Plan:
    """The proxies of one configuration, by the URLs of their backends; nothing is open yet."""

    settings: Settings
    proxies: Mapping[tuple[str, ...], ReverseProxy]

    @property
    def routes(self) -> list[tuple[str, ReverseProxy]]:
        """Which path goes where."""
        return [(route.path, self.proxies[route.upstream]) for route in self.settings.routes]

    @property
    def default(self) -> ReverseProxy:
        """Where all else goes."""
        return self.proxies[self.settings.upstream.url]


class Backends:
    """The proxy of `upstream`, and those of `routes`, over changes of the configuration.

    Attributes:
        proxy: The app that forwards.
    """

    def __init__(self, settings: Settings) -> None:
        """Wire the proxies.

        Raises:
            ConfigError: There is no upstream, or a certificate cannot be read.
        """
        self._figures = Figures()
        self._plan = Plan(settings, {})
        self._plan = self.prepared(settings)
        self.proxy = RoutedProxy(self._plan.routes, self._plan.default)

    def prepared(self, settings: Settings) -> Plan:
        """Make what `settings` ask for, and keep what they ask for no differently; changes nothing yet.

        Raises:
            ConfigError: There is no upstream, or a certificate cannot be read.
        """
        if not settings.upstream.url:
            raise ConfigError("upstream.url", "must be set, such as to http://127.0.0.1:9000")
        same = _but_for_urls(settings) == _but_for_urls(self._plan.settings)
        known = self._plan.proxies if same else {}
        # Routes that name the same backends share their connections, and what is known of their health.
        wanted = dict.fromkeys((settings.upstream.url, *(route.upstream for route in settings.routes)))
        return Plan(
            settings, {urls: known.get(urls) or _proxy(urls, settings, self._figures) for urls in wanted}
        )

    def adopt(self, plan: Plan) -> int:
        """Serve by `plan` from here on; how many of its proxies are kept with their connections."""
        before = set(self._plan.proxies.values())
        self._plan = plan
        self.proxy.replace(plan.routes, plan.default)
        return len(before & set(plan.proxies.values()))


def _but_for_urls(settings: Settings) -> UpstreamSettings:
    return replace(settings.upstream, url=())


def _proxy(urls: tuple[str, ...], settings: Settings, figures: Figures) -> ReverseProxy:
    upstream = settings.upstream
    return ReverseProxy(
        urls,
        preserve_host=upstream.preserve_host,
        trusted_proxies=settings.server.trusted_proxies,
        header_timeout=upstream.response_timeout,
        max_body=upstream.max_body,
        balance=upstream.balance,
        figures=figures,
        health=_health(upstream),
        limits=PoolLimits(
            max_connections=upstream.max_connections,
            max_waiting=upstream.max_waiting,
            wait_timeout=upstream.wait_timeout,
            connect_timeout=upstream.connect_timeout,
            idle_timeout=upstream.idle_timeout,
            max_age=upstream.max_age,
        ),
        websockets=WebSocketLimits(
            max_open=upstream.max_websockets,
            max_message_bytes=upstream.max_message,
            ping_interval=upstream.ping_interval,
        ),
        tls=BackendTls(
            ca_file=_name(upstream.ca_file),
            server_name=upstream.server_name,
            certificate_file=_name(upstream.certificate_file),
            key_file=_name(upstream.key_file),
        ),
    )


def _health(upstream: UpstreamSettings) -> HealthCheck | None:
    if upstream.health_path is None:
        return None
    return HealthCheck(
        path=upstream.health_path,
        interval=upstream.health_interval,
        timeout=upstream.health_timeout,
        failures=upstream.health_failures,
        successes=upstream.health_successes,
    )


def _name(path: Path | None) -> str | None:
    return None if path is None else str(path)
