"""Log lines: one an event, whatever a client put into it."""

import asyncio
import json
import logging
import logging.config
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from guestpass import events
from guestpass.logs import JsonLines, TextLines, logging_config, printable

HOSTILE = 'a\r\n{"level":"info"}\x1b[2J\u2028\u202e\x85\x00"\ud800'


def record(message: str = "", *args: object, **extra: Any) -> logging.LogRecord:
    made = logging.LogRecord("guestpass", logging.WARNING, __file__, 1, message, args, None)
    made.created = 1_700_000_000.25
    made.__dict__.update(extra)
    return made


def test_an_event_is_one_object_with_its_fields() -> None:
    line = JsonLines().format(
        record(event="token.rotated", fields={"token": "ab", "seconds": 0.5, "no": None})
    )
    assert json.loads(line) == {
        "time": "2023-11-14T22:13:20.250+00:00",
        "level": "warning",
        "logger": "guestpass",
        "event": "token.rotated",
        "token": "ab",
        "seconds": 0.5,
    }


def test_anothers_record_has_its_text_as_message() -> None:
    assert json.loads(JsonLines().format(record("Started %s", "it")))["message"] == "Started it"


@given(st.text())
@example(HOSTILE)
def test_no_text_breaks_a_line_of_json(text: str) -> None:
    """P33: paths, kids and addresses with CR, LF, ANSI and quotes."""
    for made in (record("%s", text), record(event="token.refused", fields={"path": text})):
        line = JsonLines().format(made)
        assert line.isascii()
        assert len(line.splitlines()) == 1
        assert text in json.loads(line).values()


@given(st.text())
@example(HOSTILE)
def test_no_text_breaks_a_line_for_a_person(text: str) -> None:
    for made in (record("%s", text), record(event="token.refused", fields={"path": text})):
        assert TextLines().format(made).isprintable()


@given(st.text())
def test_what_is_printable_is_left_as_it_is(text: str) -> None:
    assert printable(text).isprintable()
    assert (printable(text) == text) is text.isprintable()


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_a_number_that_json_does_not_know_is_text(number: float) -> None:
    line = JsonLines().format(record(event="jwks.failed", fields={"age": number}))
    assert json.loads(line, parse_constant=pytest.fail)["age"] == str(number)


def test_a_text_line_quotes_what_could_be_misread() -> None:
    fields = {"reason": "a b", "cause": "x=1", "none": None, "empty": "", "seconds": 0.5}
    line = TextLines().format(record(event="upstream.failed", fields=fields))
    assert line.endswith('warning upstream.failed reason="a b" cause="x=1" empty="" seconds=0.5')


def raise_error(text: str) -> NoReturn:
    raise ValueError(text)


def failed() -> logging.LogRecord:
    try:
        raise_error("first\nsecond\x1b[2J")
    except ValueError:
        return logging.LogRecord(
            "x", logging.ERROR, __file__, 1, "it failed", (), sys.exc_info(), sinfo="Stack (here)"
        )


def test_a_traceback_stays_in_its_object() -> None:
    line = JsonLines().format(failed())
    assert len(line.splitlines()) == 1
    assert json.loads(line)["traceback"].splitlines()[-3:] == [
        "ValueError: first",
        "second\x1b[2J",
        "Stack (here)",
    ]


def test_a_traceback_for_a_person_cannot_pass_for_a_line_of_its_own() -> None:
    first, *rest = TextLines().format(failed()).split("\n")
    assert first.endswith("it failed")
    assert rest[-2:] == ["  | second\\x1b[2J", "  | Stack (here)"]
    assert all(line.startswith("  | ") for line in rest)


@contextmanager
def configured(style: Any) -> Iterator[None]:
    """All of the process's logging as `serve` has it, and afterwards as it was."""
    before = logging.getLogger().handlers[:]
    try:
        logging.config.dictConfig(logging_config(style, "info"))
        yield
    finally:
        logging.getLogger().handlers = before
        logging.getLogger().setLevel(logging.WARNING)
        for name in ("guestpass", "uvicorn"):
            logging.getLogger(name).setLevel(logging.NOTSET)


@pytest.mark.parametrize("style", ["json", "text"])
def test_our_events_and_the_servers_messages_share_one_form(
    style: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    with configured(style):
        events.emit(events.STORE_NOT_SHARED, level=logging.WARNING, workers=2)
        logging.getLogger("uvicorn.error").info("Shutting\ndown")
        logging.getLogger("httpx").info("not ours, and no warning")
    ours, servers = capfd.readouterr().err.splitlines()
    if style == "json":
        assert json.loads(ours)["workers"] == 2
        assert json.loads(servers)["message"] == "Shutting\ndown"
    else:
        assert ours.endswith("warning store.not_shared workers=2")
        assert servers.endswith("info    Shutting\\ndown")


@pytest.mark.parametrize(("error", "told"), [(asyncio.CancelledError(), False), (ValueError("bug"), True)])
def test_what_a_second_ctrl_c_cut_short_is_no_error(
    error: BaseException, capfd: pytest.CaptureFixture[str], *, told: bool
) -> None:
    """uvicorn logs the cancellation of its lifespan as an exception of the app."""
    with configured("text"):
        logging.getLogger("uvicorn.error").error("Exception in 'lifespan' protocol", exc_info=error)
    assert ("lifespan" in capfd.readouterr().err) == told
