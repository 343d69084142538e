"""CORS in the app's place: preflights answered, answers readable, and what the app says left alone."""

import pytest
from kit import drive, http_scope
from starlette.types import Receive, Scope, Send

from guestpass.asgi.cors import AnsweringCors
from guestpass.core.cors import Cors
from guestpass.core.model import Header

pytestmark = pytest.mark.anyio

SHOP = (b"origin", b"https://shop.example")
EVIL = (b"origin", b"https://shop.example.evil")
ASKS = (b"access-control-request-method", b"PUT")
CORS = Cors(frozenset({"https://shop.example"}))


class App:
    """Answers with these fields, and counts."""

    def __init__(self, *headers: Header) -> None:
        self.headers = headers
        self.calls = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.calls += 1
        await send({"type": "http.response.start", "status": 200, "headers": list(self.headers)})
        await send({"type": "http.response.body", "body": b"ok"})


async def test_a_preflight_of_an_allowed_origin_is_answered_and_never_reaches_the_app() -> None:
    app = App()
    wants = (b"access-control-request-headers", b"x-guest-token, content-type")
    sent = await drive(AnsweringCors(app, CORS), http_scope("OPTIONS", headers=[SHOP, ASKS, wants]))
    assert (sent.status, app.calls, sent.body) == (204, 0, b"")
    assert sent.values(b"access-control-allow-origin") == [b"https://shop.example"]
    assert sent.values(b"access-control-allow-methods") == [b"PUT"]
    assert sent.values(b"access-control-allow-headers") == [b"x-guest-token, content-type"]
    assert sent.values(b"vary") == [b"Origin"]


@pytest.mark.parametrize("names", [b"a b", b"x\x00", b"x," * 2000 + b"x", b"x,,y", b""])
async def test_only_a_list_of_names_is_echoed(names: bytes) -> None:
    wants = (b"access-control-request-headers", names)
    sent = await drive(AnsweringCors(App(), CORS), http_scope("OPTIONS", headers=[SHOP, ASKS, wants]))
    assert names not in sent.values(b"access-control-allow-headers") or names == b""
    odd = (b"access-control-request-method", b"P T")
    sent = await drive(AnsweringCors(App(), CORS), http_scope("OPTIONS", headers=[SHOP, odd]))
    assert sent.values(b"access-control-allow-methods") in ([], [b""])


@pytest.mark.parametrize("headers", [[EVIL, ASKS], [ASKS], [SHOP]])
async def test_what_is_no_preflight_of_an_allowed_origin_is_the_apps(headers: list[Header]) -> None:
    app = App()
    sent = await drive(AnsweringCors(app, CORS), http_scope("OPTIONS", headers=headers))
    assert (sent.status, app.calls) == (200, 1)


async def test_an_answer_becomes_readable_for_an_allowed_origin_and_for_no_other() -> None:
    sent = await drive(AnsweringCors(App(), CORS), http_scope(headers=[SHOP]))
    assert sent.values(b"access-control-allow-origin") == [b"https://shop.example"]
    assert b"Origin" in sent.values(b"vary")
    for headers in ([EVIL], []):
        sent = await drive(AnsweringCors(App(), CORS), http_scope(headers=headers))
        assert sent.values(b"access-control-allow-origin") == []


async def test_what_the_app_says_itself_stands_alone() -> None:
    app = App((b"Access-Control-Allow-Origin", b"*"))
    sent = await drive(AnsweringCors(app, CORS), http_scope(headers=[SHOP]))
    assert sent.values(b"access-control-allow-origin") == [b"*"]


async def test_other_scopes_pass_untouched() -> None:
    seen: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope)

    scope = {"type": "websocket", "headers": [SHOP]}
    await drive(AnsweringCors(app, CORS), scope)
    assert seen == [scope]
