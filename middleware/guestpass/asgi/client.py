"""Who the client of a connection is, for limits."""

from starlette.types import Scope

from guestpass.core.forwarded import Trust
from guestpass.core.limit_key import limit_key


def client_key(scope: Scope, trust: Trust) -> str:
    """The key that this connection's client is counted under; its own word counts only from `trust`."""
    client = scope.get("client")
    peer = client[0] if client else None
    if not trust.networks:
        return limit_key(peer)
    told = [value for name, value in scope["headers"] if name == b"x-forwarded-for"]
    return limit_key(trust.client(peer, told))
