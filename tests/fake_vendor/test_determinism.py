"""The same seed gives the same ids and draws, so that a failing test fails again."""

from typing import Any

import pytest
from vendor_client import VendorClient, claims_of

from guestpass.fake_vendor.ids import Ids
from guestpass.testing import FakeVendor, FrozenClock

pytestmark = pytest.mark.anyio


async def transcript(vendor: FakeVendor) -> list[Any]:
    """Everything that varies, over some calls of which each may fail."""
    client = VendorClient(vendor)
    access = await client.login()
    vendor.faults.add("server_error", route="mint", probability=0.5)
    seen: list[Any] = [access]
    for _ in range(12):
        answer = await client.mint(access)
        claims = claims_of(answer.json()["token"], vendor.keys.jwks()["keys"]) if answer.is_success else None
        seen += [answer.status_code, answer.headers["inin-correlation-id"], claims]
    return seen


async def test_one_seed_tells_one_story() -> None:
    first, again, other = [await transcript(FakeVendor(seed=seed, clock=FrozenClock())) for seed in (7, 7, 8)]
    assert first == again
    assert first != other
    assert {200, 503} <= {part for part in first if isinstance(part, int)}


async def test_reset_tells_it_from_the_beginning() -> None:
    vendor = FakeVendor(seed=7, clock=FrozenClock())
    first = await transcript(vendor)
    vendor.clock.advance(60)
    vendor.keys.rotate()
    vendor.reset()
    assert await transcript(vendor) == first


async def test_rules_do_not_sway_each_others_draws() -> None:
    """A rule added later must not change at which calls an earlier one acts."""
    statuses: list[list[int]] = []
    for extra in (False, True):
        client = VendorClient(FakeVendor(seed=3))
        client.vendor.faults.add("server_error", route="jwks", probability=0.3)
        if extra:
            client.vendor.faults.add("slow", route="jwks", probability=0.5, seconds=0)
        statuses.append([(await client.ask("GET", "/api/v2/oauth/jwks")).status_code for _ in range(30)])
    assert statuses[0] == statuses[1]


def test_draws_are_spread_over_the_unit_interval() -> None:
    ids = Ids(1)
    draws = [ids.draw("any") for _ in range(2000)]
    assert all(0 <= draw < 1 for draw in draws)
    assert 0.45 < sum(draws) / len(draws) < 0.55
