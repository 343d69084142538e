"""What the OpenAPI document says of the token endpoint beyond what a generated request can try.

tests/server/test_token_endpoint_schemathesis.py generates the requests.
"""

import json
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kit import Sent, drive, http_scope, world

from guestpass.asgi import json_endpoint, token_endpoint
from guestpass.asgi.token_endpoint import TokenEndpoint

ROOT = Path(__file__).parent.parent.parent
DOCUMENT: dict[str, Any] = json.loads((ROOT / "docs" / "openapi" / "token-endpoint.json").read_text("utf-8"))
SCHEMAS = DOCUMENT["components"]["schemas"]
RESPONSES = DOCUMENT["paths"]["/guestpass/token"]["post"]["responses"]
VISITOR = {"name": "Ada", "email": "ada@example.org"}


def call(body: bytes, *, media_type: bytes = b"application/json", method: str = "POST") -> tuple[Sent, int]:
    """One request; the answer, and how often the issuer was asked."""
    here = world()
    scope = http_scope(
        method, "/guestpass/token", [(b"content-type", media_type), (b"origin", b"https://evil.example")]
    )

    async def post() -> Sent:
        return await drive(TokenEndpoint(here.gate), scope, {"type": "http.request", "body": body})

    return anyio.run(post), len(here.issuer.calls)


def check(sent: Sent, mints: int) -> None:
    """The law: every answer is documented; only a good one mints, and none is open to another origin."""
    assert str(sent.status) in RESPONSES
    assert sent.values(b"cache-control") == [b"no-store"]
    assert sent.values(b"access-control-allow-origin") == []
    if sent.status == 200:
        assert set(sent.json) == set(SCHEMAS["Issued"]["required"])
    else:
        assert mints == 0
        assert sent.values(b"content-type") == [b"application/problem+json"]
        assert set(SCHEMAS["Problem"]["required"]) <= set(sent.json) <= set(SCHEMAS["Problem"]["properties"])
        assert sent.json["status"] == sent.status


@given(
    st.sampled_from(["application/json", "Application/JSON; charset=utf-8"]),
    st.text("abc ", min_size=1, max_size=9),
)
def test_what_the_document_allows_is_served(media_type: str, name: str) -> None:
    sent, mints = call(json.dumps({**VISITOR, "name": f"x{name}"}).encode(), media_type=media_type.encode())
    check(sent, mints)
    assert (sent.status, mints) == (200, 1)


@pytest.mark.parametrize(
    "media_type",
    [
        b"text/plain",
        b"text/plain; application/json",
        b"application/x-www-form-urlencoded",
        b"multipart/form-data; boundary=x",
        b"",
        b"application/jsonp",
    ],
)
def test_what_a_page_can_post_without_asking_is_refused(media_type: bytes) -> None:
    """L7: what a form or a simple request may declare (Fetch), its disguises, and no open CORS."""
    sent, mints = call(json.dumps(VISITOR).encode(), media_type=media_type)
    check(sent, mints)
    assert (sent.status, mints) == (415, 0)


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "TRACE", "post", "X"])
def test_every_method_but_the_documented_one_is_refused(method: str) -> None:
    sent, mints = call(json.dumps(VISITOR).encode(), method=method)
    check(sent, mints)
    assert (sent.status, mints) == (405, 0)


def test_the_documented_bounds_are_the_ones_in_force() -> None:
    properties = SCHEMAS["Visitor"]["properties"]
    assert set(properties) == token_endpoint._MEMBERS
    assert properties["name"]["maxLength"] == token_endpoint._MOST_NAME
    assert properties["email"]["maxLength"] == token_endpoint._MOST_EMAIL
    assert (
        f"{json_endpoint._MOST_BODY:,}"
        in DOCUMENT["paths"]["/guestpass/token"]["post"]["requestBody"]["description"]
    )
