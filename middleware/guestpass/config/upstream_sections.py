"""The settings of the backends: where they are, how they are reached, and which route goes to which."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from guestpass.config.values import require_above_zero, require_origin
from guestpass.core.matching import require_pattern
from guestpass.core.request_head import is_target
from guestpass.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamSettings:
    """The backend that `guestpass serve` forwards to.

    Attributes:
        url: Where requests go, as `http://host:port`, `https://host:port` or `unix:///path`; several are
            replicas of one service. Routes that go elsewhere have `[[routes]]`.
        balance: Which of several replicas gets a request: each in turn, or the one with the least to do.
        connect_timeout: Seconds to connect, TLS included.
        response_timeout: Seconds to the response's fields; a body that streams has no limit.
        wait_timeout: Seconds to wait for a free connection before 503.
        idle_timeout: Seconds that an unused connection is kept; below what the backend keeps it for.
        max_age: Seconds that a connection is reused at all, so that a change in DNS is followed.
        max_connections: The most connections to one upstream, per worker.
        max_waiting: The most requests that may wait for one.
        max_body: The largest request body in bytes; a larger one gets 413. None: any, as none is ever held.
        max_websockets: The most WebSockets at once, per worker.
        max_message: The largest WebSocket message from the backend, in bytes, as each is held whole. A
            client's may have 16 MiB.
        ping_interval: Seconds between pings to a WebSocket's backend; one unanswered for as long ends it.
        health_path: What each backend is asked every few seconds; one that fails to answer it with a status
            below 400 gets no requests while another one is well. Without it, only failed requests tell.
        health_interval: Seconds from one answer to the next question, give or take a tenth.
        health_timeout: Seconds that an answer may take, the connection included.
        health_failures: How many failures in a row it takes to leave a backend alone.
        health_successes: How many successes in a row it takes to ask it again.
        preserve_host: Send the client's Host on, in place of the upstream's own.
        ca_file: Certificates to trust in place of the system's (PEM).
        server_name: The name to find in the backend's certificate, in place of the host of its URL.
        certificate_file: Our own certificate chain (PEM), for a backend that asks for one.
        key_file: Its private key (PEM), if it is not in the same file.
    """

    url: tuple[str, ...] = ()
    balance: Literal["round_robin", "least_connections"] = "round_robin"
    connect_timeout: float = 5.0
    response_timeout: float = 60.0
    wait_timeout: float = 5.0
    idle_timeout: float = 4.0
    max_age: float = 600.0
    max_connections: int = 256
    max_waiting: int = 1024
    max_body: int | None = None
    max_websockets: int = 1024
    max_message: int = 16 * 1024 * 1024
    ping_interval: float = 20.0
    health_path: str | None = None
    health_interval: float = 5.0
    health_timeout: float = 2.0
    health_failures: int = 2
    health_successes: int = 2
    preserve_host: bool = True
    ca_file: Path | None = None
    server_name: str | None = None
    certificate_file: Path | None = None
    key_file: Path | None = None

    def __post_init__(self) -> None:
        _require_backends("upstream.url", self.url)
        durations = ("connect_timeout", "response_timeout", "wait_timeout", "idle_timeout", "max_age")
        counts = ("max_connections", "max_waiting", "max_websockets", "max_message")
        health = ("health_interval", "health_timeout", "health_failures", "health_successes")
        require_above_zero("upstream", self, *durations, *counts, *health, "ping_interval")
        if self.health_path is not None and not is_target(self.health_path.encode()):
            raise ConfigError("upstream.health_path", "must be a path without blanks, or off")
        if self.max_body is not None and self.max_body < 0:
            raise ConfigError("upstream.max_body", "must be a number of bytes, zero or more, or off")
        if self.key_file is not None and self.certificate_file is None:
            raise ConfigError("upstream.key_file", "needs upstream.certificate_file")


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteSettings:
    """One line of which path goes to which backend.

    Attributes:
        path: A pattern as in `[[rules]]`: `/health` is that path alone, `/users/*/avatar` any one segment,
            `/chat/*` everything that starts with `/chat/`. The path reaches the backend as it came.
        upstream: Where its requests go, in place of `upstream.url`; all else of `[upstream]` holds here too.
    """

    path: str
    upstream: tuple[str, ...]

    def __post_init__(self) -> None:
        require_pattern("routes.path", self.path)
        if not self.upstream:
            raise ConfigError("routes.upstream", "must be one URL or several")
        _require_backends("routes.upstream", self.upstream)


def _require_backends(field: str, urls: tuple[str, ...]) -> None:
    if len(set(urls)) != len(urls):
        raise ConfigError(field, "must be different URLs")
    for url in urls:
        if not url.startswith("unix:///"):
            require_origin(field, url.removesuffix("/"))
