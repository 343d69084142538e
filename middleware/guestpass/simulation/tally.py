"""What a simulation counted, and the figures that follow from it."""

from dataclasses import dataclass, field
from math import ceil
from typing import Final

_MINUTE: Final = 60.0


@dataclass(slots=True, kw_only=True)
class Tally:
    """Counts of one run.

    Attributes:
        minutes: How many minutes were simulated, the last perhaps in part.
        calls: Calls of the issuer in each minute, refused ones included.
        minted: Tokens minted in each minute.
        first: Tokens minted for guests who had none.
        ahead: Successors minted in the prefetch window.
        late: Successors minted in the rotation window or in grace, while a request waited.
        refused: Calls that the issuer answered with 429, as nothing held them back.
        deferred: Calls that the budget held back.
        requests: Requests made, as their mean number.
        waited: Requests that found no successor ready and minted one.
        failed: Requests whose token had expired while no successor could be minted.
        arrived: Guests who came.
        left: Guests who went of their own accord.
        turned_away: Guests who gave up without a token.
        present: Guests who are there at the end.
        lost: Sessions that ended because no successor could be minted in time.
        idle: Sessions that ended because their guest asked for nothing while it could be rotated.
        aged: Sessions that ended by their maximum age.
    """

    minutes: int
    calls: list[int] = field(init=False)
    minted: list[int] = field(init=False)
    first: int = 0
    ahead: int = 0
    late: int = 0
    refused: int = 0
    deferred: int = 0
    requests: float = 0.0
    waited: int = 0
    failed: int = 0
    arrived: int = 0
    left: int = 0
    turned_away: int = 0
    present: int = 0
    lost: int = 0
    idle: int = 0
    aged: int = 0

    def __post_init__(self) -> None:
        self.calls = [0] * self.minutes
        self.minted = [0] * self.minutes

    @property
    def mints(self) -> int:
        """Tokens minted in all."""
        return self.first + self.ahead + self.late

    @property
    def mean(self) -> float:
        """Tokens minted a minute over the whole time."""
        return sum(self.minted) / self.minutes

    @property
    def peak(self) -> int:
        """Calls in the busiest minute: what the issuer has to stand."""
        return max(self.calls)

    def mean_over(self, period: float) -> float:
        """Tokens minted a minute over the busiest `period` seconds, in whole minutes."""
        width = min(self.minutes, max(1, ceil(period / _MINUTE)))
        busiest = within = sum(self.minted[:width])
        for old, new in zip(self.minted, self.minted[width:], strict=False):
            within += new - old
            busiest = max(busiest, within)
        return busiest / width

    def unevenness(self, period: float) -> float:
        """The peak of calls over the mean of mints in the busiest period: 1 is as even as can be."""
        mean = self.mean_over(period)
        return self.peak / mean if mean else 1.0

    def headroom(self, limit_per_minute: float) -> float:
        """The part of the limit that the busiest minute left unused; negative if calls went over it."""
        return 1.0 - self.peak / limit_per_minute
