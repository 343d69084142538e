"""What is simulated: how many guests, how they come and go, and what they are given."""

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from guestpass.errors import ConfigError

_MOST_GUESTS: Final = 10_000_000
_MOST_SECONDS: Final = 7 * 86_400.0
_MINUTE: Final = 60.0


class Arrivals(StrEnum):
    """The curve by which guests arrive."""

    STEADY = "steady"
    """Evenly over the whole time."""

    BURST = "burst"
    """All within the first minute."""

    STORM = "storm"
    """Steadily, but for an outage half-way; whoever was there comes back within a minute of its end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One question to the simulation; all durations are in seconds.

    Attributes:
        guests: How many arrive in all.
        duration: How long is simulated.
        arrivals: How they arrive.
        lifetime: How long a token lives.
        session: How long a guest stays, on average (exponentially distributed); None: to the end.
        every: The mean time between two requests of a guest (a Poisson process).
        limit: Calls of the issuer allowed in any `window` seconds; None: any number.
        window: See `limit`.
        held: Guests arrive with a token that was minted for them just then, outside the budget.
        outage: How long the outage of a storm lasts.
        seed: The same seed gives the same crowd.
    """

    guests: int = 10_000
    duration: float = 7200.0
    arrivals: Arrivals = Arrivals.STEADY
    lifetime: float = 1800.0
    session: float | None = 1800.0
    every: float = 30.0
    limit: int | None = 300
    window: float = 60.0
    held: bool = False
    outage: float = 600.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.guests <= _MOST_GUESTS:
            raise ConfigError("guests", f"must be 1 to {_MOST_GUESTS:,}")
        if not _MINUTE <= self.duration <= _MOST_SECONDS:
            raise ConfigError("duration", "must be 1 minute to 7 days")
        if not 10 <= self.lifetime <= _MOST_SECONDS:  # noqa: PLR2004  said in the rule
            raise ConfigError("lifetime", "must be 10 seconds to 7 days")
        if self.session is not None and not 1 <= self.session < math.inf:
            raise ConfigError("session", "must be 1 second or more, or off")
        if not 0.1 <= self.every < math.inf:  # noqa: PLR2004  said in the rule
            raise ConfigError("every", "must be 0.1 seconds or more")
        if self.limit is not None and (self.limit < 1 or not 0 < self.window < math.inf):
            raise ConfigError("budget", "must allow at least 1 call in a finite time, or be off")
        if self.arrivals is Arrivals.STORM and not 0 < self.outage <= self.duration / 4:
            raise ConfigError("outage", "must be above zero, and at most a quarter of the duration")

    @property
    def down(self) -> tuple[float, float]:
        """From when to when nobody can make a request; the same instant twice if there is no outage."""
        middle = self.duration / 2
        return middle, middle + (self.outage if self.arrivals is Arrivals.STORM else 0.0)

    @property
    def limit_per_minute(self) -> float | None:
        """The limit as calls a minute."""
        return None if self.limit is None else self.limit * _MINUTE / self.window
