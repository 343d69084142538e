"""The vendor's time: a clock that can be advanced, and the error it makes when it stamps things."""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from math import isfinite
from typing import Final, Protocol

from guestpass.core.model import MonotonicTime, UnixTime
from guestpass.errors import ConfigError

_LIMIT: Final = 1e9  # seconds: some thirty years, so that every date can still be written


class TimeSource(Protocol):
    """Where time comes from; `guestpass.testing.FrozenClock` is one."""

    def time(self) -> UnixTime:
        """Wall-clock seconds since the epoch."""
        ...

    def monotonic(self) -> MonotonicTime:
        """Seconds that never step."""
        ...


class MachineTime:
    """The operating system's clocks."""

    def time(self) -> UnixTime:
        """Wall-clock seconds since the epoch."""
        return UnixTime(time.time())

    def monotonic(self) -> MonotonicTime:
        """Seconds that never step."""
        return MonotonicTime(time.monotonic())


@dataclass(frozen=True, slots=True, kw_only=True)
class Skew:
    """By how many seconds each stamp differs from the vendor's own time.

    Attributes:
        iat: Added to "iat".
        nbf: Added to "nbf".
        exp: Added to "exp", and to `expires_at` with it.
        date: Added to the Date field.
    """

    iat: float = 0.0
    nbf: float = 0.0
    exp: float = 0.0
    date: float = 0.0

    def __add__(self, other: "Skew") -> "Skew":
        return Skew(
            iat=self.iat + other.iat,
            nbf=self.nbf + other.nbf,
            exp=self.exp + other.exp,
            date=self.date + other.date,
        )


STAMPS: Final = tuple(stamp.name for stamp in fields(Skew))
"""What can be skewed."""


class VendorClock:
    """The time that the fake lives by.

    Args:
        source: What it runs on; `advance` moves this clock only, never the source.
    """

    def __init__(self, source: TimeSource | None = None) -> None:
        self._source = source or MachineTime()
        self._ahead = 0.0
        self.skew = Skew()

    def time(self) -> UnixTime:
        """Wall-clock seconds since the epoch."""
        return UnixTime(self._source.time() + self._ahead)

    def monotonic(self) -> MonotonicTime:
        """Seconds that never step back; what the rate limit runs on."""
        return MonotonicTime(self._source.monotonic() + self._ahead)

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass at once.

        Raises:
            ConfigError: Not a finite number of seconds, zero or more.
        """
        if not 0 <= seconds <= _LIMIT:
            raise ConfigError("advance", "must be a number of seconds from 0 to 1e9")
        self._ahead += seconds

    def set_skew(self, seconds: float | Mapping[str, float]) -> None:
        """Stamp wrongly from now on: everything by as much, or each stamp by its own error.

        Args:
            seconds: For all of `STAMPS`, or by name; a stamp that is not named becomes right again.

        Raises:
            ConfigError: An unknown stamp, or an error that is not a finite number of seconds.
        """
        by_stamp = seconds if isinstance(seconds, Mapping) else dict.fromkeys(STAMPS, seconds)
        self.skew = skew_of("skew", by_stamp)

    def reset(self) -> None:
        """Back to the source's own time, and stamp rightly."""
        self._ahead = 0.0
        self.skew = Skew()

    def state(self) -> dict[str, object]:
        """The time, how far `advance` has moved it, and the skew."""
        return {"time": self.time(), "ahead": self._ahead, "skew": asdict(self.skew)}


def skew_of(field: str, by_stamp: Mapping[str, float]) -> Skew:
    """Check stamps and their errors.

    Raises:
        ConfigError: Naming `field` and the rule.
    """
    for stamp, seconds in by_stamp.items():
        if stamp not in STAMPS:
            raise ConfigError(f"{field}.{stamp}", f"must be one of {', '.join(STAMPS)}")
        if not isfinite(seconds) or abs(seconds) > _LIMIT:
            raise ConfigError(f"{field}.{stamp}", "must be a number of seconds from -1e9 to 1e9")
    return Skew(**by_stamp)
