"""Hands the fake vendor and its friends to a user's own test suite, as fixtures.

| fixture | what it is |
|---|---|
| `guestpass_clock` | a `FrozenClock` that starts at the present; the other fixtures run on it |
| `guestpass_vendor` | a fresh `FakeVendor`, served over HTTP on loopback: `guestpass_vendor.url` |
| `guestpass_vendor_options` | what it is made with, a dict: override it to change that |
| `guestpass_issuer` | a `FakeIssuer` in process |

It is loaded by every pytest run of an environment that has guestpass, so it imports nothing until a
fixture is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from guestpass.fake_vendor.serving import Stage
    from guestpass.testing import FakeIssuer, FakeVendor, FrozenClock


@pytest.fixture
def guestpass_clock() -> FrozenClock:
    """A clock that starts at the present, so that code with a clock of its own agrees, and then stands."""
    from time import time  # noqa: PLC0415

    from guestpass.testing import FrozenClock  # noqa: PLC0415

    return FrozenClock(time())


@pytest.fixture
def guestpass_issuer(guestpass_clock: FrozenClock) -> FakeIssuer:
    """An issuer in process, on the frozen clock."""
    from guestpass.testing import FakeIssuer  # noqa: PLC0415

    return FakeIssuer(guestpass_clock)


@pytest.fixture
def guestpass_vendor_options() -> dict[str, Any]:
    """The keyword arguments of the `FakeVendor`; override this fixture to change them."""
    return {}


@pytest.fixture(scope="session")
def _guestpass_stage() -> Iterator[tuple[Stage, str]]:
    """One server for the whole run: starting and ending one takes 0.2 s, a vendor nothing."""
    from guestpass.fake_vendor.serving import Stage, serving  # noqa: PLC0415
    from guestpass.testing import FakeVendor  # noqa: PLC0415

    stage = Stage(FakeVendor())
    with serving(stage) as url:
        yield stage, url


@pytest.fixture
def guestpass_vendor(
    _guestpass_stage: tuple[Stage, str],
    guestpass_clock: FrozenClock,
    guestpass_vendor_options: dict[str, Any],
) -> FakeVendor:
    """A fresh vendor at `.url`, on the frozen clock: `guestpass_clock.advance` ages its tokens as well."""
    from guestpass.testing import FakeVendor  # noqa: PLC0415

    stage, url = _guestpass_stage
    vendor = FakeVendor(**{"clock": guestpass_clock, **guestpass_vendor_options})
    vendor.url = url
    stage.app = vendor
    return vendor
