"""The browser's script as it is served: cacheable, public, and small."""

import hashlib
from base64 import b64encode

import pytest
from kit import drive, http_scope

from guestpass.asgi.client_script import ClientScript, integrity, script

pytestmark = pytest.mark.anyio

PATH = "/guestpass/client.js"
ETAG = f'"{integrity()}"'.encode()


def test_it_is_under_6_kib_as_it_is() -> None:
    assert len(script()) < 6 * 1024


def test_it_imports_nothing() -> None:
    assert b"import" not in script()


def test_its_integrity_is_the_digest_of_what_is_served() -> None:
    assert integrity() == f"sha384-{b64encode(hashlib.sha384(script()).digest()).decode()}"


async def test_it_is_javascript_that_any_page_and_cache_may_have() -> None:
    sent = await drive(ClientScript(), http_scope(path=PATH))
    assert (sent.status, sent.body) == (200, script())
    assert dict(sent.headers) == {
        b"etag": ETAG,
        b"cache-control": b"public, max-age=3600",
        b"access-control-allow-origin": b"*",
        b"cross-origin-resource-policy": b"cross-origin",
        b"x-content-type-options": b"nosniff",
        b"content-type": b"text/javascript; charset=utf-8",
        b"content-length": b"%d" % len(script()),
    }


@pytest.mark.parametrize("value", [ETAG, b"W/" + ETAG, b'"other", ' + ETAG, b"*"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_who_has_it_is_not_sent_it_again(method: str, value: bytes) -> None:
    sent = await drive(ClientScript(), http_scope(method, PATH, [(b"if-none-match", value)]))
    assert (sent.status, sent.body, sent.values(b"etag")) == (304, b"", [ETAG])
    assert sent.values(b"cache-control") == [b"public, max-age=3600"]
    assert sent.values(b"content-length") == []


@pytest.mark.parametrize("value", [b'"other"', ETAG.strip(b'"')])
async def test_who_has_another_one_is_sent_it(value: bytes) -> None:
    sent = await drive(ClientScript(), http_scope(path=PATH, headers=[(b"if-none-match", value)]))
    assert sent.status == 200


async def test_head_is_get_without_the_body() -> None:
    got = await drive(ClientScript(), http_scope(path=PATH))
    head = await drive(ClientScript(), http_scope("HEAD", PATH))
    assert (head.status, head.headers, head.body) == (200, got.headers, b"")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
async def test_it_can_only_be_read(method: str) -> None:
    sent = await drive(ClientScript(), http_scope(method, PATH))
    assert (sent.status, sent.values(b"allow")) == (405, [b"GET, HEAD"])
    assert sent.values(b"etag") == []
