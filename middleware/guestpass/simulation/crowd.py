"""The guests' own doing: when they arrive, ask and leave, and how their tokens' ids fall."""

import math
import random
from collections.abc import Iterator
from typing import Final, Protocol

from guestpass.simulation.scenario import Arrivals, Scenario

_MINUTE: Final = 60.0


class Crowd(Protocol):
    """What the engine asks of the guests, who are known by number."""

    def arrivals(self) -> Iterator[tuple[float, float]]:
        """When each guest arrives and leaves, in the order of arrival."""
        ...

    def request_after(self, guest: int, instant: float) -> float:
        """When the guest's first request after `instant` is made."""
        ...

    def part(self, guest: int, token: int) -> float:
        """By which part of the spread the guest's n-th token moves, 0 to 1."""
        ...


class RandomCrowd:
    """Guests who arrive by the scenario's curve and ask in a Poisson process.

    Such a process has no memory: from any instant on, the time to the next request is drawn from the same
    exponential distribution, whatever came before. So of all the requests of a guest only those are drawn
    that find something to do, and an hour of ten thousand requests costs as much as one of ten.
    """

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self._every = scenario.every
        self._draw = random.Random(scenario.seed).random  # noqa: S311  a simulation, with a seed
        self._down, self._up = scenario.down

    def arrivals(self) -> Iterator[tuple[float, float]]:
        """As the protocol says."""
        scenario, draw = self._scenario, self._draw
        over = _MINUTE if scenario.arrivals is Arrivals.BURST else scenario.duration
        for instant in sorted(self._reachable(draw() * over) for _ in range(scenario.guests)):
            stay = math.inf if scenario.session is None else -math.log(1.0 - draw()) * scenario.session
            yield instant, instant + stay

    def request_after(self, guest: int, instant: float) -> float:  # noqa: ARG002  all guests are alike
        """As the protocol says."""
        due = instant - math.log(1.0 - self._draw()) * self._every
        return self._reachable(due) if self._down <= due < self._up else due

    def part(self, guest: int, token: int) -> float:  # noqa: ARG002  a digest is as good as a draw
        """As the protocol says."""
        return self._draw()

    def _reachable(self, instant: float) -> float:
        """`instant`, or a moment of the minute after the outage that it falls into."""
        if self._down <= instant < self._up:
            return self._up + self._draw() * _MINUTE
        return instant
