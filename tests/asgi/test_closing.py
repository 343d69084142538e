"""Answers that end their connection: those that begin while the process is about to stop, and no others."""

import pytest
from kit import drive, http_scope
from starlette.responses import PlainTextResponse

from guestpass.asgi.closing import Closing

pytestmark = pytest.mark.anyio


async def test_only_what_begins_in_the_drain_ends_its_connection() -> None:
    draining = False
    app = Closing(PlainTextResponse("ok", headers={"x-kept": "1"}), lambda: draining)
    assert (await drive(app, http_scope())).values(b"connection") == []
    draining = True
    sent = await drive(app, http_scope())
    assert (sent.values(b"connection"), sent.values(b"x-kept"), sent.body) == ([b"close"], [b"1"], b"ok")
