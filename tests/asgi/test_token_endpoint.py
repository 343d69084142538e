"""The token endpoint as HTTP: what it reads, what it refuses, and what every answer of it carries."""

import json
import logging
from collections.abc import Mapping
from typing import Any

import anyio
import pytest
from kit import ADA, NOW, HeldClock, Sent, World, drive, http_scope, token, world
from shells import DEAD, DUE, NEAR, ORIGIN, carrying, websocket_scope
from starlette.types import Message

from guestpass.adapters.ratelimit import MemoryLimiter
from guestpass.asgi.token_endpoint import TokenEndpoint
from guestpass.core.bearer import Sources
from guestpass.core.cors import Cors
from guestpass.core.inject import CookieDelivery
from guestpass.core.model import Header, Identity
from guestpass.core.surface import Surface
from guestpass.errors import IssuerMisconfigured, TokenRefused, Unavailable

pytestmark = pytest.mark.anyio

JSON: Header = (b"content-type", b"application/json")
SHOP: Header = (b"origin", ORIGIN)
ASKS_POST: Header = (b"access-control-request-method", b"POST")
CORS = Surface(cors=Cors(frozenset({ORIGIN.decode()})))
ASKED = {"name": ADA.name, "email": ADA.email}
LONG_ADDRESS = "a@" + ".".join(["b" * 60] * 4) + ".examp.org"  # 255 characters


async def call(
    endpoint: TokenEndpoint, *parts: bytes, headers: tuple[Header, ...] = (JSON,), method: str = "POST"
) -> Sent:
    """Send a request whose content comes in `parts`."""
    last = len(parts) - 1
    messages: list[Message] = [
        {"type": "http.request", "body": part, "more_body": n < last} for n, part in enumerate(parts)
    ]
    return await drive(endpoint, http_scope(method, "/guestpass/token", headers), *messages)


async def post(w: World, members: Mapping[str, Any], *headers: Header, **options: Any) -> Sent:
    endpoint = TokenEndpoint(w.gate, **options)
    return await call(endpoint, json.dumps(members).encode(), headers=(JSON, *headers))


# --- good answers -------------------------------------------------------------------------------------------


async def test_a_token_comes_as_a_cookie_too_where_successors_do() -> None:
    """A page that holds one in a field and, once rotated, another in a cookie would be refused."""
    w = world(surface=Surface(cookie=CookieDelivery("guest")))
    sent = await post(w, ASKED)
    [cookie] = sent.values(b"set-cookie")
    assert cookie.startswith(b"guest=" + token(exp=NOW + 1800).compact + b"; Path=/; Max-Age=1860; HttpOnly")
    assert not (await post(world(), ASKED)).values(b"set-cookie")


async def test_a_name_and_an_address_make_a_token() -> None:
    w = world()
    sent = await post(w, ASKED)
    assert sent.status == 200
    assert sent.json == {
        "token": token(exp=NOW + 1800).compact.decode(),
        "expires_at": "2027-01-15T08:30:00Z",
        "expires_in": 1800,
        "rotated": True,
    }
    assert w.issuer.calls == [ADA]


async def test_a_good_answer_is_json_that_no_cache_keeps_and_needs_no_cors_by_default() -> None:
    sent = await post(world(), ASKED)
    assert dict(sent.headers) == {
        b"content-type": b"application/json",
        b"content-length": b"%d" % len(sent.body),
        b"cache-control": b"no-store",
    }


async def test_a_fresh_token_comes_back_with_its_own_expiry() -> None:
    """VENDOR §4: an `expires_at` must never be invented for a token that was not rotated."""
    w = world()
    raw = token(exp=NOW + 1000.7)
    sent = await post(w, {**ASKED, "currentToken": raw.compact.decode()})
    assert sent.json == {
        "token": raw.compact.decode(),
        "expires_at": "2027-01-15T08:16:40Z",
        "expires_in": 1000,
        "rotated": False,
    }
    assert w.issuer.calls == []


async def test_a_token_past_its_own_time_never_expires_in_less_than_no_time() -> None:
    """Within the leeway, and without a successor, the old one is all there is."""
    w = world()
    w.issuer.failure = Unavailable()
    sent = await post(w, {**ASKED, "currentToken": token(exp=NOW - 10).compact.decode()})
    assert (sent.json["expires_in"], sent.json["rotated"]) == (0, False)


@pytest.mark.parametrize("current", [None, ""])
async def test_a_current_token_of_null_or_nothing_is_none(current: str | None) -> None:
    w = world()
    assert (await post(w, {**ASKED, "currentToken": current})).json["rotated"] is True


async def test_blanks_around_the_fields_are_the_visitors_slip() -> None:
    w = world()
    assert (await post(w, {"name": "  Ada ", "email": "\tada@example.org\n"})).status == 200
    assert w.issuer.calls == [ADA]


async def test_a_media_type_with_parameters_is_json_too_and_content_may_come_in_parts() -> None:
    body = json.dumps(ASKED).encode()
    endpoint = TokenEndpoint(world().gate)
    headers = ((b"content-type", b"Application/JSON; charset=utf-8"), (b"content-encoding", b"identity"))
    assert (await call(endpoint, body[:5], b"", body[5:], headers=headers)).status == 200


async def test_names_of_all_the_world_pass() -> None:
    w = world()
    name, email = "Zoë 名前 🦉 O'Neil-Ünal", "zoë@bücher.example"
    assert (await post(w, {"name": name, "email": email})).status == 200
    assert w.issuer.calls == [Identity(name=name, email=email)]


@pytest.mark.parametrize("email", ["", "not an address"])
async def test_where_no_address_is_required_any_will_do_and_none(email: str) -> None:
    w = world()
    asked = {"name": "Ada", "email": email} if email else {"name": "Ada"}
    assert (await post(w, asked, require_email=False)).status == 200
    assert w.issuer.calls == [Identity(name="Ada", email=email)]


async def test_an_address_may_have_254_characters() -> None:
    """RFC 5321 §4.5.3.1.3."""
    assert len(LONG_ADDRESS) == 255
    assert (await post(world(), {**ASKED, "email": LONG_ADDRESS.replace("bb", "b", 1)})).status == 200


@pytest.mark.parametrize("length", [199, 200])
async def test_a_name_may_have_two_hundred_characters(length: int) -> None:
    assert (await post(world(), {**ASKED, "name": "ü" * length})).status == 200


# --- requests at fault --------------------------------------------------------------------------------------

BAD_MEMBERS: dict[str, object] = {
    "no name": {"email": ADA.email},
    "no address": {"name": "Ada"},
    "name null": {**ASKED, "name": None},
    "name a number": {**ASKED, "name": 1},
    "name a list": {**ASKED, "name": ["Ada"]},
    "name empty": {**ASKED, "name": ""},
    "name blank": {**ASKED, "name": " \t "},
    "name too long": {**ASKED, "name": "x" * 201},
    "name with a line break": {**ASKED, "name": "Ada\r\nX-Evil: 1"},
    "name with NUL": {**ASKED, "name": "Ada\0"},
    "name with a C1 control": {**ASKED, "name": "Ada\x85x"},
    "name with a line separator": {**ASKED, "name": "Ada\u2028x"},
    "address a number": {**ASKED, "email": 1},
    "address true": {**ASKED, "email": True},
    "address empty": {**ASKED, "email": ""},
    "address without @": {**ASKED, "email": "ada.example.org"},
    "address with two @": {**ASKED, "email": "a@b@example.org"},
    "address without a host": {**ASKED, "email": "ada@"},
    "address without a dot": {**ASKED, "email": "ada@localhost"},
    "address with an empty label": {**ASKED, "email": "ada@example..org"},
    "address that ends in a dot": {**ASKED, "email": "ada@example.org."},
    "address with a blank": {**ASKED, "email": "ada @example.org"},
    "address with a line break": {**ASKED, "email": "ada@example.org\nbcc:x@y.zz"},
    "address too long": {**ASKED, "email": LONG_ADDRESS},
    "local part too long": {**ASKED, "email": "a" * 65 + "@example.org"},
    "token a number": {**ASKED, "currentToken": 1},
    "token an object": {**ASKED, "currentToken": {"jwt": "a.b.c"}},
    "token false": {**ASKED, "currentToken": False},
    "an unknown member": {**ASKED, "admin": True},
    "a member in another case": {**ASKED, "currenttoken": "a.b.c"},
}

BAD_BODIES: dict[str, bytes] = {
    "nothing": b"",
    "no JSON": b"name=Ada&email=ada@example.org",
    "cut short": b'{"name":"Ada"',
    "trailing octets": b'{"name":"Ada","email":"ada@example.org"} x',
    "a list": b'["Ada","ada@example.org"]',
    "a string": b'"Ada"',
    "null": b"null",
    "a number": b"7",
    "a duplicate member": b'{"name":"Ada","email":"ada@example.org","name":"Bob"}',
    "a duplicate member, escaped": rb'{"name":"Ada","email":"ada@example.org","n\u0061me":"Bob"}',
    "bad UTF-8": b'{"name":"\xff","email":"ada@example.org"}',
    "UTF-16": json.dumps(ASKED).encode("utf-16"),
    "a byte order mark": b"\xef\xbb\xbf" + json.dumps(ASKED).encode(),
    "a lone surrogate": rb'{"name":"\ud800","email":"ada@example.org"}',
    "NaN": b'{"name":"Ada","email":"ada@example.org","currentToken":NaN}',
    "deep lists": b'{"name":' + b"[" * 8000 + b"]" * 8000 + b"}",
    "deep lists, unclosed": b'{"name":' + b"[" * 16_000,
    "deep objects": b'{"name":' + b'{"a":' * 2000 + b"1" + b"}" * 2000 + b"}",
    "a long number": b'{"name":' + b"9" * 16_000 + b"}",
}


@pytest.mark.parametrize("name", [*BAD_MEMBERS, *BAD_BODIES])
async def test_a_request_that_breaks_a_rule_is_400_with_the_rule_and_without_its_words(name: str) -> None:
    """L7. Its own text is never echoed: it could be a token, or a script in somebody's log viewer."""
    w = world()
    body = BAD_BODIES[name] if name in BAD_BODIES else json.dumps(BAD_MEMBERS[name]).encode()
    sent = await call(TokenEndpoint(w.gate), body)
    assert sent.status == 400
    assert set(sent.json) == {"type", "title", "status", "code", "detail"}
    assert sent.json["code"] == "invalid_request"
    field, _, rule = sent.json["detail"].partition(": ")
    assert field in {"body", "name", "email", "currentToken"}
    assert rule.startswith("must ")
    assert sent.values(b"cache-control") == [b"no-store"]
    assert sent.values(b"content-type") == [b"application/problem+json"]
    assert sent.values(b"www-authenticate") == []
    for given in ("Ada", "ada@", "admin", "Evil"):
        assert given not in sent.body.decode()
    assert w.issuer.calls == []


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "post"])
async def test_only_post_is_served_and_allow_says_so(method: str) -> None:
    w = world()
    sent = await call(TokenEndpoint(w.gate), json.dumps(ASKED).encode(), method=method)
    assert (sent.status, sent.json["code"]) == (405, "method_not_allowed")
    assert sent.values(b"allow") == [b"POST, OPTIONS"]
    assert sent.values(b"cache-control") == [b"no-store"]
    assert w.issuer.calls == []


@pytest.mark.parametrize(
    "headers",
    [
        (),
        ((b"content-type", b"text/plain"),),
        ((b"content-type", b"application/x-www-form-urlencoded"),),
        ((b"content-type", b"multipart/form-data; boundary=x"),),
        ((b"content-type", b"application/jsonp"),),
        ((b"content-type", b"text/plain; application/json"),),
        (JSON, (b"content-encoding", b"gzip")),
    ],
)
async def test_what_a_page_can_send_without_a_preflight_is_415(headers: tuple[Header, ...]) -> None:
    """L7: a form on somebody's page must not make a token here."""
    w = world()
    sent = await call(TokenEndpoint(w.gate), json.dumps(ASKED).encode(), headers=headers)
    assert (sent.status, sent.json["code"]) == (415, "unsupported_media_type")
    assert w.issuer.calls == []


async def test_content_may_have_sixteen_kibibytes_and_not_one_more() -> None:
    body = json.dumps(ASKED).encode()
    endpoint = TokenEndpoint(world().gate)
    assert (await call(endpoint, body + b" " * (16_384 - len(body)))).status == 200
    sent = await call(endpoint, body + b" " * (16_385 - len(body)))
    assert (sent.status, sent.json["code"]) == (413, "content_too_large")


async def test_too_much_content_is_refused_before_the_rest_of_it_is_read() -> None:
    """With a Content-Length and without: what is counted is what comes."""
    for headers in ((JSON,), (JSON, (b"content-length", b"1000000000")), (JSON, (b"content-length", b"2"))):
        endless = [{"type": "http.request", "body": b" " * 4096, "more_body": True}] * 5
        with anyio.fail_after(5):  # a sixth part never comes
            sent = await drive(
                TokenEndpoint(world().gate), http_scope("POST", "/guestpass/token", headers), *endless
            )
        assert (sent.status, sent.json["code"]) == (413, "content_too_large")
        assert sent.values(b"cache-control") == [b"no-store"]


async def test_a_client_that_leaves_within_its_content_mints_nothing() -> None:
    w = world()
    part = {"type": "http.request", "body": json.dumps(ASKED).encode(), "more_body": True}
    scope = http_scope("POST", "/guestpass/token", [JSON])
    sent = await drive(TokenEndpoint(w.gate), scope, part, {"type": "http.disconnect"})
    assert sent.status == 400
    assert w.issuer.calls == []


async def test_it_serves_nothing_but_http() -> None:
    with pytest.raises(RuntimeError, match="HTTP only"):
        await drive(TokenEndpoint(world().gate), websocket_scope(None))


# --- tokens that are no good --------------------------------------------------------------------------------

TAMPERED = token().compact[:-8].decode() + "AAAAAAAA"


@pytest.mark.parametrize(
    "current", [TAMPERED, "rubbish", "é.ü.ö", "a" * 9000, token(iss="x").compact.decode()]
)
async def test_a_token_that_is_not_genuine_heals_or_is_refused_as_configured(current: str) -> None:
    w = world()
    members = {**ASKED, "currentToken": current}
    sent = await post(w, members)
    assert (sent.status, sent.json["rotated"]) == (200, True)
    sent = await post(w, members, refuse_invalid=True)
    assert (sent.status, sent.json["code"]) == (401, "invalid_token")
    assert sent.values(b"www-authenticate") == [b'Bearer realm="guest", error="invalid_token"']
    assert sent.values(b"cache-control") == [b"no-store"]
    assert len(w.issuer.calls) == 1


# --- limits and faults --------------------------------------------------------------------------------------


async def test_who_asks_too_often_is_told_how_long_to_wait() -> None:
    """L1."""
    clock = HeldClock()
    w = world(clock=clock)
    limiter = MemoryLimiter(2, 60, clock)
    for left in (b"1", b"0"):
        sent = await post(w, ASKED, limiter=limiter)
        assert sent.status == 200
        assert sent.values(b"ratelimit-limit") == [b"2"]
        assert sent.values(b"ratelimit-remaining") == [left]
        clock.advance(10)
    sent = await post(w, ASKED, limiter=limiter)
    assert (sent.status, sent.json["code"]) == (429, "too_many_requests")
    assert sent.values(b"retry-after") == sent.values(b"ratelimit-reset") == [b"40"]
    assert sent.values(b"ratelimit-remaining") == [b"0"]
    assert sent.values(b"cache-control") == [b"no-store"]
    assert len(w.issuer.calls) == 2
    clock.advance(40)
    assert (await post(w, ASKED, limiter=limiter)).status == 200


async def test_a_request_at_fault_counts_and_one_of_another_method_does_not() -> None:
    clock = HeldClock()
    w = world(clock=clock)
    limiter = MemoryLimiter(1, 60, clock)
    endpoint = TokenEndpoint(w.gate, limiter=limiter)
    assert (await call(endpoint, b"", method="GET")).status == 405
    assert (await call(endpoint, b"{}")).values(b"ratelimit-remaining") == [b"0"]
    assert (await call(endpoint, b"{}")).status == 429


async def test_addresses_are_counted_apart_and_one_ipv6_network_is_one() -> None:
    clock = HeldClock()
    endpoint = TokenEndpoint(world(clock=clock).gate, limiter=MemoryLimiter(1, 60, clock))

    async def status(address: str | None) -> int:
        scope = http_scope("POST", "/t", [JSON], client=address and (address, 1))
        body: Message = {"type": "http.request", "body": json.dumps(ASKED).encode()}
        return (await drive(endpoint, scope, body)).status

    assert [await status(a) for a in ("192.0.2.1", "192.0.2.2", "192.0.2.1")] == [200, 200, 429]
    assert [await status(a) for a in ("2001:db8::1", "2001:db8::2", "2001:db8:0:1::1")] == [200, 429, 200]
    assert [await status(None), await status(None)] == [200, 429]


async def test_the_budget_for_all_is_429_as_well() -> None:
    clock = HeldClock()
    w = world(clock=clock, budget=MemoryLimiter(1, 60, clock))
    assert (await post(w, ASKED)).status == 200
    sent = await post(w, ASKED)
    assert (sent.status, sent.values(b"retry-after")) == (429, [b"60"])
    assert len(w.issuer.calls) == 1


@pytest.mark.parametrize(
    ("failure", "status", "code"),
    [
        (IssuerMisconfigured(retry_after=30), 502, "issuer_misconfigured"),
        (Unavailable(retry_after=30), 503, "unavailable"),
    ],
)
async def test_an_issuer_that_fails_is_a_fault_of_ours_for_as_long_as_it_does(
    failure: Exception, status: int, code: str
) -> None:
    """The vendor's 401 and 403 are about our credentials: 502, never a 401 that blames the visitor."""
    w = world()
    w.issuer.failure = failure
    for _ in range(2):
        sent = await post(w, ASKED)
        assert (sent.status, sent.json["code"]) == (status, code)
        assert sent.values(b"retry-after") == [b"30"]
        assert sent.values(b"www-authenticate") == []
        assert sent.values(b"cache-control") == [b"no-store"]
        assert "detail" not in sent.json
    assert len(w.issuer.calls) == 1


async def test_an_identity_that_the_issuer_refuses_is_401_and_stops_nobody_else() -> None:
    w = world()
    w.issuer.failure = TokenRefused()
    sent = await post(w, ASKED)
    assert (sent.status, sent.json["code"]) == (401, "token_refused")
    w.issuer.failure = None
    assert (await post(w, ASKED)).status == 200


# --- pages of other origins ---------------------------------------------------------------------------------


async def test_a_preflight_of_a_configured_origin_is_answered_and_mints_nothing() -> None:
    w = world(surface=CORS)
    sent = await call(TokenEndpoint(w.gate), b"", headers=(SHOP, ASKS_POST), method="OPTIONS")
    assert (sent.status, sent.body) == (204, b"")
    assert dict(sent.headers) == {
        b"cache-control": b"no-store",
        b"vary": b"Origin",
        b"access-control-allow-origin": ORIGIN,
        b"access-control-allow-methods": b"POST",
        b"access-control-allow-headers": b"Content-Type, X-Guest-Token",
        b"access-control-max-age": b"600",
    }
    assert w.issuer.calls == []


@pytest.mark.parametrize("origin", [b"https://evil.example", b"null", b"https://shop.example.evil", b""])
async def test_other_origins_are_told_nothing(origin: bytes) -> None:
    """P16."""
    w = world(surface=CORS)
    endpoint = TokenEndpoint(w.gate)
    preflight = await call(endpoint, b"", headers=((b"origin", origin), ASKS_POST), method="OPTIONS")
    answer = await post(w, ASKED, (b"origin", origin))
    failure = await call(endpoint, b"", headers=(JSON, (b"origin", origin)))
    for sent in (preflight, answer, failure):
        assert not [name for name, _ in sent.headers if name.startswith(b"access-control")]
        assert sent.values(b"vary") == [b"Origin"]


@pytest.mark.parametrize("headers", [(SHOP,), (ASKS_POST,)])
async def test_options_that_is_no_preflight_is_a_method_like_any_other(headers: tuple[Header, ...]) -> None:
    """P16."""
    sent = await call(TokenEndpoint(world(surface=CORS).gate), b"", headers=headers, method="OPTIONS")
    assert sent.status == 405


async def test_a_configured_origin_may_read_good_and_bad_answers() -> None:
    """P15."""
    w = world(surface=CORS)
    clock = w.clock
    endpoint = TokenEndpoint(w.gate, limiter=MemoryLimiter(2, 60, clock))
    body = json.dumps(ASKED).encode()
    answers = [await call(endpoint, part, headers=(JSON, SHOP)) for part in (body, b"", body)]
    assert [sent.status for sent in answers] == [200, 400, 429]
    for sent in answers:
        assert sent.values(b"access-control-allow-origin") == [ORIGIN]
        assert sent.values(b"vary") == [b"Origin"]


async def test_without_a_header_of_its_own_the_token_is_not_named_in_a_preflight() -> None:
    surface = Surface(sources=Sources(header=None, bearer=True), cors=CORS.cors)
    endpoint = TokenEndpoint(world(surface=surface).gate)
    sent = await call(endpoint, b"", headers=(SHOP, ASKS_POST), method="OPTIONS")
    assert sent.values(b"access-control-allow-headers") == [b"Content-Type"]


# --- logs ---------------------------------------------------------------------------------------------------


async def test_nothing_personal_and_no_token_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    w = world()
    currents = [token(), token(exp=NEAR), token(exp=DUE), token(exp=DEAD), token(iss="x")]
    with caplog.at_level(logging.DEBUG):
        await post(w, ASKED)
        for raw in currents:
            await post(w, {**ASKED, "currentToken": raw.compact.decode()})
        await post(w, {**ASKED, "currentToken": TAMPERED}, refuse_invalid=True)
        await post(w, {**ASKED, "email": "ada@bad"})
        w.issuer.answer = lambda _: token(key="unpublished")
        await post(w, ASKED)
    assert len(caplog.records) >= 4
    for text in (ADA.name, ADA.email, "ada@bad", "sub-of-Ada"):
        assert text not in caplog.text
    for raw in currents:
        assert raw.compact.rpartition(b".")[2].decode()[:20] not in caplog.text


async def test_the_guarded_app_is_no_part_of_it() -> None:
    """A token in the request's own field counts for nothing here: only the body speaks."""
    w = world()
    scope = carrying(token(), JSON, method="POST")
    body: Message = {"type": "http.request", "body": json.dumps(ASKED).encode()}
    sent = await drive(TokenEndpoint(w.gate), scope, body)
    assert sent.json["rotated"] is True
