"""What a log may hold of what a client sends: its request's path and its request's id."""

import re
from typing import Final

_MOST: Final = 120
_LONGEST_SEGMENT: Final = 40
_ELIDED: Final = "\N{HORIZONTAL ELLIPSIS}"
_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._~+/=-]{1,64}")


def loggable_path(path: str) -> str:
    """The path, without the segments that may be a token or an e-mail address, and cut to 120 characters.

    Whole segments are left out before anything is cut, so that no part of a signature stays.
    """
    kept = (
        _ELIDED if "@" in segment or len(segment) > _LONGEST_SEGMENT else segment
        for segment in path.split("/", _MOST)
    )
    text = "/".join(kept)
    return text if len(text) <= _MOST else text[: _MOST - 1] + _ELIDED


def request_id(values: list[bytes]) -> str | None:
    """The id that one `X-Request-Id` field gives, or None: no field, several, or none that is a plain id."""
    if len(values) == 1 and _REQUEST_ID.fullmatch(values[0]):
        return values[0].decode("ascii")
    return None
