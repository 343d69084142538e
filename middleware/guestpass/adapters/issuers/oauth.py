"""The access token that minting needs: OAuth client credentials, shared, single-flight, renewed early."""

from base64 import b64encode
from dataclasses import dataclass, field, replace
from typing import Final

import anyio
from anyio.lowlevel import RunVar

from guestpass import events
from guestpass.adapters.issuers.answers import correlation, credential, members, succeeded
from guestpass.adapters.issuers.http_client import Answer
from guestpass.adapters.issuers.retry import told_wait
from guestpass.adapters.issuers.route import Route
from guestpass.core.model import MonotonicTime
from guestpass.errors import ConfigError, Fault, Unavailable
from guestpass.ports import Clock

_FORM: Final = b"grant_type=client_credentials"

_SHORTEST: Final = 300.0  # what the vendor grants at least, and so what an answer without a life is worth
_LONGEST: Final = 172_800.0
_EARLY: Final = 300.0
_FIFTH: Final = 0.2
_RENEW_AGAIN: Final = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientCredentials:
    """An OAuth client's id and secret (RFC 6749 §2.3.1), as HTTP Basic can carry them (RFC 7617 §2)."""

    client_id: str
    client_secret: str = field(repr=False)

    def __post_init__(self) -> None:
        for name in ("client_id", "client_secret"):
            value: str = getattr(self, name)
            if not value or not value.isprintable() or value != value.strip():
                raise ConfigError(
                    f"issuer.{name}", "must be non-empty, without control characters or outer blanks"
                )
        if ":" in self.client_id:
            raise ConfigError("issuer.client_id", "must not contain ':', which ends the id in HTTP Basic")

    @property
    def basic(self) -> str:
        """The `Authorization` field's value; id and secret go as they are, as in the vendor's own SDK."""
        return "Basic " + b64encode(f"{self.client_id}:{self.client_secret}".encode()).decode()


@dataclass(frozen=True, slots=True)
class _Held:
    value: str = field(repr=False)
    renew_at: MonotonicTime
    expires_at: MonotonicTime


class AccessTokens:
    """The one access token that all mints share.

    A token is renewed a fifth of its life before its end (at most 300 s before). An early renewal that fails
    costs nobody anything: the old token serves on, and renewal is tried again 30 s later.

    The vendor keeps a bounded number of live tokens per client and displaces the oldest, so logging in more
    often than needed would end someone else's: one caller leads, the others wait for what it gets, and
    share its failure rather than repeating it one after another.
    """

    def __init__(self, *, route: Route, credentials: ClientCredentials, clock: Clock) -> None:
        self._route = route
        self._credentials = credentials
        self._clock = clock
        self._held: _Held | None = None
        self._failure: Fault | None = None
        self._failures = 0
        self._locks: RunVar[anyio.Lock | None] = RunVar("guestpass.access_tokens", None)

    async def current(self) -> str:
        """The access token to use now.

        Raises:
            IssuerMisconfigured: The login refuses our credentials.
            Unavailable: There is none, and the login gives none now.
        """
        held = self._live()
        if held is not None and self._clock.monotonic() < held.renew_at:
            return held.value
        failures = self._failures
        async with self._lock():
            held = self._live()
            if held is not None and self._clock.monotonic() < held.renew_at:
                return held.value
            if self._failure is not None and self._failures != failures:
                raise type(self._failure)(str(self._failure), retry_after=self._failure.retry_after)
            return await self._renew(held)

    def invalidate(self, token: str) -> None:
        """Drop `token`, as the issuer refused it; nothing happens if another has taken its place already."""
        if self._held is not None and self._held.value == token:
            self._held = None

    async def _renew(self, held: _Held | None) -> str:
        if held is not None:
            # Set before the attempt, so that all others use the old token meanwhile: a login that hangs
            # delays one mint in 30 s.
            again = MonotonicTime(self._clock.monotonic() + _RENEW_AGAIN)
            self._held = replace(held, renew_at=again)
        try:
            self._held = renewed = await self._log_in()
        except Fault as fault:
            if (old := self._live()) is not None:
                return old.value
            self._failure = fault
            self._failures += 1
            raise
        self._failure = None
        return renewed.value

    async def _log_in(self) -> _Held:
        answer = await self._route.post(
            _FORM,
            {
                "authorization": self._credentials.basic,
                "content-type": "application/x-www-form-urlencoded",
            },
        )
        if not succeeded(answer):
            raise self._refusal(answer)
        document = members(answer)
        kind = document.get("token_type", "bearer")
        if not isinstance(kind, str) or kind.lower() != "bearer":
            raise Unavailable("the access token is of another type than bearer")
        value = credential(document.get("access_token"))
        life = _life(document.get("expires_in"))
        now = self._clock.monotonic()
        events.emit(events.ISSUER_AUTHENTICATED, expires_in=life, correlation=correlation(answer))
        return _Held(
            value,
            renew_at=MonotonicTime(now + life - min(_EARLY, _FIFTH * life)),
            expires_at=MonotonicTime(now + life),
        )

    def _refusal(self, answer: Answer) -> Fault:
        """What a login that is no success means.

        Nothing in the request depends on a guest, so that every 4xx is about our own settings: 400 an unknown
        client, 401 a wrong secret, 403 a missing grant, 404 a wrong URL. 408 alone is an accident.
        """
        if 400 <= answer.status < 500 and answer.status != 408:  # noqa: PLR2004  RFC 9110 §15.5
            return self._route.refused_us(answer, "unauthenticated")
        return Unavailable("login failed", retry_after=told_wait(answer, self._clock))

    def _live(self) -> _Held | None:
        held = self._held
        return held if held is not None and self._clock.monotonic() < held.expires_at else None

    def _lock(self) -> anyio.Lock:
        lock = self._locks.get()
        if lock is None:
            lock = anyio.Lock()
            self._locks.set(lock)
        return lock


def _life(expires_in: object) -> float:
    """The life of an access token in seconds; what is no sane number counts as the shortest there is."""
    if isinstance(expires_in, bool) or not isinstance(expires_in, int | float) or expires_in <= 0:
        return _SHORTEST
    return min(float(expires_in), _LONGEST)
