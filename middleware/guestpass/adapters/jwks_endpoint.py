"""Ask a JWKS URL once: a set of keys within deadline and size, or the reason why there is none."""

import ssl
from contextlib import aclosing
from ipaddress import ip_address
from math import isfinite
from typing import Final

import anyio
import httpx

from guestpass.core.freshness import stated_max_age
from guestpass.core.jwk import KeySet, read_set
from guestpass.errors import ConfigError, Unavailable

_FIELDS: Final = {
    "Accept": "application/jwk-set+json, application/json",
    "Accept-Encoding": "identity",
    "Connection": "close",
    "User-Agent": "guestpass",
}


class FetchFailed(Unavailable):
    """An attempt brought no set of keys; `reason` says why in one of a bounded set of words."""

    def __init__(self, reason: str) -> None:
        super().__init__()
        self._reason = reason

    @property
    def reason(self) -> str:
        """One of: timeout, unreachable, status, encoded, too_large, unusable."""
        return self._reason


class JwksEndpoint:
    """Where an issuer publishes its keys.

    Each attempt opens a connection of its own: one every few minutes gains nothing from a pool, and so
    nothing is tied to an event loop or left to be closed.
    """

    def __init__(
        self,
        url: str,
        *,
        algorithms: frozenset[str],
        timeout: float,
        max_bytes: int,
        tls: ssl.SSLContext | None,
    ) -> None:
        """Check the settings, and open nothing. For the arguments see `RemoteJwks`."""
        if not (isfinite(timeout) and timeout > 0):
            raise ConfigError("verify.timeout", "must be a finite number of seconds above zero")
        if max_bytes < 1:
            raise ConfigError("verify.max_bytes", "must be at least 1")
        self._url = _published_at(url)
        self._algorithms = algorithms
        self._timeout = timeout
        self._max_bytes = max_bytes
        self._tls = tls

    async def fetch(self) -> tuple[KeySet, float | None]:
        """Ask once: the set, and the "max-age" of the answer.

        Raises:
            FetchFailed: Whatever went wrong.
        """
        try:
            with anyio.fail_after(self._timeout):
                body, max_age = await self._ask()
        except TimeoutError as exc:
            raise FetchFailed("timeout") from exc
        except (httpx.HTTPError, OSError, UnicodeError) as exc:  # UnicodeError: a label that is no host name
            raise FetchFailed("unreachable") from exc
        try:
            return read_set(body, algorithms=self._algorithms), max_age
        except ValueError as exc:
            raise FetchFailed("unusable") from exc

    async def _ask(self) -> tuple[bytes, float | None]:
        if self._tls is None:
            # Kept, as loading the authorities takes 20 ms.
            self._tls = httpx.create_ssl_context(trust_env=False)
        # The transport, not the client: it has no cookie jar, no proxy variables, follows no redirect.
        async with httpx.AsyncHTTPTransport(verify=self._tls, trust_env=False) as transport:
            response = await transport.handle_async_request(httpx.Request("GET", self._url, headers=_FIELDS))
            async with aclosing(response):
                # 304 too: we never ask with a condition, so it has nothing to stand for.
                if response.status_code != httpx.codes.OK:
                    raise FetchFailed("status")
                if response.headers.get("content-encoding", "identity").lower() != "identity":
                    # Not asked for, and 64 KiB of gzip may be 64 MiB of zeros: not decoded at all.
                    raise FetchFailed("encoded")
                body = await self._read(response)
                return body, stated_max_age(response.headers.get("cache-control", ""))

    async def _read(self, response: httpx.Response) -> bytes:
        body = bytearray()
        try:
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > self._max_bytes:
                    # Closed, not left: trio warns of each generator that is left half-way, and there are
                    # four inside one another. They end by themselves on a connection that is gone.
                    await response.aclose()
        except httpx.ReadError:
            if len(body) <= self._max_bytes:
                raise
        if len(body) > self._max_bytes:
            raise FetchFailed("too_large")
        return bytes(body)


def _published_at(text: str) -> httpx.URL:
    """Parse a JWKS URL, whose answers decide whom we trust.

    Raises:
        ConfigError: Someone on the way could change them (plain http), or the URL holds a secret.
    """
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL as exc:
        raise ConfigError("verify.jwks_url", "must be a URL") from exc
    if url.scheme not in ("http", "https") or not url.host:
        raise ConfigError("verify.jwks_url", "must be an http or https URL with a host")
    if url.userinfo:
        raise ConfigError("verify.jwks_url", "must hold no user name or password")
    if url.scheme == "http" and not _is_loopback(url.host):
        raise ConfigError("verify.jwks_url", "must be https, except for a loopback host")
    return url


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
