"""Opens a connection to a backend: TCP or a Unix socket, with TLS where the origin asks for it."""

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from guestpass.errors import ConfigError, UpstreamTimeout, UpstreamUnreachable
from guestpass.upstream.origin import Origin

_P = TypeVar("_P", bound=asyncio.Protocol)


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendTls:
    """How an `https://` backend proves who it is, and how we prove who we are. There is no way to skip it.

    Attributes:
        ca_file: PEM file of the authorities that are believed; None: those of the system.
        server_name: The name to ask for (SNI) and to find in the certificate; None: the host of the URL.
        certificate_file: PEM file of our own certificate chain, for a backend that asks for it (mutual TLS).
        key_file: PEM file of its private key; None: it is in `certificate_file`.
    """

    ca_file: str | None = None
    server_name: str | None = None
    certificate_file: str | None = None
    key_file: str | None = None

    def context(self) -> ssl.SSLContext:
        """Read the files.

        Raises:
            ConfigError: One of them cannot be read, or is not what it should be.
        """
        if self.key_file is not None and self.certificate_file is None:
            raise ConfigError("upstream.key_file", "needs a certificate_file")
        try:
            context = ssl.create_default_context(cafile=self.ca_file)
        except (OSError, ssl.SSLError) as exc:
            raise ConfigError("upstream.ca_file", "must be a readable PEM file of certificates") from exc
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        if self.certificate_file is not None:
            try:
                context.load_cert_chain(self.certificate_file, self.key_file)
            except (OSError, ssl.SSLError) as exc:
                raise ConfigError(
                    "upstream.certificate_file", "must be a readable PEM certificate with its key"
                ) from exc
        return context


class Dialer:
    """Opens connections to one backend; knows its address, its TLS and how long it may take."""

    def __init__(self, origin: Origin, tls: BackendTls, *, timeout: float) -> None:
        """Read the certificates, so that a wrong path stops the start-up.

        Args:
            origin: Where the backend is.
            tls: Only looked at for an `https://` backend.
            timeout: Seconds for one connection, TLS included.

        Raises:
            ConfigError: A certificate cannot be read.
        """
        self.origin = origin
        self._timeout = timeout
        self._context = tls.context() if origin.tls else None
        self._server_name = (tls.server_name or origin.host) if origin.tls else None

    async def open(self, protocol: Callable[[], _P]) -> _P:
        """Connect `protocol()` to the backend.

        Raises:
            UpstreamUnreachable: Refused, unknown, or not who it should be.
            UpstreamTimeout: It took too long.
        """
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._timeout):
                if self.origin.socket_path is not None:
                    _, opened = await loop.create_unix_connection(protocol, self.origin.socket_path)
                else:
                    _, opened = await loop.create_connection(
                        protocol,
                        self.origin.host,
                        self.origin.port,
                        ssl=self._context,
                        server_hostname=self._server_name,
                    )
        except TimeoutError as exc:
            raise UpstreamTimeout("connect") from exc
        except OSError as exc:  # refused, no such host; TLS errors are among them
            raise UpstreamUnreachable("connect") from exc
        return opened
