"""Settings -> what forwards to the backends; a part of the composition root."""

from pathlib import Path

from guestpass.asgi.proxy import ReverseProxy
from guestpass.asgi.routes import RoutedProxy
from guestpass.config import Settings
from guestpass.errors import ConfigError
from guestpass.upstream.dial import BackendTls
from guestpass.upstream.pool import PoolLimits
from guestpass.upstream.websocket import WebSocketLimits


def build_proxy(settings: Settings) -> ReverseProxy | RoutedProxy:
    """Wire the proxy of `upstream`, and those of `routes` if there are any.

    Raises:
        ConfigError: There is no upstream, or a certificate cannot be read.
    """
    upstream = settings.upstream
    if not upstream.url:
        raise ConfigError("upstream.url", "must be set, such as to http://127.0.0.1:9000")
    # Routes that name the same backends share their connections, and what is known of their health.
    proxies = {
        urls: _proxy(urls, settings) for urls in (upstream.url, *(r.upstream for r in settings.routes))
    }
    default = proxies[upstream.url]
    if not settings.routes:
        return default
    return RoutedProxy([(route.path, proxies[route.upstream]) for route in settings.routes], default)


def _proxy(urls: tuple[str, ...], settings: Settings) -> ReverseProxy:
    upstream = settings.upstream
    return ReverseProxy(
        urls,
        preserve_host=upstream.preserve_host,
        trusted_proxies=settings.server.trusted_proxies,
        header_timeout=upstream.response_timeout,
        max_body=upstream.max_body,
        balance=upstream.balance,
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


def _name(path: Path | None) -> str | None:
    return None if path is None else str(path)
