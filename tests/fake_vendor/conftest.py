import pytest
from vendor_client import VendorClient

from guestpass.testing import FakeVendor, FrozenClock


@pytest.fixture
def clock() -> FrozenClock:
    return FrozenClock()


@pytest.fixture
def vendor(clock: FrozenClock) -> FakeVendor:
    return FakeVendor(control=True, clock=clock)


@pytest.fixture
def client(vendor: FakeVendor) -> VendorClient:
    return VendorClient(vendor)
