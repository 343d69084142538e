"""Cache arithmetic for a set of keys: how good the copy is, and when to ask for it again (RFC 9111 §4.2).

                       |<---------- lifetime ---------->|
   fetched |---- FRESH ----|---------- DUE -------------|------ STALE ------| DEAD
           0               refresh_ahead x lifetime     lifetime            max_stale

A fresh copy is left alone; one that is due may be refreshed ahead of time; a stale one must be refreshed but
serves while that fails; a dead one verifies nothing. Two pauses hold attempts apart: the back-off after
a failure, and the cooldown between two questions for a key that the copy lacks.
"""

from dataclasses import dataclass, field, replace
from enum import Enum
from math import isfinite
from typing import Final

from guestpass.core.model import MonotonicTime
from guestpass.errors import ConfigError

NEVER: Final = MonotonicTime(float("-inf"))

_MAX_DOUBLINGS: Final = 30  # any back-off is at its most by then, and 2**n stays a small number


class State(Enum):
    """How good a copy is at an instant."""

    FRESH = "fresh"
    DUE = "due"
    STALE = "stale"
    DEAD = "dead"


@dataclass(frozen=True, slots=True, kw_only=True)
class Freshness:
    """How long a fetched set is relied on; every duration is in seconds.

    Attributes:
        max_age: Lifetime of a copy where the answer names none, and the longest that an answer can name.
        min_age: The shortest lifetime that an answer can name; never more than `max_age`.
        refresh_ahead: The fraction of its lifetime after which a copy is refreshed in the background.
        max_stale: How long after the last success a copy still serves while refreshing it fails.
        cooldown: How long after a token with an unknown kid has caused an attempt none causes another.
        retry: The pause after a first failure, and after each failure while there is no copy to serve.
        max_retry: The longest pause between failures while a copy serves.
    """

    max_age: float = 600.0
    min_age: float = 60.0
    refresh_ahead: float = 0.8
    max_stale: float = 3_600.0
    cooldown: float = 30.0
    retry: float = 1.0
    max_retry: float = 60.0

    def __post_init__(self) -> None:
        for name in ("max_age", "max_stale", "retry", "max_retry"):
            if not (isfinite(value := getattr(self, name)) and value > 0):
                raise ConfigError(f"verify.{name}", "must be a finite number of seconds above zero")
        for name in ("min_age", "cooldown"):
            if not (isfinite(value := getattr(self, name)) and value >= 0):
                raise ConfigError(f"verify.{name}", "must be a finite number of seconds, zero or more")
        if not 0 < self.refresh_ahead <= 1:
            raise ConfigError("verify.refresh_ahead", "must be above 0 and at most 1")
        if self.max_stale < self.max_age:
            raise ConfigError("verify.max_stale", "must not be shorter than verify.max_age")

    def lifetime(self, max_age: float | None) -> float:
        """Clamp what an answer says of its own lifetime: neither 0 nor 10^13 may decide how often we ask.

        Zero would have every request ask the issuer; an enormous value would keep a stolen key alive.
        """
        if max_age is None:
            return self.max_age
        return max(min(self.min_age, self.max_age), min(max_age, self.max_age))


@dataclass(frozen=True, slots=True, kw_only=True)
class Upkeep:
    """What has happened to a copy so far, and so what is to happen next. A value: events make new ones.

    Attributes:
        rules: The durations that hold.
        fetched_at: When the copy was fetched; `NEVER` if there is none.
        lifetime: Seconds from `fetched_at` for which the copy needs no refresh.
        asked_at: When a key that the copy lacked was last asked for, whatever became of it.
        retry_at: When the last failure has been paused for; `NEVER` after a success.
        failures: Attempts that failed since the last success.
    """

    rules: Freshness
    fetched_at: MonotonicTime = NEVER
    lifetime: float = 0.0
    asked_at: MonotonicTime = NEVER
    retry_at: MonotonicTime = NEVER
    failures: int = 0
    recheck_at: MonotonicTime = field(init=False)
    """When a request must see to a refresh: once stale and not backing off, and always once dead.

    Computed once, as every request compares it with the clock.
    """

    def __post_init__(self) -> None:
        object.__setattr__(self, "recheck_at", min(max(self.stale_at, self.retry_at), self.dead_at))

    @property
    def stale_at(self) -> MonotonicTime:
        """From here on the copy is only relied on while refreshing it fails."""
        return MonotonicTime(self.fetched_at + self.lifetime)

    @property
    def dead_at(self) -> MonotonicTime:
        """From here on the copy is not relied on at all."""
        return MonotonicTime(self.fetched_at + self.rules.max_stale)

    @property
    def refresh_at(self) -> MonotonicTime:
        """When a refresh in the background is to begin."""
        ahead = self.fetched_at + self.rules.refresh_ahead * self.lifetime
        return MonotonicTime(max(ahead, self.retry_at))

    def state(self, now: MonotonicTime) -> State:
        """How good the copy is; each state begins *on* its instant."""
        if now >= self.dead_at:
            return State.DEAD
        if now >= self.stale_at:
            return State.STALE
        if now >= self.fetched_at + self.rules.refresh_ahead * self.lifetime:
            return State.DUE
        return State.FRESH

    def usable(self, now: MonotonicTime) -> bool:
        """Whether the copy may verify anything."""
        return now < self.dead_at

    def may_ask_for_key(self, now: MonotonicTime) -> bool:
        """Whether a key that the copy lacks may be asked for now.

        Only such questions start the cooldown, as only they are at a stranger's will. A scheduled refresh
        does not, or a key that the issuer starts to sign with just after one would be refused for as long.
        """
        return now >= max(self.asked_at + self.rules.cooldown, self.retry_at)

    def asking(self, now: MonotonicTime) -> "Upkeep":
        """A key is asked for. Counted before the outcome, as an attempt that is cancelled has none."""
        return replace(self, asked_at=now)

    def succeeded(self, now: MonotonicTime, *, max_age: float | None) -> "Upkeep":
        """An attempt brought a new copy, which gives itself `max_age` seconds if not None."""
        lifetime = self.rules.lifetime(max_age)
        return Upkeep(rules=self.rules, fetched_at=now, lifetime=lifetime, asked_at=self.asked_at)

    def failed(self, now: MonotonicTime, *, jitter: float) -> "Upkeep":
        """An attempt brought nothing.

        The pause doubles with each failure while a copy serves. Without one every request fails, so it
        never outlasts `retry`, and a copy that dies during a pause cuts it short.

        Args:
            now: When the attempt ended.
            jitter: In [0.5, 1]; shortens the pause, so that a fleet does not come back as one.
        """
        rules = self.rules
        shortest = now + rules.retry * jitter
        doubled = rules.retry * 2 ** min(self.failures, _MAX_DOUBLINGS)
        pause_ends = now + max(rules.retry, min(doubled, rules.max_retry)) * jitter
        retry_at = MonotonicTime(min(pause_ends, max(shortest, self.dead_at)))
        return replace(self, retry_at=retry_at, failures=self.failures + 1)


def stated_max_age(cache_control: str) -> float | None:
    """Read how long an answer says it may be kept (RFC 9111 §5.2.2); None if it does not say.

    An answer that forbids keeping it counts as 0, which `Freshness.lifetime` then clamps. The first
    "max-age" counts (§4.2.1), and one that is no number is as if absent.
    """
    stated: float | None = None
    for directive in cache_control.split(","):
        name, _, value = directive.strip().partition("=")
        match name.lower():
            case "no-store" | "no-cache":
                return 0.0
            case "max-age" if stated is None:
                digits = value.strip('"')  # both forms are to be understood (§5.2)
                if digits.isascii() and digits.isdigit():
                    # float, not int: a string of 5,000 digits is a ValueError for int, and inf for float.
                    stated = float(digits)
            case _:
                pass
    return stated
