"""One rule of misbehaviour: on which route, at which of its calls, and how.

| action | what happens | parameters |
|---|---|---|
| `rate_limited` | 429 | `retry_after`, `seconds` |
| `server_error` | an error in place of an answer | `status`, `body` |
| `html` | 200 and an HTML page | |
| `redirect` | 302 | `location` |
| `slow` | the right answer, late | `seconds` |
| `drip` | the right answer, its body octet by octet | `seconds` between two |
| `hang` | no answer for as long as the client waits; no handler runs | |
| `reset_before` | the connection is closed without an answer; no handler runs | |
| `reset_after` | the same, but the handler has run: minted, and the reply is lost | |
| `truncated` | half of the body, and the connection is closed | |
| `malformed` | half of the body as a whole answer: broken JSON | |
| `wrong_content_type` | the right body as text/plain | |
| `huge` | the right document, blown up with blanks | `size` octets |
| `skew` | one stamp of the answer is wrong | `stamp`, `seconds` |
| `access_token_expired` | login: the new access token is dead; elsewhere: 401, the bearer has died | |
| `forbidden` | mint: 403, the role lacks the right | |
| `token_missing`, `token_not_a_string`, `token_with_line_break` | minting: no, or no usable, token | |
| `token_expired`, `token_without_exp`, `token_other_issuer`, `token_other_subject` | minting: its claims | |
| `token_unsigned`, `token_unpublished_key` | minting: `alg: none`; a key that nobody knows | |
| `expires_at_garbage`, `expires_at_late` | mint: not an instant; an hour later than "exp" | |
| `duplicate_kid`, `broken_neighbour` | JWKS: a second key of the same kid; an unreadable key | |

Minting is the routes `mint`, `exchange` and `refresh`. Waiting is real time, whatever the clock says.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from guestpass.errors import ConfigError
from guestpass.fake_vendor.clock import STAMPS, Skew
from guestpass.fake_vendor.ids import Ids

ROUTES: Final = ("login", "mint", "jwks", "me", "exchange", "refresh", "revoke")

_EVERYWHERE: Final = frozenset(ROUTES)
_PLATFORM: Final = frozenset({"login", "mint", "me"})
_MINT: Final = frozenset({"mint"})
_MINTING: Final = frozenset({"mint", "exchange", "refresh"})
_JWKS: Final = frozenset({"jwks"})
ACTIONS: Final[Mapping[str, frozenset[str]]] = {
    "rate_limited": _EVERYWHERE,
    "server_error": _EVERYWHERE,
    "html": _EVERYWHERE,
    "redirect": _EVERYWHERE,
    "slow": _EVERYWHERE,
    "drip": _EVERYWHERE,
    "hang": _EVERYWHERE,
    "reset_before": _EVERYWHERE,
    "reset_after": _EVERYWHERE,
    "truncated": _EVERYWHERE,
    "malformed": _EVERYWHERE,
    "wrong_content_type": _EVERYWHERE,
    "huge": _EVERYWHERE,
    "skew": _EVERYWHERE,
    "access_token_expired": _PLATFORM,
    "forbidden": _MINT,
    "token_missing": _MINTING,
    "token_not_a_string": _MINTING,
    "token_with_line_break": _MINTING,
    "token_expired": _MINTING,
    "token_without_exp": _MINTING,
    "token_other_issuer": _MINTING,
    "token_other_subject": _MINTING,
    "token_unsigned": _MINTING,
    "token_unpublished_key": _MINTING,
    "expires_at_garbage": _MINT,
    "expires_at_late": _MINT,
    "duplicate_kid": _JWKS,
    "broken_neighbour": _JWKS,
}
"""Every action, and the routes it means something on."""

_CHOICES: Final[Mapping[str, tuple[str, ...]]] = {
    "body": ("envelope", "html", "empty"),
    "retry_after": ("seconds", "http_date", "past", "absent", "garbage", "day"),
    "stamp": STAMPS,
}
_MOST_CALLS: Final = 1_000_000_000
_RANGES: Final[Mapping[str, tuple[int, int]]] = {
    "nth": (1, _MOST_CALLS),
    "first": (1, _MOST_CALLS),
    "probability": (0, 1),
    "seconds": (-1_000_000_000, 1_000_000_000),  # some thirty years, so that every date can be written
    "status": (500, 599),
    "size": (1, 256 * 1024 * 1024),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """When to misbehave, and how. Without `nth`, `first` and `probability`: at every call.

    Attributes:
        action: One of `ACTIONS`.
        route: One of `ROUTES`, or `*` for all that the action means something on.
        nth: At the nth call alone, counted from 1 since the rule was added.
        first: At the first so many calls.
        probability: At each call with this probability, drawn from the seed.
        seconds: How long; for `rate_limited` the Retry-After, for `skew` the error.
        status: For `server_error`: 500 to 599.
        body: For `server_error`: `envelope`, `html` or `empty`.
        retry_after: For `rate_limited`: how it is written: `seconds`, `http_date`, an HTTP-date in the
            `past`, `absent`, `garbage`, or a whole `day`.
        stamp: For `skew`: `iat`, `nbf`, `exp` or `date`.
        location: For `redirect`.
        size: For `huge`.
    """

    action: str
    route: str = "*"
    nth: int | None = None
    first: int | None = None
    probability: float | None = None
    seconds: float = 1.0
    status: int = 503
    body: str = "envelope"
    retry_after: str = "seconds"
    stamp: str = "iat"
    location: str = "/elsewhere"
    size: int = 8 * 1024 * 1024

    def __post_init__(self) -> None:
        _one_of("action", self.action, tuple(ACTIONS))
        _one_of("route", self.route, ("*", *sorted(ACTIONS[self.action])))
        if sum(given is not None for given in (self.nth, self.first, self.probability)) > 1:
            raise ConfigError("nth", "must stand alone: give one of nth, first and probability")
        for name, (least, most) in _RANGES.items():
            value = getattr(self, name)
            if value is not None and not least <= value <= most:
                raise ConfigError(name, f"must be {least} to {most}")
        for name, choices in _CHOICES.items():
            _one_of(name, getattr(self, name), choices)
        if self.action != "skew" and self.seconds < 0:
            raise ConfigError("seconds", "must not be negative")
        if not self.location.isascii() or not self.location.isprintable():
            raise ConfigError("location", "must be printable ASCII")

    @property
    def skew(self) -> Skew:
        """What this rule adds to the vendor's own skew."""
        return Skew(**{self.stamp: self.seconds}) if self.action == "skew" else Skew()

    def covers(self, route: str) -> bool:
        """Whether calls of `route` are this rule's business."""
        return route in ACTIONS[self.action] and self.route in ("*", route)

    def fires(self, count: int, ids: Ids, name: str) -> bool:
        """Whether it acts at the call that is its `count`th; `name` keeps its draws to itself."""
        if self.nth is not None:
            return count == self.nth
        if self.first is not None:
            return count <= self.first
        return self.probability is None or ids.draw(name) < self.probability


_TYPES: Final[Mapping[str, tuple[type, ...]]] = {
    "action": (str,),
    "route": (str,),
    "nth": (int, type(None)),
    "first": (int, type(None)),
    "probability": (int, float, type(None)),
    "seconds": (int, float),
    "status": (int,),
    "body": (str,),
    "retry_after": (str,),
    "stamp": (str,),
    "location": (str,),
    "size": (int,),
}


def read_rule(members: Mapping[str, Any]) -> Rule:
    """Make a rule of untyped members, such as JSON has.

    Raises:
        ConfigError: Naming the member and its rule.
    """
    if "action" not in members:
        raise ConfigError("action", "must be given")
    for name, value in members.items():
        _one_of(name, name, tuple(_TYPES))
        # bool is an int to Python, but not to anyone who writes JSON.
        if isinstance(value, bool) or not isinstance(value, _TYPES[name]):
            wanted = {str: "a string", int: "an integer", float: "a number"}
            raise ConfigError(name, f"must be {wanted[float if float in _TYPES[name] else _TYPES[name][0]]}")
    return Rule(**members)


def _one_of(field: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ConfigError(field, f"must be one of {', '.join(choices)}")
