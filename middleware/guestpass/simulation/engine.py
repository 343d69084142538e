"""Runs a crowd through virtual time, calling the gate's own decision at every request that matters."""

from bisect import insort
from collections.abc import Callable
from math import ceil, inf
from operator import attrgetter
from typing import Final

from guestpass.core.decision import Schedule, place
from guestpass.core.model import Policy, UnixTime
from guestpass.core.shares import AGAIN, Priority, fits
from guestpass.simulation.crowd import Crowd
from guestpass.simulation.scenario import Scenario
from guestpass.simulation.tally import Tally
from guestpass.simulation.window import MovingWindow

PATIENCE: Final = 10
"""How often a guest without a token asks for one before giving up."""

_MINUTE: Final = 60
_DUE = attrgetter("due")


class _Guest:
    """One guest: who it is, what it holds, and when it asks next for something that matters."""

    __slots__ = (
        "arrived_at",
        "at",
        "chain",
        "due",
        "ends",
        "exp",
        "leaves",
        "number",
        "refusals",
        "rest_until",
        "spare",
        "tokens",
    )

    def __init__(self, number: int, arrived_at: float, leaves: float, duration: float) -> None:
        self.number = number
        self.arrived_at = arrived_at
        self.leaves = leaves
        self.ends = min(leaves, duration)  # of what is simulated of it
        self.due = UnixTime(arrived_at)
        self.at: Schedule | None = None  # None: it holds no token
        self.exp = UnixTime(0.0)
        self.chain: UnixTime | None = None  # when the chain began; None while its token is the first
        self.spare: UnixTime | None = None  # when the successor that waits for it was minted
        self.tokens = 0
        self.refusals = 0  # of rotations of the present token, or of a first one
        self.rest_until = 0.0  # no call is tried for the present token before


class Engine:
    """One run of one scenario under one policy.

    Time is cut into seconds, each with the list of guests who have something to do in it: a queue that
    costs no comparison to put into, and that is sorted a second at a time.
    """

    def __init__(self, scenario: Scenario, policy: Policy, crowd: Crowd, *, naive: bool = False) -> None:
        """Prepare a run.

        Args:
            scenario: What is simulated.
            policy: Windows in seconds, relative to "exp".
            crowd: Who arrives, and when they ask.
            naive: Call the issuer without a budget of our own, so that its 429 is all that limits calls.
        """
        self._scenario = scenario
        self._policy = policy
        self._crowd = crowd
        self._request_after = crowd.request_after
        self._naive = naive
        self._window = None if scenario.limit is None else MovingWindow(scenario.limit, scenario.window)
        self._seconds: list[list[_Guest]] = [[] for _ in range(ceil(scenario.duration))]
        self._second = 0
        self._position = 0
        # By the number of the phase: a `match` over an enum would be a third of the cost of most requests.
        self._in_phase: Final = (
            self._fresh,
            self._prefetch,
            self._rotate,
            self._expired,
            self._refused,
            self._ended,
        )
        self.tally = Tally(minutes=ceil(scenario.duration / _MINUTE))

    def run(self, progress: Callable[[float], None] = lambda _: None) -> Tally:
        """Run to the end; `progress` is told each minute which part of the time has passed, 0 to 1."""
        seconds, serve = self._seconds, self._serve
        arrivals = enumerate(self._crowd.arrivals())
        number, (arrives, leaves) = next(arrivals, (0, (inf, inf)))
        for self._second in range(len(seconds)):
            now = seconds[self._second]
            while arrives < self._second + 1:
                self.tally.arrived += 1
                now.append(_Guest(number, arrives, leaves, self._scenario.duration))
                number, (arrives, leaves) = next(arrivals, (0, (inf, inf)))
            now.sort(key=_DUE)
            # By index: a guest may have more to do within this very second.
            self._position = 0
            while self._position < len(now):
                serve(now[self._position])
                self._position += 1
            seconds[self._second] = []
            if self._second % _MINUTE == 0:
                progress(self._second / len(seconds))
        progress(1.0)
        return self.tally

    def _serve(self, guest: _Guest) -> None:
        """One request, made at `guest.due`."""
        if guest.at is None:
            self._without_token(guest, guest.due)
        else:
            self._in_phase[guest.at.phase(guest.due)](guest, guest.due, guest.at)

    def _fresh(self, guest: _Guest, now: UnixTime, at: Schedule) -> None:
        """No request matters until the prefetch window, or the end of a session that is too old."""
        self._ask_after(guest, max(now, min(at.prefetch_at, at.session_ends_at)))

    def _prefetch(self, guest: _Guest, now: UnixTime, at: Schedule) -> None:
        wait = self._call(guest, Priority.PREFETCH, now)
        if wait is not None:
            self._rest(guest, now, wait, at)
            return
        guest.spare = now
        self.tally.ahead += 1
        self._ask_after(guest, min(at.rotate_at, at.session_ends_at))

    def _rotate(self, guest: _Guest, now: UnixTime, at: Schedule) -> None:
        if guest.spare is not None:
            self._hold(guest, guest.spare, now)
            return
        wait = self._call(guest, Priority.ROTATION, now)
        if wait is not None:
            guest.refusals += 1
            self._rest(guest, now, wait, at)
            return
        self.tally.late += 1
        self.tally.waited += 1
        self._hold(guest, now, now)

    def _expired(self, guest: _Guest, now: UnixTime, at: Schedule) -> None:
        resting = guest.rest_until - now
        if guest.spare is None and resting > 0:
            self._rest(guest, now, resting, at)
        else:
            self._rotate(guest, now, at)
        # Still the same token: nothing stood in for it.
        self.tally.failed += guest.at is at

    def _refused(self, guest: _Guest, now: UnixTime, at: Schedule) -> None:  # noqa: ARG002  as the others
        # Whose rotation was held back has lost the session to the limit, not to an absence.
        if guest.refusals:
            self.tally.lost += 1
        else:
            self.tally.idle += 1
        self._restart(guest, now)

    def _ended(self, guest: _Guest, now: UnixTime, at: Schedule) -> None:  # noqa: ARG002  as the others
        self.tally.aged += 1
        self._restart(guest, now)

    def _rest(self, guest: _Guest, now: UnixTime, wait: float, at: Schedule) -> None:
        """Leave the token alone; from its expiry on every request counts, as every one of them fails."""
        guest.rest_until = now + wait
        self._ask_after(guest, max(now, min(guest.rest_until, at.expires_at, at.session_ends_at)))

    def _restart(self, guest: _Guest, now: UnixTime) -> None:
        """The token is dead: the browser asks the token endpoint for a new one."""
        guest.at = guest.chain = guest.spare = None
        guest.refusals = 0
        self._without_token(guest, now)

    def _without_token(self, guest: _Guest, now: UnixTime) -> None:
        if not (self._scenario.held and guest.tokens == 0):
            wait = self._call(guest, Priority.FIRST, now)
            if wait is not None:
                guest.refusals += 1
                if guest.refusals == PATIENCE:
                    self.tally.turned_away += 1
                    self._gone(guest, now)
                else:
                    self._ask_after(guest, now + wait)
                return
            self.tally.first += 1
        self._hold(guest, now, now)

    def _hold(self, guest: _Guest, issued_at: UnixTime, now: UnixTime) -> None:
        """Give a guest a token, as its first or in place of the one it held."""
        if guest.at is not None and guest.chain is None:
            guest.chain = UnixTime(guest.exp - self._scenario.lifetime)
        guest.exp = UnixTime(issued_at + self._scenario.lifetime)
        guest.at = at = place(
            expires_at=guest.exp,
            issued_at=issued_at,
            chain_started_at=guest.chain,
            part=self._crowd.part(guest.number, guest.tokens),
            policy=self._policy,
        )
        guest.tokens += 1
        guest.spare = None
        guest.refusals = 0
        guest.rest_until = 0.0
        self._fresh(guest, now, at)

    def _call(self, guest: _Guest, priority: Priority, now: UnixTime) -> float | None:
        """Call the issuer, unless the budget holds the call back; the seconds to wait if it does."""
        minute, window = int(now) // _MINUTE, self._window
        if window is not None:
            rank = Priority.FIRST if self._naive else priority
            remaining = window.remaining(now)
            if not fits(rank, left=guest.exp - now, remaining=remaining, limit=window.limit):
                if self._naive:
                    self.tally.calls[minute] += 1
                    self.tally.refused += 1
                else:
                    self.tally.deferred += 1
                return AGAIN if remaining > 0 else max(window.reset_after(now), AGAIN)
            window.count(now)
        self.tally.calls[minute] += 1
        self.tally.minted[minute] += 1
        return None

    def _ask_after(self, guest: _Guest, instant: float) -> None:
        """Serve the guest at its next request after `instant`, if it is still there."""
        due = self._request_after(guest.number, instant) if instant < guest.ends else inf
        if due >= guest.ends:
            if guest.leaves < self._scenario.duration:
                self.tally.left += 1
            else:
                self.tally.present += 1
            self._gone(guest, guest.ends)
            return
        guest.due = UnixTime(due)
        second = int(due)
        if second == self._second:
            insort(self._seconds[second], guest, lo=self._position + 1, key=_DUE)
        else:
            self._seconds[second].append(guest)

    def _gone(self, guest: _Guest, instant: float) -> None:
        """Count the requests that a guest made in all, those that were not simulated among them."""
        down, up = self._scenario.down
        unreachable = max(0.0, min(instant, up) - max(guest.arrived_at, down))
        self.tally.requests += (instant - guest.arrived_at - unreachable) / self._scenario.every
