"""Writes log records as lines, of JSON or for a person; nothing that is logged can break its line.

What a client sends (a path, a kid, an address) may hold line breaks, terminal escapes or quotes, and a log
that a client can shape is a log that lies: what is not printable is escaped, whichever logger it comes from.
"""

import json
import logging
import math
from asyncio import CancelledError
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final, Literal

Style = Literal["json", "text"]

_PLAIN: Final = frozenset("=\"'\\ ")
"""What a value must not hold to stand in a text line without quotes."""


def uncancelled(record: logging.LogRecord) -> bool:
    """Whether a record tells of more than a cancellation.

    A second Ctrl-C cancels what the first one left to finish, and uvicorn logs that as an error, with the
    traceback of a bug.
    """
    return record.exc_info is None or not isinstance(record.exc_info[1], CancelledError)


class JsonLines(logging.Formatter):
    """One JSON object a record: `time`, `level`, `logger`, `event`, and the event's own fields.

    A record that is none of ours has its text as `message`. All ASCII, so no reader takes a part of it for a
    line's end; a number that JSON does not know is written as text.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Write one record."""
        line: dict[str, Any] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
        }
        event = getattr(record, "event", None)
        if event is None:
            line["message"] = record.getMessage()
        else:
            fields: Mapping[str, Any] = getattr(record, "fields", {})
            line["event"] = event
            line |= {name: _finite(value) for name, value in fields.items() if value is not None}
        if traceback := _traceback(self, record):
            line["traceback"] = traceback
        return json.dumps(line, default=str)


class TextLines(logging.Formatter):
    """One line a record for a person; a traceback follows it, every line of it marked with a bar."""

    def format(self, record: logging.LogRecord) -> str:
        """Write one record."""
        lines = [f"{_time(record)} {record.levelname.lower():<7} {' '.join(_words(record))}"]
        lines += [f"  | {line}" for line in _traceback(self, record).splitlines()]
        return "\n".join(map(printable, lines))


def printable(text: str) -> str:
    """The text with everything escaped that moves a cursor, ends a line or turns the writing direction."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def logging_config(style: Style, level: str) -> dict[str, Any]:
    """The configuration of all of the process's logging (`logging.config.dictConfig`), on stderr.

    Args:
        style: How a record is written.
        level: The least level of ours and of the server's that is logged; others' start at warnings.
    """
    formatter = JsonLines if style == "json" else TextLines
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"()": f"{formatter.__module__}.{formatter.__qualname__}"}},
        "handlers": {
            "stderr": {
                "class": "logging.StreamHandler",
                "formatter": "line",
                "filters": [uncancelled],
                "stream": "ext://sys.stderr",
            }
        },
        "root": {"handlers": ["stderr"], "level": "WARNING"},
        "loggers": {name: {"level": level.upper()} for name in ("guestpass", "uvicorn")},
    }


def _time(record: logging.LogRecord) -> str:
    """ISO 8601 in UTC, to the millisecond."""
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")


def _words(record: logging.LogRecord) -> Iterator[str]:
    event = getattr(record, "event", None)
    if event is None:
        yield record.getMessage()
        return
    yield event
    fields: Mapping[str, Any] = getattr(record, "fields", {})
    for name, value in fields.items():
        if value is not None:
            text = str(value)
            plain = text.isprintable() and text and _PLAIN.isdisjoint(text)
            yield f"{name}={text if plain else json.dumps(text)}"


def _traceback(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    """The record's exception and stack as Python writes them, or nothing."""
    parts = []
    if record.exc_info:
        parts.append(formatter.formatException(record.exc_info))
    if record.stack_info:
        parts.append(formatter.formatStack(record.stack_info))
    return "\n".join(parts)


def _finite(value: Any) -> Any:
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
