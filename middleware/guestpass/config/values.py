"""What a single setting can be: a secret, a rate, a duration, a URL; and the rules each must keep."""

import math
import re
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final
from urllib.parse import SplitResult, urlsplit

from guestpass.errors import ConfigError

_UNITS: Final = {"second": 1.0, "minute": 60.0, "hour": 3600.0, "day": 86_400.0}
_RATE: Final = re.compile(r"([1-9][0-9]{0,8}) ?(?:/|per) ?([1-9][0-9]{0,4})? ?(second|minute|hour|day)s?")
_SUFFIXES: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_DURATION: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?(ms|s|m|h|d)?")


class Secret:
    """A string that no repr, log, dump or error shows; `reveal` is the one way to it."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The secret itself, for the one place that needs it."""
        return self._value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._value == other._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __repr__(self) -> str:
        return "Secret(<redacted>)"


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `hits` in any `seconds`."""

    hits: int
    seconds: float

    def __post_init__(self) -> None:
        if self.hits < 1 or not 0 < self.seconds < math.inf:
            raise ConfigError("rate", "must allow at least 1 hit in a finite time")

    def __str__(self) -> str:
        unit = next((unit for unit, seconds in _UNITS.items() if seconds == self.seconds), None)
        return f"{self.hits}/{unit}" if unit else f"{self.hits} per {self.seconds:g} seconds"


def parse_rate(field: str, text: str) -> Rate:
    """Read a rate such as `100/minute` or `10 per 5 minutes`; zero is refused, as it would lock everyone out.

    Raises:
        ConfigError: It is none.
    """
    match = _RATE.fullmatch(text.strip().lower())
    if match is None:
        raise ConfigError(field, "must be a count above zero per time, such as 100/minute, or off")
    return Rate(int(match[1]), int(match[2] or 1) * _UNITS[match[3]])


def parse_duration(field: str, text: str) -> float:
    """Read seconds from `300`, `0.5`, `500ms`, `300s`, `5m`, `24h` or `7d`.

    Raises:
        ConfigError: It is none.
    """
    match = _DURATION.fullmatch(text.strip().lower())
    if match is None:
        raise ConfigError(field, "must be seconds, or a number with one of ms, s, m, h, d, such as 5m")
    return float(match[1]) * _SUFFIXES[match[2] or "s"]


def require_url(field: str, text: str, *, encrypted: bool = False) -> None:
    """Check that `text` is a plain http or https URL.

    A user or password in a URL would end up in logs, a query or fragment would be cut off by what is
    appended to it, and a comma is how lists are written in the environment.

    Args:
        field: The setting, for the error.
        text: Its value; never part of the error.
        encrypted: Refuse `http` unless the host is loopback: tokens and credentials travel there.

    Raises:
        ConfigError: It is not.
    """
    parts = _split(field, text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(field, "must be an http:// or https:// URL")
    if parts.username is not None or parts.password is not None:
        raise ConfigError(field, "must not hold a user or password")
    if parts.query or parts.fragment or any(character in text for character in "?#, \t\r\n\\"):
        raise ConfigError(field, "must not hold a query, a fragment, a comma, a backslash or a blank")
    if encrypted and parts.scheme == "http" and not is_loopback(parts.hostname):
        raise ConfigError(field, "must be https:// unless its host is loopback")


def require_origin(field: str, text: str) -> None:
    """Check that `text` is an origin (RFC 6454 §6.2): scheme, host and at most a port, nothing after.

    Raises:
        ConfigError: It is not.
    """
    require_url(field, text)
    if _split(field, text).path or text != text.lower():
        raise ConfigError(
            field, "must be scheme, host and port alone, in lower case, such as https://shop.example"
        )


def require_above_zero(section: str, settings: object, *names: str) -> None:
    """Check that these settings of a section are finite and above zero: zero would stop everything.

    Raises:
        ConfigError: One is not.
    """
    for name in names:
        if not 0 < getattr(settings, name) < math.inf:
            raise ConfigError(f"{section}.{name}", "must be a finite number above zero")


def is_loopback(host: str) -> bool:
    """Whether `host` can only be this machine."""
    if host == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _split(field: str, text: str) -> SplitResult:
    try:
        parts = urlsplit(text)
        _ = parts.port  # raises where it is no number or out of range
    except ValueError:
        raise ConfigError(field, "must be a URL") from None  # its text quotes the URL
    return parts
