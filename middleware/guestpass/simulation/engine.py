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
_DUE: Final = attrgetter("due")
_NEVER: Final = UnixTime(inf)
_NO_TOKEN: Final = Schedule(_NEVER, _NEVER, _NEVER, _NEVER, _NEVER)


class _Guest:
    """One guest: who it is, what it holds, and when it asks next for something that matters.

    What most requests look at is kept at hand, as of a million guests hardly any is in the processor's cache.
    """

    __slots__ = (
        "act",
        "arrived_at",
        "at",
        "chain",
        "due",
        "ends",
        "exp",
        "lasts",
        "leaves",
        "number",
        "refusals",
        "rest_until",
        "spare",
        "tokens",
        "until",
    )

    def __init__(self, number: int, arrived_at: float, leaves: float, duration: float, act: "_Act") -> None:
        self.act = act  # what its next request does
        self.until = inf  # unless it is made at this instant or later: then the token's phase is another
        self.number = number
        self.arrived_at = arrived_at
        self.leaves = leaves
        self.ends = min(leaves, duration)  # of what is simulated of it
        self.due = UnixTime(arrived_at)
        self.at = _NO_TOKEN
        self.lasts = inf  # until when its token passes by itself
        self.exp = UnixTime(0.0)
        self.chain: UnixTime | None = None  # when the chain began; None while its token is the first
        self.spare: UnixTime | None = None  # when the successor that waits for it was minted
        self.tokens = 0
        self.refusals = 0  # of rotations of the present token, or of a first one
        self.rest_until = 0.0  # no call for the present token before; kept where that is past `lasts`


_Act = Callable[[_Guest, UnixTime], None]


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
        self._second = self._minute = 0
        # A naive proxy has no budget of its own to share out: all of the issuer's limit is open to any call.
        self._ahead: Final = Priority.FIRST if naive else Priority.PREFETCH
        self._due: Final = Priority.FIRST if naive else Priority.ROTATION
        # By the number of the phase: what a request does in it, and when it ends.
        self._in_phase: Final[tuple[tuple[_Act, Callable[[Schedule], float]], ...]] = (
            (self._fresh, attrgetter("prefetch_at")),
            (self._prefetch, attrgetter("rotate_at")),
            (self._rotate, attrgetter("expires_at")),
            (self._expired, attrgetter("refused_at")),
            (self._refused, attrgetter("session_ends_at")),
            (self._ended, _never),
        )
        self.tally = Tally(minutes=ceil(scenario.duration / _MINUTE))

    def run(self, progress: Callable[[float], None] = lambda _: None) -> Tally:
        """Run to the end; `progress` is told each minute which part of the time has passed, 0 to 1."""
        seconds, serve = self._seconds, self._serve
        arrivals = enumerate(self._crowd.arrivals())
        number, (arrives, leaves) = next(arrivals, (0, (inf, inf)))
        for self._second, now in enumerate(seconds):
            self._minute = self._second // _MINUTE
            while arrives < self._second + 1:
                self.tally.arrived += 1
                now.append(_Guest(number, arrives, leaves, self._scenario.duration, self._without_token))
                number, (arrives, leaves) = next(arrivals, (0, (inf, inf)))
            # The latest first, as they are taken from the end: one may have more to do within this second.
            now.sort(key=_DUE, reverse=True)
            while now:
                serve(now.pop())
            if self._second % _MINUTE == 0:
                progress(self._second / len(seconds))
        progress(1.0)
        return self.tally

    def _serve(self, guest: _Guest) -> None:
        """One request, made at `guest.due`."""
        now = guest.due
        if now >= guest.until:
            at = guest.at
            guest.act, ends = self._in_phase[at.phase(now)]
            guest.until = min(ends(at), at.session_ends_at)
        guest.act(guest, now)

    def _fresh(self, guest: _Guest, now: UnixTime) -> None:
        """No request matters until the prefetch window, or the end of a session that is too old."""
        self._ask_after(guest, max(now, guest.until))

    def _prefetch(self, guest: _Guest, now: UnixTime) -> None:
        wait = self._call(guest, self._ahead, now)
        if wait is not None:
            self._rest(guest, now, wait)
            return
        guest.spare = now
        self.tally.ahead += 1
        self._ask_after(guest, guest.until)

    def _rotate(self, guest: _Guest, now: UnixTime) -> None:
        if guest.spare is not None:
            self._hold(guest, guest.spare, now)
            return
        wait = self._call(guest, self._due, now)
        if wait is not None:
            guest.refusals += 1
            self._rest(guest, now, wait)
            return
        self.tally.late += 1
        self.tally.waited += 1
        self._hold(guest, now, now)

    def _expired(self, guest: _Guest, now: UnixTime) -> None:
        at, resting = guest.at, guest.rest_until - now
        if guest.spare is None and resting > 0:
            self._rest(guest, now, resting)
        else:
            self._rotate(guest, now)
        # Still the same token: nothing stood in for it.
        self.tally.failed += guest.at is at

    def _refused(self, guest: _Guest, now: UnixTime) -> None:
        # Whose rotation was held back has lost the session to the limit, not to an absence.
        if guest.refusals:
            self.tally.lost += 1
        else:
            self.tally.idle += 1
        self._restart(guest, now)

    def _ended(self, guest: _Guest, now: UnixTime) -> None:
        self.tally.aged += 1
        self._restart(guest, now)

    def _rest(self, guest: _Guest, now: UnixTime, wait: float) -> None:
        """Leave the token alone; from its expiry on every request counts, as every one of them fails."""
        instant = now + wait
        if instant > guest.lasts:
            guest.rest_until = instant
            instant = max(now, guest.lasts)
        self._ask_after(guest, instant)

    def _restart(self, guest: _Guest, now: UnixTime) -> None:
        """The token is dead: the browser asks the token endpoint for a new one."""
        guest.chain = guest.spare = None
        guest.at, guest.until = _NO_TOKEN, inf
        guest.act = self._without_token
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
        if guest.at is not _NO_TOKEN and guest.chain is None:
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
        guest.lasts = min(at.expires_at, at.session_ends_at)
        guest.until = min(at.prefetch_at, at.session_ends_at)
        self._fresh(guest, now)

    def _call(self, guest: _Guest, priority: Priority, now: UnixTime) -> float | None:
        """Call the issuer, unless the budget holds the call back; the seconds to wait if it does."""
        window = self._window
        if window is not None:
            remaining = window.remaining(now)
            if not fits(priority, left=guest.exp - now, remaining=remaining, limit=window.limit):
                if self._naive:
                    self.tally.calls[self._minute] += 1
                    self.tally.refused += 1
                else:
                    self.tally.deferred += 1
                return AGAIN if remaining > 0 else max(window.reset_after(now), AGAIN)
            window.count(now)
        self.tally.calls[self._minute] += 1
        self.tally.minted[self._minute] += 1
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
            insort(self._seconds[second], guest, key=_latest_first)
        else:
            self._seconds[second].append(guest)

    def _gone(self, guest: _Guest, instant: float) -> None:
        """Count the requests that a guest made in all, those that were not simulated among them."""
        down, up = self._scenario.down
        unreachable = max(0.0, min(instant, up) - max(guest.arrived_at, down))
        self.tally.requests += (instant - guest.arrived_at - unreachable) / self._scenario.every


def _never(_: Schedule) -> float:
    return inf


def _latest_first(guest: _Guest) -> float:
    return -guest.due
