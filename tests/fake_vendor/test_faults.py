"""Each fault does what its name says, at the calls its rule names, and to nothing else."""

import json
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any

import anyio
import pytest
from jwcrypto.jwk import JWK, InvalidJWKValue
from vendor_client import ADA, JWKS, LOGIN, ME, MINT, VendorClient, bearer, claims_of, header_of

from guestpass.core import base64url
from guestpass.errors import ConfigError
from guestpass.fake_vendor.rules import ACTIONS, Rule, read_rule
from guestpass.testing import FakeVendor, FrozenClock

pytestmark = pytest.mark.anyio


async def statuses(client: VendorClient, count: int, path: str = JWKS) -> list[int]:
    return [(await client.ask("GET", path)).status_code for _ in range(count)]


# --- when -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("when", "expected"),
    [
        ({}, [503, 503, 503, 503]),
        ({"nth": 2}, [200, 503, 200, 200]),
        ({"first": 2}, [503, 503, 200, 200]),
        ({"probability": 0}, [200, 200, 200, 200]),
        ({"probability": 1}, [503, 503, 503, 503]),
    ],
)
async def test_a_rule_acts_at_the_calls_it_names(
    client: VendorClient, when: dict[str, Any], expected: list[int]
) -> None:
    client.vendor.faults.add("server_error", route="jwks", **when)
    assert await statuses(client, 4) == expected


async def test_a_rule_counts_its_own_route_from_when_it_was_added(client: VendorClient) -> None:
    await statuses(client, 3)
    client.vendor.faults.add("server_error", route="jwks", nth=2)
    await client.login()
    assert await statuses(client, 3) == [200, 503, 200]
    assert client.vendor.faults.state()[0]["seen"] == 3


async def test_of_two_rules_that_fire_the_older_acts_and_both_count(client: VendorClient) -> None:
    client.vendor.faults.add("server_error", route="jwks", nth=1, status=500)
    client.vendor.faults.add("server_error", route="jwks", nth=2, status=502)
    assert await statuses(client, 3) == [500, 502, 200]


async def test_a_rule_for_all_routes_leaves_those_it_means_nothing_on(client: VendorClient) -> None:
    client.vendor.faults.add("forbidden")
    access = await client.login()
    assert await statuses(client, 1) == [200]
    assert (await client.mint(access)).status_code == 403


async def test_a_method_that_is_not_there_is_not_a_call(client: VendorClient) -> None:
    client.vendor.faults.add("server_error", route="login", nth=1)
    assert (await client.ask("GET", LOGIN)).status_code == 405
    assert client.vendor.faults.state()[0]["seen"] == 0


async def test_cleared_faults_are_gone(client: VendorClient) -> None:
    client.vendor.faults.add("server_error")
    client.vendor.faults.clear()
    assert await statuses(client, 1) == [200]


# --- in the handler's place -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "seconds", "expected"),
    [
        ("seconds", 7, "7"),
        ("seconds", 0.2, "1"),
        ("absent", 1, None),
        ("garbage", 1, "in a while"),
        ("day", 1, "86400"),
    ],
)
async def test_retry_after_is_written_as_asked(
    client: VendorClient, kind: str, seconds: float, expected: str | None
) -> None:
    client.vendor.faults.add("rate_limited", retry_after=kind, seconds=seconds)
    answer = await client.ask("GET", JWKS)
    assert (answer.status_code, answer.headers.get("retry-after")) == (429, expected)
    assert answer.json()["code"] == "too.many.requests.retry.after"
    assert answer.json()["contextId"] == answer.headers["inin-correlation-id"]


@pytest.mark.parametrize(("kind", "distance"), [("http_date", 90), ("past", -86_400)])
async def test_retry_after_may_be_a_date_by_the_vendors_clock(
    client: VendorClient, clock: FrozenClock, kind: str, distance: float
) -> None:
    client.vendor.faults.add("rate_limited", retry_after=kind, seconds=90)
    date = (await client.ask("GET", JWKS)).headers["retry-after"]
    assert parsedate_to_datetime(date).timestamp() - clock.time() == distance


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (500, "internal.server.error"),
        (502, "internal.server.error"),
        (503, "service.unavailable"),
        (504, "request.timeout"),
    ],
)
@pytest.mark.parametrize(
    ("body", "media_type"), [("envelope", "application/json"), ("html", "text/html"), ("empty", None)]
)
async def test_a_server_error_comes_as_envelope_page_or_nothing(
    client: VendorClient, status: int, code: str, body: str, media_type: str | None
) -> None:
    client.vendor.faults.add("server_error", status=status, body=body)
    answer = await client.ask("POST", MINT, json=ADA)
    assert answer.status_code == status
    assert answer.headers.get("content-type", "").partition(";")[0] == (media_type or "")
    assert (answer.content == b"") == (body == "empty")
    if body == "envelope":
        assert (answer.json()["status"], answer.json()["code"]) == (status, code)
    assert client.vendor.journal[-1].outcome == code


async def test_a_page_and_a_redirect_stand_where_a_document_was_expected(client: VendorClient) -> None:
    client.vendor.faults.add("html", nth=1)
    client.vendor.faults.add("redirect", nth=2, location="http://canary.invalid/jwks")
    page, redirect = await client.ask("GET", JWKS), await client.ask("GET", JWKS)
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert page.text.startswith("<!doctype html>")
    assert (redirect.status_code, redirect.headers["location"]) == (302, "http://canary.invalid/jwks")


# --- the document -----------------------------------------------------------------------------------------


async def test_a_document_can_be_broken_mislabelled_or_huge(client: VendorClient) -> None:
    client.vendor.faults.add("malformed", nth=1)
    client.vendor.faults.add("wrong_content_type", nth=2)
    client.vendor.faults.add("huge", nth=3, size=300_000)
    broken, mislabelled, huge, whole = [await client.ask("GET", JWKS) for _ in range(4)]
    assert broken.status_code == 200
    with pytest.raises(json.JSONDecodeError):
        broken.json()
    assert mislabelled.headers["content-type"].startswith("text/plain")
    assert len(huge.content) == 300_000
    assert mislabelled.json() == huge.json() == whole.json()


async def test_a_duplicate_kid_puts_an_impostor_before_the_true_key(client: VendorClient) -> None:
    client.vendor.faults.add("duplicate_kid", nth=1)
    token = await client.token()
    impostor, true = await client.jwks()
    assert impostor["kid"] == true["kid"] == header_of(token)["kid"]
    assert claims_of(token, [impostor]) is None
    assert claims_of(token, [true]) is not None


async def test_a_broken_neighbour_leaves_the_good_key_as_it_is(client: VendorClient) -> None:
    client.vendor.faults.add("broken_neighbour", nth=1)
    broken, good = await client.jwks()
    with pytest.raises(InvalidJWKValue):
        JWK(**broken)
    assert claims_of(await client.token(), [good]) is not None


# --- the token --------------------------------------------------------------------------------------------


async def minted(client: VendorClient, action: str) -> tuple[Any, dict[str, Any] | None, dict[str, Any]]:
    """The answer to a mint under `action`, and its claims set if the signature is true."""
    client.vendor.faults.add(action, route="mint")
    answer = await client.mint(await client.login())
    document = answer.json()
    assert answer.status_code == 200
    assert client.vendor.mints == 1
    token = document.get("token")
    claims = claims_of(token, await client.jwks()) if isinstance(token, str) and token.isprintable() else None
    return token, claims, document


async def test_a_token_can_be_missing_or_not_a_string_or_hold_a_line_break(clock: FrozenClock) -> None:
    missing, _, document = await minted(VendorClient(FakeVendor(clock=clock)), "token_missing")
    assert (missing, set(document)) == (None, {"expires_at"})
    wrong, _, _ = await minted(VendorClient(FakeVendor(clock=clock)), "token_not_a_string")
    assert isinstance(wrong, dict)
    split, _, _ = await minted(VendorClient(FakeVendor(clock=clock)), "token_with_line_break")
    assert split.endswith("\r\nX-Injected: 1")


async def test_an_expired_token_is_genuine_and_says_so_itself(
    client: VendorClient, clock: FrozenClock
) -> None:
    _, claims, document = await minted(client, "token_expired")
    assert claims is not None
    assert claims["iat"] < claims["exp"] == clock.time() - 1800
    assert datetime.fromisoformat(document["expires_at"]).timestamp() == claims["exp"]


async def test_a_token_can_lack_its_exp(client: VendorClient) -> None:
    _, claims, _ = await minted(client, "token_without_exp")
    assert claims is not None
    assert "exp" not in claims


@pytest.mark.parametrize(("action", "claim"), [("token_other_issuer", "iss"), ("token_other_subject", "sub")])
async def test_a_token_can_be_of_another_issuer_or_subject(
    client: VendorClient, action: str, claim: str
) -> None:
    _, claims, _ = await minted(client, action)
    client.vendor.faults.clear()
    usual = claims_of(await client.token(), await client.jwks())
    assert claims is not None
    assert usual is not None
    assert {name for name in usual if name != "jti" and usual[name] != claims[name]} == {claim}


async def test_an_unsigned_token_names_no_algorithm_and_has_no_signature(client: VendorClient) -> None:
    client.vendor.faults.add("token_unsigned")
    token = await client.token()
    header, _, signature = token.split(".")
    assert json.loads(base64url.decode(header.encode()))["alg"] == "none"
    assert signature == ""


async def test_an_unpublished_key_signs_one_token_and_no_more(client: VendorClient) -> None:
    client.vendor.faults.add("token_unpublished_key", nth=1)
    stray, good = await client.token(), await client.token()
    assert claims_of(stray, await client.jwks()) is None
    assert claims_of(good, await client.jwks()) is not None


async def test_expires_at_can_be_garbage_or_later_than_exp(clock: FrozenClock) -> None:
    _, _, garbage = await minted(VendorClient(FakeVendor(clock=clock)), "expires_at_garbage")
    assert garbage["expires_at"] == "soon"
    _, claims, late = await minted(VendorClient(FakeVendor(clock=clock)), "expires_at_late")
    assert claims is not None
    assert datetime.fromisoformat(late["expires_at"]).timestamp() == claims["exp"] + 3600


@pytest.mark.parametrize("stamp", ["iat", "nbf", "exp"])
async def test_one_stamp_of_one_token_can_be_wrong(
    client: VendorClient, clock: FrozenClock, stamp: str
) -> None:
    client.vendor.faults.add("skew", route="mint", nth=1, stamp=stamp, seconds=-5)
    wrong, right = [claims_of(await client.token(), await client.jwks()) or {} for _ in range(2)]
    assert {name for name in ("iat", "nbf", "exp") if wrong[name] != right[name]} == {stamp}
    assert right[stamp] - wrong[stamp] == 5


async def test_an_access_token_can_be_dead_on_arrival_or_die_in_use(client: VendorClient) -> None:
    client.vendor.faults.add("access_token_expired", route="login", nth=1)
    dead = await client.mint(await client.login())
    assert (dead.status_code, dead.json()["code"]) == (401, "bad.credentials")
    access = await client.login()
    client.vendor.faults.add("access_token_expired", route="mint", nth=1)
    dying = await client.mint(access)
    assert (dying.status_code, dying.json()["code"]) == (401, "credentials.expired")
    assert (await client.ask("GET", ME, headers=bearer(access))).status_code == 401


# --- the transport, as far as it can be seen in process ----------------------------------------------------


async def test_a_vendor_that_hangs_answers_nothing_and_runs_no_handler(client: VendorClient) -> None:
    access = await client.login()
    client.vendor.faults.add("hang", route="mint")
    with anyio.move_on_after(0.05) as scope:
        await client.mint(access)
    assert scope.cancelled_caught
    assert client.vendor.mints == 0
    assert client.vendor.journal[-1].outcome == "none"


@pytest.mark.parametrize(("action", "mints"), [("reset_before", 0), ("reset_after", 1)])
async def test_in_process_a_reset_is_an_exception(client: VendorClient, action: str, mints: int) -> None:
    access = await client.login()
    client.vendor.faults.add(action, route="mint")
    with pytest.raises(ConnectionResetError):
        await client.mint(access)
    assert client.vendor.mints == mints


# --- rules that cannot be ---------------------------------------------------------------------------------


@pytest.mark.parametrize("action", ACTIONS)
def test_a_rule_survives_being_written_as_json(action: str) -> None:
    faults = FakeVendor().faults
    rule = faults.add(action)
    written = json.loads(json.dumps(faults.state()))[0]
    assert written.pop("seen") == 0
    assert read_rule(written) == rule


@pytest.mark.parametrize(
    ("members", "field"),
    [
        ({}, "action"),
        ({"action": "explode"}, "action"),
        ({"action": ["hang"]}, "action"),
        ({"action": "hang", "rout": "mint"}, "rout"),
        ({"action": "hang", "route": "nowhere"}, "route"),
        ({"action": "token_missing", "route": "jwks"}, "route"),
        ({"action": "hang", "nth": 0}, "nth"),
        ({"action": "hang", "nth": True}, "nth"),
        ({"action": "hang", "nth": 1.0}, "nth"),
        ({"action": "hang", "first": 0}, "first"),
        ({"action": "hang", "first": 1, "nth": 1}, "nth"),
        ({"action": "hang", "probability": 1.1}, "probability"),
        ({"action": "hang", "probability": float("nan")}, "probability"),
        ({"action": "hang", "probability": "1"}, "probability"),
        ({"action": "slow", "seconds": -1}, "seconds"),
        ({"action": "slow", "seconds": float("inf")}, "seconds"),
        ({"action": "server_error", "status": 499}, "status"),
        ({"action": "server_error", "status": 600}, "status"),
        ({"action": "server_error", "body": "pdf"}, "body"),
        ({"action": "rate_limited", "retry_after": "soon"}, "retry_after"),
        ({"action": "skew", "stamp": "jti"}, "stamp"),
        ({"action": "redirect", "location": "/a\r\nb"}, "location"),
        ({"action": "huge", "size": 0}, "size"),
    ],
)
def test_a_rule_that_cannot_be_is_refused_by_field(members: dict[str, Any], field: str) -> None:
    with pytest.raises(ConfigError) as refused:
        read_rule(members)
    assert refused.value.field == field


def test_a_rule_may_look_into_the_past_only_to_skew() -> None:
    assert Rule(action="skew", seconds=-5).skew.iat == -5
