"""Which fields are read and set: everything of a request and a response that carries a token or a guest."""

from dataclasses import dataclass, field

from guestpass.core import bearer
from guestpass.core.cors import Cors
from guestpass.core.identity import IdentityMap
from guestpass.core.inject import CookieDelivery, Fields, expose, vary
from guestpass.core.model import Header


@dataclass(frozen=True, slots=True, kw_only=True)
class Surface:
    """Which fields the gate reads and sets.

    Attributes:
        sources: Where a token may stand in a request.
        fields: The response fields of a successor.
        identity: Which claims a backend is told, in which fields.
        cors: Origins whose pages may read our own answers; None: none.
        cookie: Deliver successors by this cookie too.
        forward_token: Leave the token in the request that the app sees.
        reserved: Further field names that no client may send.
        realm: The protection space named in challenges.
    """

    sources: bearer.Sources = field(default_factory=bearer.Sources)
    fields: Fields = field(default_factory=Fields)
    identity: IdentityMap = field(default_factory=IdentityMap)
    cors: Cors | None = None
    cookie: CookieDelivery | None = None
    forward_token: bool = False
    reserved: tuple[str, ...] = ()
    realm: str = "guest"
    varying: tuple[Header, ...] = field(init=False, repr=False, compare=False)
    """What every guarded response gains: `Vary`, naming each request field that may carry the token."""
    varying_and_exposing: tuple[Header, ...] = field(init=False, repr=False, compare=False)
    """The same for a cross-origin request, whose page may then read our fields."""

    def __post_init__(self) -> None:
        sources = self.sources
        fields = (sources.header, sources.bearer and "Authorization", sources.cookie and "Cookie")
        names = [name for name in fields if name]
        varying = (vary(*names),) if names else ()
        object.__setattr__(self, "varying", varying)
        object.__setattr__(self, "varying_and_exposing", (*varying, expose(*self.fields.names)))
