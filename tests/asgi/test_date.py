"""`Dated`: one Date a response, the app's own where it sent one."""

import pytest
from kit import HeldClock, drive, http_scope
from starlette.types import Message, Receive, Scope, Send

from guestpass.asgi.date import Dated
from guestpass.core.model import Header

pytestmark = pytest.mark.anyio


def app(*headers: Header) -> Dated:
    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        start: Message = {"type": "http.response.start", "status": 200}
        await send({**start, "headers": headers} if headers else start)
        await send({"type": "http.response.body", "body": b""})

    return Dated(answer, clock)


clock = HeldClock()


@pytest.mark.parametrize("name", [b"date", b"Date", b"DATE"])
async def test_an_apps_own_date_is_the_only_one(name: bytes) -> None:
    sent = await drive(app((name, b"Tue, 14 Nov 2023 22:13:20 GMT")), http_scope())
    assert sent.values(b"date") == [b"Tue, 14 Nov 2023 22:13:20 GMT"]


@pytest.mark.parametrize("headers", [(), ((b"etag", b"x"), (b"vary", b"y"))])
async def test_a_response_without_one_gets_the_present(headers: tuple[Header, ...]) -> None:
    dated = app(*headers)
    [before] = (await drive(dated, http_scope())).values(b"date")
    assert before.endswith(b" GMT")
    assert (await drive(dated, http_scope())).values(b"date") == [before]
    clock.advance(1)
    [after] = (await drive(dated, http_scope())).values(b"date")
    assert after != before
