"""One bounded HTTP exchange with an issuer: one client per event loop, opened at first use."""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from importlib.metadata import version
from typing import Final

import anyio
import httpx
from anyio.lowlevel import RunVar

from guestpass.errors import Unavailable

_CONNECT_SECONDS: Final = 3.0
_KIB: Final = 1024


class NotConnected(Unavailable):
    """No connection could be had, so nothing was sent, and asking again cannot ask twice."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, whatever its status.

    Attributes:
        status: The status code.
        headers: The fields, case-insensitive.
        body: The content as sent; None if it broke off, is longer than the limit, or is compressed although
            nobody asked for that. The status of such an answer still counts.
    """

    status: int
    headers: httpx.Headers
    body: bytes | None

    def __repr__(self) -> str:
        return f"Answer(status={self.status})"  # the body may hold a token


class HttpClient:
    """Sends one request at a time to a fixed URL; follows nothing, remembers nothing, obeys no environment.

    httpx by default shares one cookie jar between all requests and takes proxies and netrc from the
    environment: all of that is off, so that no guest's answer can change another guest's request.

    Args:
        total: Seconds from the first byte out to the last byte in; httpx itself limits single reads only,
            so that a body dripped byte by byte would never end.
        body_limit: Octets of a body that are read.
        tls: What to trust; None: the authorities that httpx ships with.
    """

    def __init__(
        self,
        *,
        total: float = 10.0,
        body_limit: int = 64 * _KIB,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._total = total
        self._body_limit = body_limit
        self._tls = tls
        # Sockets belong to their event loop; a library user may run several, one after another.
        self._client: RunVar[httpx.AsyncClient | None] = RunVar("guestpass.http_client", None)

    async def send(
        self, method: str, url: str, *, headers: Mapping[str, str] | None = None, content: bytes | None = None
    ) -> Answer:
        """Exchange one request for one answer; an answer of any status is a success here.

        Raises:
            NotConnected: Nothing was sent: name resolution, TCP, TLS or a full pool.
            Unavailable: The request may have arrived, but no answer did in time.
        """
        try:
            with anyio.fail_after(self._total):
                async with self._current().stream(method, url, headers=headers, content=content) as response:
                    body = await self._read(response)
                    return Answer(response.status_code, response.headers, body)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as exc:
            raise NotConnected("no connection") from exc
        except (httpx.HTTPError, OSError) as exc:  # TimeoutError is an OSError
            raise Unavailable("no answer") from exc

    async def aclose(self) -> None:
        """Close this event loop's connections; the next request opens new ones."""
        client, _ = self._client.get(), self._client.set(None)
        if client is not None:
            await client.aclose()

    def _current(self) -> httpx.AsyncClient:
        client = self._client.get()
        if client is None:
            client = httpx.AsyncClient(
                headers={
                    "user-agent": user_agent(),
                    "accept": "application/json",
                    "accept-encoding": "identity",
                },
                cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
                follow_redirects=False,
                trust_env=False,
                timeout=httpx.Timeout(self._total, connect=_CONNECT_SECONDS, pool=_CONNECT_SECONDS),
                verify=self._tls or True,
            )
            self._client.set(client)
        return client

    async def _read(self, response: httpx.Response) -> bytes | None:
        if response.headers.get("content-encoding", "identity").lower() != "identity":
            return None  # a small compressed body can be a huge one
        body = bytearray()
        try:
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > self._body_limit:
                    # Closed, not left: trio warns of each generator that is left half-way, and there are
                    # several inside one another. They end by themselves on a connection that is gone.
                    await response.aclose()
        except httpx.TransportError:
            return None
        return bytes(body) if len(body) <= self._body_limit else None


@cache
def user_agent() -> str:
    """`guestpass/<version>` (RFC 9110 §10.1.5)."""
    return f"guestpass/{version('guestpass')}"
