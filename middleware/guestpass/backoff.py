"""Back-off towards the issuer: how long nobody asks it, and how long it is not asked for one token."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, TypeVar

import anyio

from guestpass.core.model import MonotonicTime, TokenId
from guestpass.errors import Fault, IssuerMisconfigured, StoreUnavailable, TokenError, Unavailable
from guestpass.ports import Clock, IssuerPause

_FIRST: Final = 1.0
_MOST: Final = 30.0
_MOST_RESTING: Final = 10_000

F = TypeVar("F", bound=Fault)


class IssuerHealth:
    """Closed for a while after each failure, for every token alike, so that no retry storm can start.

    The issuer's own Retry-After is honoured; without one, or with one that is over already (zero, a date in
    the past), the pause doubles from 1 s to 30 s, jittered so that fleets do not come back as one.
    """

    def __init__(self, clock: Clock, shared: IssuerPause | None = None) -> None:
        """Start open; `shared` tells other workers, and is told by them. None: this process is alone."""
        self._clock = clock
        self._shared = shared
        self._told_until = MonotonicTime(float("-inf"))
        self._closed_until = MonotonicTime(float("-inf"))
        self._closed_by: type[Fault] = Unavailable
        self.failures = 0

    def closed_for(self) -> float:
        """Seconds until the issuer may be asked again; 0 if now."""
        return max(0.0, self._closed_until - self._clock.monotonic())

    def check(self) -> None:
        """Return if the issuer may be asked.

        Raises:
            IssuerMisconfigured: It refused our credentials, which no waiting mends: said anew, not as a 503.
            Unavailable: Any other fault closed it; `retry_after` is what is left of the pause.
        """
        if left := self.closed_for():
            raise self._closed_by("backing off from the issuer", retry_after=left)

    def failed(self, fault: F) -> F:
        """Count a failure, close, and give the fault back with the pause as its `retry_after`."""
        pause = fault.retry_after
        if not pause:
            # Jitter spreads load; nothing secret rests on it.
            pause = min(_MOST, _FIRST * 2**self.failures) * random.uniform(0.5, 1.0)  # noqa: S311
            fault.retry_after = pause
        self.failures = min(self.failures + 1, 10)
        self._closed_until = MonotonicTime(self._clock.monotonic() + pause)
        self._closed_by = IssuerMisconfigured if isinstance(fault, IssuerMisconfigured) else Unavailable
        return fault

    async def learn(self) -> None:
        """Close for as long as any worker of the fleet is closed."""
        if self._shared is None:
            return
        left, reason = await self._shared.left()
        if left > self.closed_for():
            self._told_until = self._closed_until = MonotonicTime(self._clock.monotonic() + left)
            self._closed_by = IssuerMisconfigured if reason == IssuerMisconfigured.code else Unavailable

    async def tell(self) -> None:
        """Have every worker of the fleet close for as long as this one, if they do not know yet."""
        if self._shared is not None and self._told_until < self._closed_until:
            self._told_until = self._closed_until
            with anyio.CancelScope(shield=True):
                await self._shared.start(self.closed_for(), self._closed_by.code)

    @contextmanager
    def observing(self) -> Iterator[None]:
        """Judge the issuer by what the block does: a fault closes, an answer of any kind opens."""
        try:
            yield
        except StoreUnavailable:
            raise  # ours, and not the issuer's: it may be asked again as soon as the store is back
        except Fault as fault:
            self.failed(fault)
            raise
        except TokenError:
            self.failures = 0
            raise
        self.failures = 0


class Rest:
    """Tokens that are left alone for a while; bounded, the ones that rest longest forgotten first."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._until: dict[TokenId, MonotonicTime] = {}

    def left(self, token_id: TokenId) -> float:
        """Seconds for which this token is still left alone."""
        until = self._until.get(token_id)
        if until is None:
            return 0.0
        left = until - self._clock.monotonic()
        if left <= 0:
            del self._until[token_id]
        return max(0.0, left)

    def start(self, token_id: TokenId, seconds: float) -> None:
        """Leave a token alone for `seconds`."""
        if seconds <= 0:
            return
        if len(self._until) >= _MOST_RESTING:
            del self._until[next(iter(self._until))]
        self._until[token_id] = MonotonicTime(self._clock.monotonic() + seconds)
