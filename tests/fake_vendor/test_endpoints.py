"""Each route answers, and refuses, as VENDOR's facts have it: status, code, every field."""

from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any

import pytest
from vendor_client import (
    ADA,
    CREDENTIALS,
    FORM,
    JWKS,
    LOGIN,
    ME,
    MINT,
    VendorClient,
    bearer,
    claims_of,
    header_of,
)

from guestpass.errors import ConfigError
from guestpass.testing import FakeVendor, FrozenClock

pytestmark = pytest.mark.anyio

ENVELOPE = {
    "message",
    "code",
    "status",
    "contextId",
    "details",
    "errors",
    "messageWithParams",
    "messageParams",
    "entityId",
    "entityName",
    "limit",
}
JSON = {"Content-Type": "application/json"}


# --- login ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [LOGIN, "/api/v2/oauth/token"])
async def test_client_credentials_are_exchanged_for_an_access_token(client: VendorClient, path: str) -> None:
    answer = await client.ask("POST", path, data=FORM, auth=CREDENTIALS)
    assert answer.status_code == 200
    assert answer.json() == {
        "access_token": answer.json()["access_token"],
        "token_type": "bearer",
        "expires_in": 86_400,
    }
    assert client.vendor.access.logins == client.vendor.access.live == 1


@pytest.mark.parametrize(
    ("options", "status", "error"),
    [
        ({"auth": CREDENTIALS}, 400, "invalid_request"),
        ({"auth": CREDENTIALS, "json": FORM}, 400, "invalid_request"),
        ({"auth": CREDENTIALS, "data": {"grant_type": "password"}}, 400, "unsupported_grant_type"),
        (
            {"auth": CREDENTIALS, "data": {"grant_type": ["client_credentials"] * 2}},
            400,
            "unsupported_grant_type",
        ),
        ({"auth": ("nobody", "fake-secret"), "data": FORM}, 400, "invalid_client"),
        ({"auth": ("fake-client", "guess"), "data": FORM}, 401, "invalid_client"),
        ({"data": FORM}, 401, "invalid_client"),
        ({"data": FORM, "headers": {"Authorization": "Basic ?"}}, 401, "invalid_client"),
        ({"data": FORM, "headers": {"Authorization": "Basic /w=="}}, 401, "invalid_client"),
        ({"data": FORM, "headers": {"Authorization": "Basic Zm9v"}}, 401, "invalid_client"),
        ({"data": FORM, "headers": {"Authorization": "Bearer Zm9vOmJhcg=="}}, 401, "invalid_client"),
    ],
)
async def test_a_bad_login_is_told_in_the_login_hosts_own_envelope(
    client: VendorClient, options: dict[str, Any], status: int, error: str
) -> None:
    answer = await client.ask("POST", LOGIN, **options)
    assert answer.status_code == status
    assert set(answer.json()) == {"error", "description"}
    assert answer.json()["error"] == error
    assert ("www-authenticate" in answer.headers) == (status == 401)
    assert client.vendor.access.logins == 0


async def test_one_access_token_too_many_displaces_the_oldest(clock: FrozenClock) -> None:
    client = VendorClient(FakeVendor(clock=clock, max_access_tokens=2))
    first, second, third = [await client.login() for _ in range(3)]
    assert [(await client.mint(access)).status_code for access in (first, second, third)] == [401, 200, 200]


@pytest.mark.parametrize(("later", "status"), [(299, 200), (300, 401), (301, 401)])
async def test_an_access_token_dies_when_expires_in_has_passed(
    clock: FrozenClock, later: int, status: int
) -> None:
    client = VendorClient(FakeVendor(clock=clock, access_lifetime=300))
    access = await client.login()
    clock.advance(later)
    assert (await client.mint(access)).status_code == status


# --- mint -------------------------------------------------------------------------------------------------


async def test_a_mint_yields_a_signed_token_and_its_expiry(client: VendorClient, clock: FrozenClock) -> None:
    answer = await client.mint(await client.login())
    assert answer.status_code == 200
    assert set(answer.json()) == {"token", "expires_at"}
    keys = await client.jwks()
    token = answer.json()["token"]
    assert header_of(token) == {"alg": "RS256", "kid": keys[0]["kid"], "typ": "JWT"}
    claims = claims_of(token, keys)
    assert claims is not None
    now = int(clock.time())
    assert {name: claims[name] for name in claims if name not in ("sub", "jti")} == {
        "iss": "genesys-cloud-webchat",
        **ADA,
        "iat": now,
        "nbf": now,
        "exp": now + 1800,
    }
    assert datetime.fromisoformat(answer.json()["expires_at"]).timestamp() == now + 1800
    assert client.vendor.mints == 1


async def test_a_guest_keeps_the_subject_but_never_gets_the_same_token_twice(client: VendorClient) -> None:
    keys = await client.jwks()
    first, again, other = [
        claims_of(await client.token(guest), keys) or {}
        for guest in (ADA, ADA, {"name": "Bob", "email": "bob@example.com"})
    ]
    assert first["sub"] == again["sub"] != other["sub"]
    assert first["jti"] != again["jti"]


@pytest.mark.parametrize("audience", ["api", ["api", "chat"]])
async def test_issuer_audience_and_lifetime_are_settable(audience: str | list[str]) -> None:
    client = VendorClient(FakeVendor(issuer="https://elsewhere", audience=audience, lifetime=60))
    client.vendor.guests.lifetime = 90
    claims = claims_of(await client.token(), await client.jwks()) or {}
    assert (claims["iss"], claims["aud"], claims["exp"] - claims["iat"]) == (
        "https://elsewhere",
        audience,
        90,
    )


@pytest.mark.parametrize(
    ("headers", "body", "status", "code"),
    [
        ({}, b"{}", 401, "authentication.required"),
        ({"Authorization": "Bearer "}, b"{}", 401, "authentication.required"),
        ({"Authorization": "Basic x"}, b"{}", 401, "authentication.required"),
        ({"Authorization": "Bearer unknown"}, b"{}", 401, "bad.credentials"),
        ({"Content-Type": "text/plain"}, b"{}", 415, "unsupported.media.type"),
        (JSON, b"", 400, "invalid.value"),
        (JSON, b"[" * 100_000, 400, "invalid.value"),
        (JSON, b"\xff", 400, "invalid.value"),
        (JSON, b"[]", 400, "invalid.value"),
        (JSON, b"{}", 400, "invalid.value"),
        (JSON, b'{"name": "Ada"}', 400, "invalid.value"),
        (JSON, b'{"name": "Ada", "email": 1}', 400, "invalid.value"),
        (JSON, b'{"name": " ", "email": "a@b"}', 400, "invalid.value"),
        (JSON, b'{"name": "Ada", "email": ""}', 400, "invalid.value"),
        (JSON, b'{"name": "Ada", "email": "ada"}', 400, "invalid.value"),
        (JSON, b'{"name": "%s", "email": "a@b"}' % (b"a" * 257), 400, "invalid.value"),
        (JSON, b" " * 1_048_577, 413, "request.entity.too.large"),
    ],
)
async def test_a_refused_mint_has_the_platforms_whole_envelope(
    client: VendorClient, headers: dict[str, str], body: bytes, status: int, code: str
) -> None:
    live = bearer(await client.login()) if status != 401 else {}
    answer = await client.ask("POST", MINT, content=body, headers={**live, **headers})
    document = answer.json()
    assert (answer.status_code, document["status"], document["code"]) == (status, status, code)
    assert set(document) == ENVELOPE
    assert document["contextId"] == answer.headers["inin-correlation-id"]
    assert ("www-authenticate" in answer.headers) == (status == 401)
    assert client.vendor.mints == 0
    assert client.vendor.journal[-1].outcome == code


async def test_a_client_whose_role_lacks_the_right_is_forbidden_to_mint() -> None:
    client = VendorClient(FakeVendor(permitted=False))
    answer = await client.mint(await client.login())
    assert (answer.status_code, answer.json()["code"]) == (403, "missing.permissions")


async def test_an_empty_address_is_minted_for_where_none_is_required() -> None:
    client = VendorClient(FakeVendor(require_email=False))
    access = await client.login()
    assert (await client.mint(access, {"name": "Guest", "email": ""})).status_code == 200
    assert (await client.mint(access, {"name": "Guest", "email": "x"})).status_code == 400


# --- the rate limit ---------------------------------------------------------------------------------------


async def test_an_access_token_has_its_calls_a_minute_and_then_gets_429(clock: FrozenClock) -> None:
    client = VendorClient(FakeVendor(clock=clock, rate=3))
    access = await client.login()
    statuses = [(await client.mint(access)).status_code for _ in range(4)]
    assert statuses == [200, 200, 200, 429]
    refused = await client.mint(access)
    assert refused.headers["retry-after"] == "20"
    document = refused.json()
    assert document["code"] == "too.many.requests.retry.after"
    assert document["contextId"] == refused.headers["inin-correlation-id"]
    assert document["limit"] == {"key": "token.rate.per.minute", "namespace": "platform.api", "value": 3}
    assert "20" in document["message"]


@pytest.mark.parametrize(("waited", "status"), [(19.5, 429), (20, 200), (21, 200)])
async def test_after_retry_after_a_call_passes_again(clock: FrozenClock, waited: float, status: int) -> None:
    client = VendorClient(FakeVendor(clock=clock, rate=3))
    access = await client.login()
    for _ in range(3):
        await client.mint(access)
    clock.advance(waited)
    assert (await client.ask("GET", ME, headers=bearer(access))).status_code == status


async def test_each_access_token_has_a_bucket_of_its_own_and_none_without_a_limit() -> None:
    client = VendorClient(FakeVendor(rate=1))
    first, second = await client.login(), await client.login()
    assert [(await client.mint(access)).status_code for access in (first, first, second)] == [200, 429, 200]
    client.vendor.access.rate.per_minute = None
    assert (await client.mint(first)).status_code == 200


# --- the other routes -------------------------------------------------------------------------------------


async def test_the_jwks_shows_public_halves_only(client: VendorClient) -> None:
    (key,) = await client.jwks()
    assert set(key) == {"kty", "use", "alg", "kid", "n", "e"}


async def test_tokens_me_tells_a_live_access_token_from_a_dead_one(client: VendorClient) -> None:
    access = bearer(await client.login())
    live = await client.ask("GET", ME, headers=access)
    assert (live.status_code, live.json()["OAuthClient"]["id"]) == (200, "fake-client")
    client.vendor.access.revoke_all()
    dead = await client.ask("GET", ME, headers=access)
    assert (dead.status_code, dead.json()["code"]) == (401, "bad.credentials")


async def test_head_answers_as_get_without_a_body(client: VendorClient) -> None:
    access = bearer(await client.login())
    head, get = [await client.ask(method, ME, headers=access) for method in ("HEAD", "GET")]
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(get.content))


@pytest.mark.parametrize(
    ("method", "path", "status", "allow"),
    [
        ("GET", LOGIN, 405, "POST"),
        ("GET", MINT, 405, "POST"),
        ("POST", JWKS, 405, "GET, HEAD"),
        ("DELETE", ME, 405, "GET, HEAD"),
        ("GET", "/", 404, None),
        ("GET", JWKS + "/", 404, None),
    ],
)
async def test_what_is_not_there_is_said_so(
    client: VendorClient, method: str, path: str, status: int, allow: str | None
) -> None:
    answer = await client.ask(method, path)
    assert (answer.status_code, answer.headers.get("allow")) == (status, allow)
    assert set(answer.json()) == ENVELOPE


@pytest.mark.parametrize("path", [LOGIN, MINT, JWKS, ME, "/nowhere", "/__fake__/state", "/__fake__/nowhere"])
async def test_every_reply_has_a_correlation_id_one_date_and_no_store(
    client: VendorClient, clock: FrozenClock, path: str
) -> None:
    answers = [await client.ask("GET", path) for _ in range(2)]
    for answer in answers:
        (date,) = answer.headers.get_list("date")
        assert parsedate_to_datetime(date).timestamp() == clock.time()
        assert answer.headers.get_list("cache-control") == ["no-store"]
    assert answers[0].headers["inin-correlation-id"] != answers[1].headers["inin-correlation-id"]


@pytest.mark.parametrize(
    "field", ["lifetime", "access_lifetime", "max_access_tokens", "rate", "jwt_lifetime", "refresh_lifetime"]
)
@pytest.mark.parametrize("value", [0, -1, 1.5, True, "60"])
def test_a_number_that_cannot_be_is_refused_at_the_start(field: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=field):
        FakeVendor(**{field: value})
