"""What a shell asks the gate, and what the gate answers: values between the two."""

from collections.abc import Sequence
from dataclasses import dataclass

from guestpass.core.decision import Genuine
from guestpass.core.model import Guest, Header, RawToken, Successor, UnixTime
from guestpass.errors import GuestpassError
from guestpass.rotation import Flight, Rotation


@dataclass(slots=True)
class Request:
    """What a shell knows of a request.

    Attributes:
        method: Upper case, as it came.
        path: Percent-decoded, as ASGI's `path`.
        raw_path: As it came, without the query.
        headers: Field lines, in order.
        query: The query string, byte for byte.
        websocket: Whether this opens a WebSocket.
        subprotocols: What a WebSocket's client offers.
        peer: The address at the other end of the socket; None if it has none.
    """

    method: str
    path: str
    raw_path: bytes
    headers: Sequence[Header]
    query: bytes = b""
    websocket: bool = False
    subprotocols: Sequence[str] = ()
    peer: str | None = None


class Delivery:
    """A successor for the response: it is here, it is on its way, or it will not come."""

    __slots__ = ("_flight", "_genuine", "_rotation", "_token", "successor")

    def __init__(
        self,
        rotation: Rotation,
        successor: Successor | None = None,
        *,
        flight: Flight | None = None,
        token: RawToken | None = None,
        genuine: Genuine | None = None,
    ) -> None:
        self._rotation = rotation
        self.successor = successor
        self._flight = flight
        self._token = token
        self._genuine = genuine

    async def wait(self) -> Successor | None:
        """The successor, if it is there within `rotation_wait` of the start of its minting.

        Without a background task group it is minted here: the app's answer is ready, so nothing but
        this response waits. A failure is logged where it happened, and the response goes without.
        """
        if self.successor is None and self._flight is not None:
            self.successor = await self._rotation.watch(self._flight)
        elif self.successor is None and self._token is not None and self._genuine is not None:
            self.successor = await self._rotation.rotate_here(self._token, self._genuine)
        return self.successor


@dataclass(slots=True)
class Admitted:
    """The request may go on.

    Attributes:
        headers: What the app sees in place of the request's fields: a list of its own.
        query: What the app sees in place of the query string.
        guest: Who it is; None on a route that is not guarded.
        delivery: A successor for the response, or None.
        origin: The Origin field, if there is one.
        dead_at: From this instant the token is past its grace: for connections that outlive it.
    """

    headers: list[Header]
    query: bytes
    guest: Guest | None
    delivery: Delivery | None = None
    origin: bytes | None = None
    dead_at: UnixTime | None = None


@dataclass(slots=True)
class Refused:
    """The shell answers in place of the app. `guarded`: the answer depends on the token's field."""

    error: GuestpassError
    origin: bytes | None = None
    guarded: bool = True
