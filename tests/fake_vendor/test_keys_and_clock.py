"""Keys rotate, come late, retire and go astray; time passes, and is told wrongly."""

from email.utils import parsedate_to_datetime

import pytest
from vendor_client import JWKS, VendorClient, claims_of, header_of

from guestpass.errors import ConfigError
from guestpass.fake_vendor.keys import ACTIONS
from guestpass.testing import FakeVendor, FrozenClock

pytestmark = pytest.mark.anyio


async def verifies(client: VendorClient, token: str) -> bool:
    return claims_of(token, await client.jwks()) is not None


async def test_after_a_rotation_old_and_new_tokens_verify_until_the_old_key_retires(
    client: VendorClient,
) -> None:
    old = await client.token()
    client.vendor.keys.rotate()
    new = await client.token()
    assert header_of(old)["kid"] != header_of(new)["kid"]
    assert [await verifies(client, old), await verifies(client, new)] == [True, True]
    client.vendor.keys.retire()
    assert [await verifies(client, old), await verifies(client, new)] == [False, True]


async def test_a_key_that_is_published_late_signs_before_the_jwks_shows_it(client: VendorClient) -> None:
    client.vendor.keys.publish_late()
    token = await client.token()
    assert not await verifies(client, token)
    client.vendor.keys.publish()
    assert await verifies(client, token)


async def test_an_unpublished_key_stays_unpublished_and_the_next_rotation_mends_it(
    client: VendorClient,
) -> None:
    client.vendor.keys.sign_unpublished()
    stray = await client.token()
    client.vendor.keys.publish()
    assert not await verifies(client, stray)
    client.vendor.keys.rotate()
    assert await verifies(client, await client.token())
    assert not await verifies(client, stray)


async def test_keys_are_named_by_their_content_and_never_shared_across_seeds(client: VendorClient) -> None:
    client.vendor.keys.rotate()
    kids = {key["kid"] for key in await client.jwks()}
    assert len(kids) == 2
    assert kids.isdisjoint(key["kid"] for key in FakeVendor(seed=1).keys.jwks()["keys"])


@pytest.mark.parametrize("action", ACTIONS)
def test_every_key_action_can_be_done_by_name(action: str) -> None:
    by_name, by_method = FakeVendor(), FakeVendor()
    by_name.keys.apply(action)
    getattr(by_method.keys, action)()
    assert by_name.keys.state() == by_method.keys.state()


def test_an_unknown_key_action_is_refused() -> None:
    with pytest.raises(ConfigError, match="rotate, publish_late"):
        FakeVendor().keys.apply("__init__")


async def test_advancing_moves_the_vendor_and_not_its_source(
    client: VendorClient, clock: FrozenClock
) -> None:
    before = clock.time()
    client.vendor.clock.advance(100)
    claims = claims_of(await client.token(), await client.jwks()) or {}
    assert claims["iat"] == before + 100
    assert clock.time() == before


@pytest.mark.parametrize("seconds", [-1.0, float("nan"), float("inf")])
def test_time_does_not_run_backwards(seconds: float) -> None:
    with pytest.raises(ConfigError, match="advance"):
        FakeVendor().clock.advance(seconds)


@pytest.mark.parametrize(
    ("skew", "expected"),
    [
        (-60, {"iat": -60, "nbf": -60, "exp": -60, "date": -60}),
        ({"iat": 90}, {"iat": 90, "nbf": 0, "exp": 0, "date": 0}),
        ({"nbf": 90}, {"iat": 0, "nbf": 90, "exp": 0, "date": 0}),
        ({"exp": -1800}, {"iat": 0, "nbf": 0, "exp": -1800, "date": 0}),
        ({"date": 86_400}, {"iat": 0, "nbf": 0, "exp": 0, "date": 86_400}),
    ],
)
async def test_each_stamp_can_be_wrong_on_its_own(
    client: VendorClient, clock: FrozenClock, skew: float | dict[str, float], expected: dict[str, float]
) -> None:
    client.vendor.clock.set_skew(skew)
    answer = await client.mint(await client.login())
    claims = claims_of(answer.json()["token"], await client.jwks()) or {}
    now = clock.time()
    assert {
        "iat": claims["iat"] - now,
        "nbf": claims["nbf"] - now,
        "exp": claims["exp"] - 1800 - now,
        "date": parsedate_to_datetime(answer.headers["date"]).timestamp() - now,
    } == expected


async def test_a_skew_that_is_set_anew_forgets_the_one_before(client: VendorClient) -> None:
    client.vendor.clock.set_skew(60)
    client.vendor.clock.set_skew({"iat": 1})
    assert client.vendor.state()["clock"]["skew"] == {"iat": 1, "nbf": 0, "exp": 0, "date": 0}


async def test_without_a_clock_the_vendor_lives_by_the_machines() -> None:
    answer = await VendorClient(FakeVendor()).ask("GET", JWKS)
    assert parsedate_to_datetime(answer.headers["date"]).timestamp() > 1_700_000_000
