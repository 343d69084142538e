"""The fixtures that users get with the package: there without a line of theirs, fresh for each test."""

import subprocess
import sys
from typing import Any

import httpx
import pytest
from vendor_client import ADA, CREDENTIALS, FORM, JWKS, LOGIN, MINT, bearer, claims_of

from guestpass.testing import FakeIssuer, FakeVendor, FrozenClock


def fetch(vendor: FakeVendor) -> dict[str, Any]:
    """The claims set of a token that was minted over HTTP."""
    with httpx.Client(base_url=vendor.url, timeout=5) as client:
        access = client.post(LOGIN, data=FORM, auth=CREDENTIALS).json()["access_token"]
        token = client.post(MINT, json=ADA, headers=bearer(access)).json()["token"]
        return claims_of(token, client.get(JWKS).json()["keys"]) or {}


def test_the_vendor_fixture_is_served_on_the_frozen_clock(
    guestpass_vendor: FakeVendor, guestpass_clock: FrozenClock, guestpass_issuer: FakeIssuer
) -> None:
    first = fetch(guestpass_vendor)
    guestpass_clock.advance(1000)
    later = fetch(guestpass_vendor)
    assert later["iat"] - first["iat"] == 1000
    assert later["exp"] - later["iat"] == 1800
    assert guestpass_vendor.mints == 2
    assert guestpass_issuer.clock is guestpass_clock


@pytest.mark.parametrize("turn", [1, 2])
def test_each_test_has_a_vendor_of_its_own(guestpass_vendor: FakeVendor, turn: int) -> None:
    guestpass_vendor.faults.add("token_missing", nth=2)
    assert guestpass_vendor.mints == 0
    fetch(guestpass_vendor)
    assert len(guestpass_vendor.journal) == 3


class TestOptions:
    """An override, as a user writes it."""

    @pytest.fixture
    def guestpass_vendor_options(self) -> dict[str, Any]:
        return {"lifetime": 77, "issuer": "https://issuer.example"}

    def test_options_make_the_vendor(self, guestpass_vendor: FakeVendor) -> None:
        claims = fetch(guestpass_vendor)
        assert (claims["iss"], claims["exp"] - claims["iat"]) == ("https://issuer.example", 77)


def test_the_plugin_imports_nothing_until_a_fixture_is_used() -> None:
    """It is loaded in every pytest run of whoever has this package installed."""
    code = (
        "import sys, pytest, guestpass; before = set(sys.modules); import guestpass.pytest_plugin;"
        "print(sorted(set(sys.modules) - before))"
    )
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert loaded.stdout.strip() == "['guestpass.pytest_plugin']"
