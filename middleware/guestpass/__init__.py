"""Verifies, rotates and injects guest tokens in front of any ASGI app or HTTP backend."""

from typing import TYPE_CHECKING, Any

from guestpass.asgi.middleware import GuestTokenMiddleware
from guestpass.asgi.token_endpoint import TokenEndpoint
from guestpass.core.identity import Guest
from guestpass.core.model import Policy
from guestpass.gate import Gate

if TYPE_CHECKING:
    from guestpass.asgi.proxy import ReverseProxy

__all__ = ["Gate", "Guest", "GuestTokenMiddleware", "Policy", "ReverseProxy", "TokenEndpoint"]


def __getattr__(name: str) -> Any:
    # The proxy's engine is an extra (`guestpass[proxy]`), so that a middleware user installs little.
    if name == "ReverseProxy":
        from guestpass.asgi.proxy import ReverseProxy  # noqa: PLC0415

        return ReverseProxy
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
