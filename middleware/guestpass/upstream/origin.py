"""Where a backend is: its URL, read and checked once at start-up."""

import re
from dataclasses import dataclass
from typing import Final, Self
from urllib.parse import urlsplit

from guestpass.errors import ConfigError

_FIELD: Final = "upstream.url"
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_HOST_NAME: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,253}[A-Za-z0-9])?\.?|[0-9A-Fa-f:.]+")


@dataclass(frozen=True, slots=True)
class Origin:
    """One backend's address.

    Attributes:
        tls: Whether the connection is TLS.
        host: Host name or IP address, without brackets; "localhost" for a Unix socket.
        port: TCP port; 0 for a Unix socket.
        socket_path: Path of the Unix socket, or None.
        authority: What `Host` says when the backend is named by its own name.
    """

    tls: bool
    host: str
    port: int
    socket_path: str | None
    authority: bytes

    @classmethod
    def parse(cls, url: str) -> Self:
        """Read `http://host[:port]`, `https://host[:port]` or `unix:///path/of/socket`.

        A path is refused and not joined: a guest's path goes to the backend byte for byte.

        Raises:
            ConfigError: It is none of these, or says more than where the backend is.
        """
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as exc:
            raise ConfigError(_FIELD, "must be a URL") from exc
        if any(ord(char) <= ord(" ") or ord(char) >= 0x7F for char in url):  # noqa: PLR2004  DEL and beyond
            raise ConfigError(_FIELD, "must be ASCII without blanks")
        if parts.query or parts.fragment or url.endswith(("?", "#")):
            raise ConfigError(_FIELD, "must have neither query nor fragment")
        if parts.scheme == "unix":
            if parts.netloc or not parts.path.startswith("/") or parts.path == "/":
                raise ConfigError(_FIELD, "must be unix:///absolute/path for a Unix socket")
            return cls(tls=False, host="localhost", port=0, socket_path=parts.path, authority=b"localhost")
        if parts.scheme not in _DEFAULT_PORTS:
            raise ConfigError(_FIELD, "must start with http://, https:// or unix://")
        if "@" in parts.netloc:
            raise ConfigError(_FIELD, "must not hold a user or a password")
        if parts.path not in ("", "/"):
            raise ConfigError(_FIELD, "must not have a path: paths are forwarded as they come")
        host = parts.hostname or ""
        if _HOST_NAME.fullmatch(host) is None or port == 0:
            raise ConfigError(_FIELD, "must name a host, and a port from 1 to 65535 if any")
        default = _DEFAULT_PORTS[parts.scheme]
        name = f"[{host}]" if ":" in host else host
        authority = name if port in (None, default) else f"{name}:{port}"
        return cls(
            tls=parts.scheme == "https",
            host=host,
            port=port or default,
            socket_path=None,
            authority=authority.encode(),
        )
