"""The same crowd, request by request: no event is skipped, and every request asks `decide`."""

import random
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import inf
from typing import Any

from guestpass.core.decision import Forward, Genuine, Reject, Rotate, decide
from guestpass.core.model import Claims, Policy, TokenId, UnixTime
from guestpass.core.shares import AGAIN, Priority, fits
from guestpass.errors import SessionExpired
from guestpass.simulation.engine import PATIENCE
from guestpass.simulation.scenario import Scenario
from guestpass.simulation.tally import Tally


class ScriptedCrowd:
    """Every request of every guest is written down before anything runs."""

    def __init__(self, scenario: Scenario) -> None:
        draw = random.Random(scenario.seed)
        down, up = scenario.down
        self.stays: list[tuple[float, float]] = []
        self.requests: list[list[float]] = []
        self.seed = scenario.seed
        for arrives in sorted(draw.uniform(0, scenario.duration / 2) for _ in range(scenario.guests)):
            stay = inf if scenario.session is None else draw.expovariate(1 / scenario.session)
            self.stays.append((arrives, arrives + stay))
            times = [arrives]
            while times[-1] < scenario.duration:
                times.append(times[-1] + draw.expovariate(1 / scenario.every))
            self.requests.append([times[0], *(t for t in times[1:] if not down <= t < up)])

    def arrivals(self) -> Iterator[tuple[float, float]]:
        return iter(self.stays)

    def request_after(self, guest: int, instant: float) -> float:
        times = self.requests[guest]
        index = bisect_right(times, instant)
        return times[index] if index < len(times) else inf

    def part(self, guest: int, token: int) -> float:
        return random.Random(f"{self.seed} {guest} {token}").getrandbits(32) / 2**32


@dataclass
class Visitor:
    held: Genuine | None = None
    spare: float | None = None
    tokens: int = 0
    refusals: int = 0
    rest_until: float = 0.0
    gave_up: bool = False


@dataclass
class Brute:
    """One run; `tally.requests` counts what was made, where the engine has its mean."""

    scenario: Scenario
    policy: Policy
    crowd: ScriptedCrowd
    naive: bool = False
    tally: Tally = field(init=False)
    calls: list[float] = field(default_factory=list)

    def run(self) -> dict[str, Any]:
        scenario, crowd = self.scenario, self.crowd
        self.tally = tally = Tally(minutes=-(-int(scenario.duration) // 60))
        visitors = [Visitor() for _ in crowd.stays]
        made = [
            (instant, number)
            for number, times in enumerate(crowd.requests)
            for instant in times
            if instant == times[0] or instant < min(crowd.stays[number][1], scenario.duration)
        ]
        for instant, number in sorted(made):
            if not visitors[number].gave_up:
                tally.requests += 1
                self.serve(number, visitors[number], instant)
        for visitor, (_, leaves) in zip(visitors, crowd.stays, strict=True):
            tally.arrived += 1
            tally.turned_away += visitor.gave_up
            tally.left += not visitor.gave_up and leaves < scenario.duration
            tally.present += not visitor.gave_up and leaves >= scenario.duration
        return {name: getattr(tally, name) for name in Tally.__slots__ if name != "requests"}

    def serve(self, number: int, visitor: Visitor, now: float) -> None:
        if visitor.held is None:
            self.first(number, visitor, now)
            return
        match decide(visitor.held, self.policy, anonymous=False, now=UnixTime(now)):
            case Forward(_, prefetch=True):
                self.prefetch(visitor, now)
            case Rotate(_, required):
                self.rotate(number, visitor, now, required=required)
            case Reject(error):
                if isinstance(error, SessionExpired):
                    self.tally.aged += 1
                elif visitor.refusals:
                    self.tally.lost += 1
                else:
                    self.tally.idle += 1
                visitor.held, visitor.refusals, visitor.rest_until = None, 0, 0.0
                self.first(number, visitor, now)

    def prefetch(self, visitor: Visitor, now: float) -> None:
        if visitor.spare is None and now >= visitor.rest_until:
            wait = self.call(Priority.PREFETCH, visitor, now)
            if wait is None:
                visitor.spare = now
                self.tally.ahead += 1
            else:
                visitor.rest_until = now + wait

    def rotate(self, number: int, visitor: Visitor, now: float, *, required: bool) -> None:
        if visitor.spare is not None:
            self.hold(number, visitor, visitor.spare)
            return
        if now >= visitor.rest_until:
            wait = self.call(Priority.ROTATION, visitor, now)
            if wait is None:
                self.tally.late += 1
                self.tally.waited += 1
                self.hold(number, visitor, now)
                return
            visitor.refusals += 1
            visitor.rest_until = now + wait
        self.tally.failed += required

    def first(self, number: int, visitor: Visitor, now: float) -> None:
        if now < visitor.rest_until:
            return
        if not (self.scenario.held and visitor.tokens == 0):
            wait = self.call(Priority.FIRST, visitor, now)
            if wait is not None:
                visitor.refusals += 1
                visitor.gave_up = visitor.refusals == PATIENCE
                visitor.rest_until = now + wait
                return
            self.tally.first += 1
        self.hold(number, visitor, now)

    def hold(self, number: int, visitor: Visitor, issued_at: float) -> None:
        exp = issued_at + self.scenario.lifetime
        old = visitor.held
        claims = Claims(
            issuer="",
            subject="",
            expires_at=UnixTime(exp),
            issued_at=UnixTime(issued_at),
            name="",
            email="",
            payload=b"{}",
        )
        digest = int(self.crowd.part(number, visitor.tokens) * 2**32).to_bytes(4, "big") + bytes(28)
        began = None
        if old is not None:
            began = old.chain_started_at or UnixTime(old.claims.expires_at - self.scenario.lifetime)
        visitor.held = Genuine(claims, TokenId(digest), None, began)
        visitor.tokens += 1
        visitor.spare, visitor.refusals, visitor.rest_until = None, 0, 0.0

    def call(self, priority: Priority, visitor: Visitor, now: float) -> float | None:
        limit, minute = self.scenario.limit, int(now) // 60
        if limit is not None:
            within = [instant for instant in self.calls if instant > now - self.scenario.window]
            left = 0.0 if visitor.held is None else visitor.held.claims.expires_at - now
            rank = Priority.FIRST if self.naive else priority
            if not fits(rank, left=left, remaining=limit - len(within), limit=limit):
                self.tally.calls[minute] += self.naive
                self.tally.refused += self.naive
                self.tally.deferred += not self.naive
                full = len(within) >= limit
                return max(AGAIN, within[0] + self.scenario.window - now) if full else AGAIN
            self.calls = [*within, now]
        self.tally.calls[minute] += 1
        self.tally.minted[minute] += 1
        return None
