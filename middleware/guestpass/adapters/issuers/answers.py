"""Reading the issuer's answers: every surprise in them is `Unavailable`, and none of their text goes on."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from guestpass.adapters.issuers.http_client import Answer
from guestpass.core import strict_json
from guestpass.core.model import UnixTime
from guestpass.errors import Unavailable

MAX_TOKEN: Final = 8192
"""Octets; a longer token would be refused when it comes back in a request."""

# Visible ASCII without blanks: such a value cannot end a field line and begin another (RFC 9110 §5.5).
_TOKEN = re.compile(r"[\x21-\x7e]+")
_CORRELATION = re.compile(r"[A-Za-z0-9._-]{1,64}")
_CODE = re.compile(r"[a-z0-9._-]{1,64}")
_JSON = re.compile(r"application/(?:[a-z0-9.+-]+\+)?json[ \t]*(?:;.*)?", re.IGNORECASE)
_MOST_SECONDS: Final = 253_402_300_800.0  # the year 10000


def succeeded(answer: Answer) -> bool:
    """Whether the status is 2xx."""
    return 200 <= answer.status < 300  # noqa: PLR2004  RFC 9110 §15.3


def members(answer: Answer) -> dict[str, Any]:
    """The JSON object that a successful answer must hold.

    Raises:
        Unavailable: Empty, cut short, too large, not declared as JSON, or not a JSON object.
    """
    if not _JSON.fullmatch(answer.headers.get("content-type", "")):
        raise Unavailable("the answer is not declared as JSON")
    if answer.body is None:
        raise Unavailable("the answer is cut short or too large")
    try:
        return strict_json.loads_object(answer.body)
    except ValueError as exc:
        raise Unavailable("the answer is not a JSON object") from exc


def member(document: Mapping[str, Any], path: str) -> object:
    """Walk a dotted path such as `data.token`; None where it leads nowhere."""
    value: object = document
    for name in path.split("."):
        if not isinstance(value, dict):
            return None
        value = value.get(name)
    return value


def credential(value: object) -> str:
    """Check a token of any kind before it goes into a field of ours.

    Raises:
        Unavailable: Missing, no string, empty, over-long, or with anything but visible ASCII.
    """
    if not isinstance(value, str) or len(value) > MAX_TOKEN or not _TOKEN.fullmatch(value):
        raise Unavailable("the answer holds no usable token")
    return value


def instant(value: object) -> UnixTime | None:
    """Read an expiry hint, ISO 8601 with an offset or seconds since the epoch; None if it is neither."""
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value)
            return UnixTime((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
        except (ValueError, OverflowError):
            return None
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= _MOST_SECONDS:
        return UnixTime(float(value))
    return None


def correlation(answer: Answer) -> str | None:
    """The vendor's own id of this exchange, to quote in a support case; None if it is not a plain id."""
    value: str = answer.headers.get("inin-correlation-id", "")
    return value if _CORRELATION.fullmatch(value) else None


def is_the_vendors(answer: Answer) -> bool:
    """Whether the vendor itself answered, and not a firewall or a proxy on the way to it.

    Every reply of the vendor's has a correlation id, and its errors are JSON; a firewall's page is neither.
    """
    return correlation(answer) is not None or bool(_JSON.fullmatch(answer.headers.get("content-type", "")))


def vendor_code(answer: Answer) -> str | None:
    """The error's stable code, for our log: `code` of the platform, `error` of the login host.

    Never its message or description: those are text that a caller may have had a hand in.
    """
    try:
        document = strict_json.loads_object(answer.body or b"")
    except ValueError:
        return None
    for name in ("code", "error"):
        value = document.get(name)
        if isinstance(value, str) and _CODE.fullmatch(value):
            return value
    return None
