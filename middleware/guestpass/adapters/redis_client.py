"""Clients of Redis or Valkey by URL: one server, a Unix socket, Sentinel, or a cluster."""

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import SplitResult, unquote, urlsplit

from redis.asyncio import Redis, RedisCluster
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError

from guestpass.errors import ConfigError

Client = Redis | RedisCluster

_SENTINEL_TIMEOUT: Final = 0.15
"""Seconds for each sentinel that is asked, so that a hung one does not take the whole operation's time."""

_SENTINEL_PORT: Final = 26_379
_REDIS_PORT: Final = 6379


def connect(url: str, *, connections: int) -> Client:
    """A client for `url`; opens nothing until it is used. Deadlines are the caller's.

    - `redis://[user:password@]host[:port][/db]`, `rediss://` for TLS, `unix://[...@]/path[?db=0]`
    - `redis+sentinel://[user:password@]host[:port][,host[:port]...]/service[/db]`
    - `redis+cluster://[user:password@]host[:port][,host[:port]...]`; both also as `rediss+...`

    Args:
        url: Where; its options, such as `?ssl_ca_certs=FILE`, are redis-py's own.
        connections: The most connections at once.

    Raises:
        ConfigError: It is no such URL. The message never quotes it, as it may hold a password.
    """
    options: dict[str, Any] = {
        "socket_connect_timeout": None,
        "socket_timeout": None,
        "max_connections": connections,
        "protocol": 2,
        # Once more on a fresh connection: an idle one may have been closed by the server or on the way.
        "retry": Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,)),
    }
    try:
        parts = urlsplit(url)
        kind = parts.scheme.partition("+")[2]
        if kind == "sentinel":
            return _sentinel(parts, options)
        if kind == "cluster":
            return _cluster(parts, options)
        client: Redis = Redis.from_url(url, **options)
    except (ValueError, TypeError):
        raise ConfigError("store.url", "is no URL of a Redis server") from None
    return client


async def close(client: Client) -> None:
    """Close every connection of a client, those to sentinels included, which redis-py leaves open."""
    await client.aclose()
    if isinstance(client, Redis) and isinstance(client.connection_pool, SentinelConnectionPool):
        for sentinel in client.connection_pool.sentinel_manager.sentinels:
            await sentinel.aclose()


def _sentinel(parts: SplitResult, options: Mapping[str, Any]) -> Redis:
    service, _, database = parts.path.strip("/").partition("/")
    if not service:
        raise ConfigError("store.url", "must name the service after the sentinels, as in host:26379/mymaster")
    asked = {
        "socket_connect_timeout": _SENTINEL_TIMEOUT,
        "socket_timeout": _SENTINEL_TIMEOUT,
        "protocol": options["protocol"],
        "retry": Retry(NoBackoff(), 0),
        **_tls(parts),
    }
    sentinel = Sentinel(_hosts(parts, _SENTINEL_PORT), sentinel_kwargs=asked)  # type: ignore[no-untyped-call]  # redis-py has no types for it
    client: Redis = sentinel.master_for(
        service, db=int(database or 0), **options, **_login(parts), **_tls(parts)
    )
    return client


def _cluster(parts: SplitResult, options: Mapping[str, Any]) -> RedisCluster:
    nodes = [ClusterNode(host, port) for host, port in _hosts(parts, _REDIS_PORT)]
    return RedisCluster(startup_nodes=nodes, **options, **_login(parts), **_tls(parts))


def _hosts(parts: SplitResult, default_port: int) -> list[tuple[str, int]]:
    hosts = []
    for address in parts.netloc.rpartition("@")[2].split(","):
        one = urlsplit(f"//{address}")  # reads brackets around IPv6
        if not one.hostname:
            raise ValueError("a host is missing")
        hosts.append((one.hostname, one.port or default_port))
    return hosts


def _login(parts: SplitResult) -> dict[str, Any]:
    user, _, password = parts.netloc.rpartition("@")[0].partition(":")
    given = {"username": unquote(user), "password": unquote(password)}
    return {name: value for name, value in given.items() if value}


def _tls(parts: SplitResult) -> dict[str, Any]:
    return {"ssl": True} if parts.scheme.startswith("rediss") else {}
