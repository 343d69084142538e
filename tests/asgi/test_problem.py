import json
from typing import Any

import pytest
from starlette.types import Message

from guestpass.asgi.problem import problem, send_problem, send_websocket_response
from guestpass.errors import GuestpassError, TokenExpired, TooManyRequests, Unavailable

pytestmark = pytest.mark.anyio


def test_a_problem_shows_the_code_and_never_the_message() -> None:
    status, headers, body = problem(Unavailable("redis at 10.0.0.7 refused"))
    assert status == 503
    assert json.loads(body) == {
        "type": "urn:guestpass:unavailable",
        "title": "Temporarily unavailable",
        "status": 503,
        "code": "unavailable",
    }
    assert dict(headers) == {
        b"content-type": b"application/problem+json",
        b"content-length": b"%d" % len(body),
        b"cache-control": b"no-store",
    }


@pytest.mark.parametrize(
    ("seconds", "field"), [(0.0, b"1"), (0.2, b"1"), (1.0, b"1"), (1.001, b"2"), (60.0, b"60")]
)
def test_retry_after_is_whole_seconds_rounded_up_and_never_zero(seconds: float, field: bytes) -> None:
    assert (b"retry-after", field) in problem(TooManyRequests(retry_after=seconds))[1]


@pytest.mark.parametrize("error", [TokenExpired(), TooManyRequests(), GuestpassError()])
def test_no_retry_after_when_nobody_knows_it(error: GuestpassError) -> None:
    assert b"retry-after" not in dict(problem(error)[1])


async def test_extra_fields_follow_and_the_answer_is_complete() -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    await send_problem(send, TokenExpired(), extra=[(b"www-authenticate", b"Bearer")])
    start, body = sent
    assert start["type"] == "http.response.start"
    assert start["status"] == 401
    assert start["headers"][-1] == (b"www-authenticate", b"Bearer")
    assert json.loads(body["body"])["code"] == "token_expired"
    assert not body.get("more_body")


async def test_a_websockets_handshake_is_answered_with_a_response_where_the_server_can() -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    await send_websocket_response(send, 503, [(b"retry-after", b"1")], b"later", possible=True)
    assert sent == [
        {"type": "websocket.http.response.start", "status": 503, "headers": [(b"retry-after", b"1")]},
        {"type": "websocket.http.response.body", "body": b"later"},
    ]
    sent.clear()
    await send_websocket_response(send, 503, [], b"later", possible=False)
    assert sent == [{"type": "websocket.close"}]
