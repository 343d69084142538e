"""The authenticated-messaging routes: a code works once, a refresh keeps the guest, a revocation ends it."""

from typing import Any

import pytest
from vendor_client import VendorClient, bearer, claims_of

from guestpass.testing import FakeVendor, FrozenClock

pytestmark = pytest.mark.anyio

EXCHANGE = "/api/v2/webdeployments/token/oauthcodegrantjwtexchange"
REFRESH = "/api/v2/webdeployments/token/refresh"
REVOKE = "/api/v2/webdeployments/token/revoke"
OAUTH = {"code": "code-1", "redirectUri": "https://shop.example/back", "codeVerifier": "v", "maxAge": 60}
REQUEST = {"deploymentId": "fake-deployment", "oauth": OAUTH}


async def session(client: VendorClient, code: str = "code-1") -> dict[str, str]:
    """The answer to a first exchange."""
    answer = await client.ask("POST", EXCHANGE, json={**REQUEST, "oauth": {**OAUTH, "code": code}})
    assert answer.status_code == 200
    document: dict[str, str] = answer.json()
    return document


def refresh_of(document: dict[str, str]) -> dict[str, str]:
    return {"refreshToken": document["refreshToken"], "deploymentId": "fake-deployment"}


def claims(client: VendorClient, jwt: str) -> dict[str, Any]:
    """The claims set; the key is known to the vendor alone."""
    return claims_of(jwt, [client.vendor.keys.unpublished.export_public(as_dict=True)]) or {}


async def test_a_code_is_exchanged_for_a_jwt_that_no_published_key_verifies(
    client: VendorClient, clock: FrozenClock
) -> None:
    document = await session(client)
    assert set(document) == {"jwt", "refreshToken"}
    assert claims_of(document["jwt"], await client.jwks()) is None
    assert claims(client, document["jwt"])["exp"] == clock.time() + 900


async def test_a_code_works_once(client: VendorClient) -> None:
    await session(client)
    again = await client.ask("POST", EXCHANGE, json=REQUEST)
    assert (again.status_code, again.json()["code"]) == (400, "code.already.used")
    assert client.vendor.web.exchanges == 1


async def test_a_refresh_keeps_the_guest_and_not_the_jwt(client: VendorClient) -> None:
    first, other = await session(client), await session(client, "code-2")
    answer = await client.ask("POST", REFRESH, json=refresh_of(first))
    assert set(answer.json()) == {"jwt"}
    jwts = [first["jwt"], answer.json()["jwt"], other["jwt"]]
    before, after, stranger = [claims(client, jwt)["sub"] for jwt in jwts]
    assert before == after != stranger
    assert len(set(jwts)) == 3
    assert client.vendor.web.refreshes == 1


async def test_a_refresh_token_can_be_told_to_work_once(client: VendorClient) -> None:
    client.vendor.web.single_use = True
    first = await session(client)
    answer = await client.ask("POST", REFRESH, json=refresh_of(first))
    assert set(answer.json()) == {"jwt", "refreshToken"}
    again = await client.ask("POST", REFRESH, json=refresh_of(first))
    assert (again.status_code, again.json()["code"]) == (401, "refresh.token.invalid")
    assert (await client.ask("POST", REFRESH, json=refresh_of(answer.json()))).status_code == 200


@pytest.mark.parametrize(("later", "status"), [(86_399, 200), (86_400, 401), (86_401, 401)])
async def test_a_refresh_token_dies_in_time(
    client: VendorClient, clock: FrozenClock, later: int, status: int
) -> None:
    document = refresh_of(await session(client))
    clock.advance(later)
    answer = await client.ask("POST", REFRESH, json=document)
    assert answer.status_code == status
    assert answer.json().get("code") == ("refresh.token.expired" if status == 401 else None)


async def test_a_revocation_ends_the_session_and_every_jwt_of_it(client: VendorClient) -> None:
    document = await session(client)
    later = (await client.ask("POST", REFRESH, json=refresh_of(document))).json()["jwt"]
    assert (await client.ask("DELETE", REVOKE, headers=bearer(later))).status_code == 204
    refused = await client.ask("POST", REFRESH, json=refresh_of(document))
    assert (refused.status_code, refused.json()["code"]) == (401, "refresh.token.revoked")
    again = await client.ask("DELETE", REVOKE, headers=bearer(document["jwt"]))
    assert (again.status_code, again.json()["code"]) == (401, "bad.credentials")


@pytest.mark.parametrize(("later", "status"), [(899, 204), (900, 401), (901, 401)])
async def test_a_dead_jwt_revokes_nothing(
    client: VendorClient, clock: FrozenClock, later: int, status: int
) -> None:
    document = await session(client)
    clock.advance(later)
    assert (await client.ask("DELETE", REVOKE, headers=bearer(document["jwt"]))).status_code == status


@pytest.mark.parametrize(
    ("path", "document", "status", "code"),
    [
        (EXCHANGE, [], 400, "invalid.value"),
        (EXCHANGE, {"oauth": OAUTH}, 400, "invalid.value"),
        (EXCHANGE, {**REQUEST, "deploymentId": "other"}, 404, "deployment.not.found"),
        (EXCHANGE, {"deploymentId": "fake-deployment"}, 400, "invalid.value"),
        (EXCHANGE, {**REQUEST, "oauth": {**OAUTH, "code": ""}}, 400, "invalid.value"),
        (EXCHANGE, {**REQUEST, "oauth": {**OAUTH, "redirectUri": 1}}, 400, "invalid.value"),
        (EXCHANGE, {**REQUEST, "oauth": {**OAUTH, "maxAge": "60"}}, 400, "invalid.value"),
        (REFRESH, {"deploymentId": "fake-deployment"}, 400, "invalid.value"),
        (REFRESH, {"deploymentId": "other", "refreshToken": "x"}, 404, "deployment.not.found"),
        (REFRESH, {"deploymentId": "fake-deployment", "refreshToken": "x"}, 401, "refresh.token.invalid"),
    ],
)
async def test_a_bad_request_is_told_and_spends_no_code(
    client: VendorClient, path: str, document: object, status: int, code: str
) -> None:
    answer = await client.ask("POST", path, json=document)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    await session(client)


@pytest.mark.parametrize("path", [EXCHANGE, REFRESH])
async def test_other_media_types_and_broken_json_are_refused(client: VendorClient, path: str) -> None:
    assert (await client.ask("POST", path, data={"a": "b"})).status_code == 415
    headers = {"Content-Type": "application/json"}
    assert (await client.ask("POST", path, content=b"{", headers=headers)).status_code == 400
    assert (await client.ask("DELETE", REVOKE)).json()["code"] == "authentication.required"


async def test_each_route_has_a_limit_of_its_own() -> None:
    client = VendorClient(FakeVendor(rate=2))
    document = await session(client)
    statuses = [(await client.ask("POST", REFRESH, json=refresh_of(document))).status_code for _ in range(3)]
    assert statuses == [200, 200, 429]
    await session(client, "code-2")
    assert (await client.ask("POST", EXCHANGE, json=REQUEST)).headers["retry-after"] == "30"
    revocations = [await client.ask("DELETE", REVOKE, headers=bearer("x")) for _ in range(3)]
    assert [answer.status_code for answer in revocations] == [401, 401, 429]


@pytest.mark.parametrize("route", ["exchange", "refresh"])
async def test_faults_of_the_token_are_faults_of_the_jwt(client: VendorClient, route: str) -> None:
    document = await session(client, "code-0")
    for action in ("token_missing", "token_not_a_string", "token_unsigned"):
        client.vendor.faults.add(action, route=route, nth=len(client.vendor.faults.state()) + 1)
    answers: list[Any] = []
    for code in ("code-1", "code-2", "code-3"):
        exchange = {**REQUEST, "oauth": {**OAUTH, "code": code}}
        path, request = (EXCHANGE, exchange) if route == "exchange" else (REFRESH, refresh_of(document))
        answers.append((await client.ask("POST", path, json=request)).json().get("jwt"))
    missing, wrong, unsigned = answers
    assert missing is None
    assert isinstance(wrong, dict)
    assert unsigned.endswith(".")


async def test_a_reset_makes_every_code_good_again(client: VendorClient) -> None:
    first = await session(client)
    client.vendor.reset()
    assert await session(client) == first
