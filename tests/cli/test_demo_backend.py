"""The demo's backend, asked as a WSGI server asks it."""

import json
from io import BytesIO
from typing import Any
from urllib.parse import urlencode
from wsgiref.util import setup_testing_defaults

import pytest

from guestpass.demo.backend import app


def ask(path: str, form: bytes | None = None, query: str = "", subject: str = "s") -> tuple[str, Any]:
    environ: dict[str, Any] = {
        "PATH_INFO": path,
        "QUERY_STRING": query,
        "SERVER_SOFTWARE": "test",
        "HTTP_X_GUEST_SUBJECT": subject,
        "HTTP_X_GUEST_NAME": "Ada%20L%C3%B6ve",
        "HTTP_X_GUEST_EMAIL": "ada@example.org",
    }
    if form is not None:
        posted = {"REQUEST_METHOD": "POST", "CONTENT_LENGTH": str(len(form)), "wsgi.input": BytesIO(form)}
        environ.update(posted)
    setup_testing_defaults(environ)
    said: list[str] = []

    def start_response(status: str, headers: object, exc_info: object = None) -> Any:
        said.append(status)

    body = b"".join(app(environ, start_response))
    return said[0], json.loads(body)


def test_a_guest_writes_and_reads_what_is_new() -> None:
    status, first = ask("/chat", subject="reads")
    assert (status, [message["text"] for message in first["messages"]]) == (
        "200 OK",
        ["Good evening, Ada Löve. This is the front desk. How can I help?"],
    )
    status, answer = ask("/chat", urlencode({"text": "Grüße, & wi-fi?"}).encode(), "after=1", "reads")
    assert status == "200 OK"
    assert [message["text"] for message in answer["messages"]] == [
        "Grüße, & wi-fi?",
        "The network is called Lantern. No password, only patience.",
    ]


@pytest.mark.parametrize("form", [b"", b"text=", b"other=x", b"\xff\xfe", b"text=" + b"x" * 4092])
def test_a_message_without_text_or_too_long_is_refused(form: bytes) -> None:
    assert ask("/chat", form)[0] == "400 Bad Request"


@pytest.mark.parametrize("query", ["after=x", "after=-1", "after=", "%ff"])
def test_a_number_that_is_none_asks_for_everything(query: str) -> None:
    assert len(ask("/chat", query=query, subject=query)[1]["messages"]) == 1


def test_elsewhere_it_echoes() -> None:
    status, answer = ask("/whoami")
    assert (status, answer["path"], answer["identity"]["HTTP_X_GUEST_NAME"]) == (
        "200 OK",
        "/whoami",
        "Ada Löve",
    )
