"""How much of the mint budget each kind of call may use: the nearer a token's end, the more.

A share is a ceiling on how full the window may be when a call is made, whoever filled it. So what is left
above a ceiling stays free for calls that cannot wait, and when the budget is short it is spent in the order
of remaining life. Unused budget is nobody's: a call of any kind may find the window empty.
"""

from enum import StrEnum
from typing import Final


class Priority(StrEnum):
    """Why the issuer is called."""

    PREFETCH = "prefetch"
    """Ahead of time: nobody waits for the token, and it can be asked for again."""

    ROTATION = "rotation"
    """For a token in its rotation window or in its grace."""

    FIRST = "first"
    """For a guest without a token, who can do nothing until it is there."""


# By name, as in Python 3.11 each look-up of an enum's member through its class takes 0.1 us.
_AHEAD: Final = Priority.PREFETCH
_AT_FIRST: Final = Priority.FIRST

_PREFETCH: Final = 0.5
_EARLY: Final = 0.8
_LATE: Final = 0.9
_ALL: Final = 1.0
AGAIN: Final = 1.0
"""Seconds after which a call that was over its share is worth another try, at least.

A moving window says when it has room again, not when it has this much room; until then others fill it.
"""

_DYING: Final = 60.0  # seconds: with a minute left or less, any of the budget
_FAR: Final = 600.0  # seconds: two default rotation windows from the end


def share(priority: Priority, *, left: float) -> float:
    """The part of the budget, 0 to 1, up to which a call may fill it.

    Of one priority, a token nearer to its end never has less; of one remaining life, a prefetch never has
    more than a rotation, nor a rotation more than a first token.

    Args:
        priority: Why the issuer is called.
        left: Seconds to the token's "exp"; negative in its grace. Of no account for a first token.
    """
    if priority is _AT_FIRST:
        return _ALL
    if priority is _AHEAD:
        return _PREFETCH
    if left <= _DYING:
        return _ALL
    far = min(1.0, (left - _DYING) / (_FAR - _DYING))
    return _LATE - (_LATE - _EARLY) * far


def fits(priority: Priority, *, left: float, remaining: int, limit: int) -> bool:
    """Whether a call may be made when `remaining` of `limit` calls are left in the window.

    A share is rounded up to whole calls, so that even the smallest budget serves every kind; it never
    exceeds the limit.
    """
    return remaining > 0 and limit - remaining < share(priority, left=left) * limit
