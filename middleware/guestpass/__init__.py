"""Verifies, rotates and injects guest tokens in front of any ASGI app or HTTP backend."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from guestpass.asgi.forward_auth import ForwardAuth
    from guestpass.asgi.middleware import GuestTokenMiddleware
    from guestpass.asgi.proxy import ReverseProxy
    from guestpass.asgi.session_endpoint import SessionEndpoint
    from guestpass.asgi.token_endpoint import TokenEndpoint
    from guestpass.core.model import Guest, Policy
    from guestpass.gate import Gate

__all__ = [
    "ForwardAuth",
    "Gate",
    "Guest",
    "GuestTokenMiddleware",
    "Policy",
    "ReverseProxy",
    "SessionEndpoint",
    "TokenEndpoint",
]

# Loaded when first asked for: the pytest plugin is imported in every test run of a user, and the proxy's
# engine is an extra that a user of the middleware need not install.
_WHERE = {
    "ForwardAuth": "guestpass.asgi.forward_auth",
    "Gate": "guestpass.gate",
    "Guest": "guestpass.core.model",
    "GuestTokenMiddleware": "guestpass.asgi.middleware",
    "Policy": "guestpass.core.model",
    "ReverseProxy": "guestpass.asgi.proxy",
    "SessionEndpoint": "guestpass.asgi.session_endpoint",
    "TokenEndpoint": "guestpass.asgi.token_endpoint",
}


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_WHERE[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
