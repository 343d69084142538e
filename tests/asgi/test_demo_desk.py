"""The demo's page and switch: files of ours alone, and a switch that only the page itself can use."""

import json
from typing import Any

import pytest
from kit import drive, http_scope
from starlette.types import Message

from guestpass.demo.desk import PATH, SWITCH, desk

pytestmark = pytest.mark.anyio


class Issuer:
    """An issuer that remembers how it was switched."""

    def __init__(self) -> None:
        self.switched: list[bool] = []

    def issuer(self) -> dict[str, Any]:
        return {"on": not self.switched or self.switched[-1], "mints": 7}

    def switch_issuer(self, *, on: bool) -> None:
        self.switched.append(on)


def posted(body: bytes) -> Message:
    return {"type": "http.request", "body": body, "more_body": False}


@pytest.mark.parametrize(
    ("name", "media"),
    [
        ("", "text/html"),
        ("demo.css", "text/css"),
        ("demo.js", "text/javascript"),
        ("icon.svg", "image/svg+xml"),
    ],
)
async def test_the_page_is_ours_alone(name: str, media: str) -> None:
    sent = await drive(desk(Issuer()), http_scope(path=PATH + name))
    assert sent.status == 200
    assert sent.values(b"content-type")[0].startswith(media.encode())
    [policy] = sent.values(b"content-security-policy")
    assert policy.startswith(b"default-src 'none'")
    assert b"unsafe" not in policy
    assert b"http" not in sent.body.replace(b"http://www.w3.org/2000/svg", b"")
    assert b" style=" not in sent.body


async def test_other_paths_are_not_there() -> None:
    assert (await drive(desk(Issuer()), http_scope(path="/demo/desk.py"))).status == 404


@pytest.mark.parametrize("host", ["127.0.0.1:8080", "localhost:8080", "[::1]:8080"])
async def test_the_page_switches_the_issuer(host: str) -> None:
    issuer = Issuer()
    headers = [(b"host", host.encode()), (b"origin", f"http://{host}".encode())]
    for on in (False, True):
        body = posted(json.dumps({"on": on}).encode())
        sent = await drive(desk(issuer), http_scope("POST", SWITCH, headers), body)
        assert (sent.status, sent.json) == (200, {"on": on, "mints": 7})
        assert sent.values(b"cache-control") == [b"no-store"]
    assert issuer.switched == [False, True]


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("127.0.0.1:8080", "http://evil.example"),
        ("127.0.0.1:8080", "http://127.0.0.1:3000"),  # another app of this machine
        ("127.0.0.1:8080", "null"),
        ("127.0.0.1:8080", None),
        ("evil.example:8080", "http://evil.example:8080"),  # a name that was rebound to loopback
        ("127.0.0.1.evil.example:8080", "http://127.0.0.1.evil.example:8080"),
        ("", "http://"),
    ],
)
async def test_nobody_else_does(host: str, origin: str | None) -> None:
    issuer = Issuer()
    headers = [(b"host", host.encode())]
    if origin is not None:
        headers.append((b"origin", origin.encode()))
    sent = await drive(desk(issuer), http_scope("POST", SWITCH, headers), posted(b'{"on": false}'))
    assert sent.status == 403
    assert issuer.switched == []


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"on": 0}', b'{"on": "false"}', b"\xff"])
async def test_a_body_that_says_neither_on_nor_off_switches_nothing(body: bytes) -> None:
    issuer = Issuer()
    headers = [(b"host", b"localhost:1"), (b"origin", b"http://localhost:1")]
    sent = await drive(desk(issuer), http_scope("POST", SWITCH, headers), posted(body))
    assert (sent.status, issuer.switched) == (400, [])


async def test_the_switch_tells_how_the_issuer_is_and_knows_no_other_method() -> None:
    assert (await drive(desk(Issuer()), http_scope(path=SWITCH))).json == {"on": True, "mints": 7}
    sent = await drive(desk(Issuer()), http_scope("DELETE", SWITCH))
    assert (sent.status, sent.values(b"allow")) == (405, [b"GET, POST"])
