"""What is examined: the settings, what is built from them, and what earlier checks have brought to light."""

from dataclasses import dataclass, field

from guestpass.adapters.issuers.guesttoken import GuestTokenSettings
from guestpass.adapters.issuers.hosts import Hosts
from guestpass.adapters.issuers.http_client import Answer, HttpClient
from guestpass.config import Settings
from guestpass.core.decision import Genuine
from guestpass.core.model import Identity, RawToken, UnixTime
from guestpass.core.session import Grant
from guestpass.ports import Clock
from guestpass.wiring.parts import Parts
from guestpass.wiring.state import State


@dataclass(slots=True, kw_only=True)
class Patient:
    """One configuration under examination.

    Attributes:
        settings: As `serve` would read them.
        parts: The issuer and its keys, as `serve` would build them.
        state: What workers share, likewise.
        clock: Ours.
        identity: Whom a token is minted for.
        path: Which path is asked for through the proxy.
        grant: A guest's code, where guests log in.
        http: For the checks' own requests to the vendor, one attempt each.
        hosts: Where the vendor is; None where tokens are signed here.
        routes: Its routes, where it mints.
        access: The access token, once there is one.
        dated: The vendor's `Date` and our time when it came.
        token: The minted token, once there is one.
        genuine: The verdict on it.
    """

    settings: Settings
    parts: Parts
    state: State
    clock: Clock
    identity: Identity
    path: str
    grant: Grant | None = None
    http: HttpClient = field(default_factory=HttpClient)
    hosts: Hosts | None = None
    routes: GuestTokenSettings = field(default_factory=GuestTokenSettings)
    access: str | None = field(default=None, repr=False)
    dated: tuple[str, UnixTime] | None = None
    token: RawToken | None = None
    genuine: Genuine | None = None

    def remember_date(self, answer: Answer) -> None:
        """Keep the vendor's clock reading, to be compared with ours."""
        if date := answer.headers.get("date"):
            self.dated = (date, self.clock.time())
