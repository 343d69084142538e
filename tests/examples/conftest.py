"""What every example needs: a vendor, and a visitor's first token."""

from collections.abc import Iterator

import pytest
from running import GUESTPASS, VENDOR, running


@pytest.fixture(scope="session")
def vendor() -> Iterator[dict[str, str]]:
    """The variables that lead to a running fake vendor."""
    with running(*GUESTPASS, "fake-vendor", "--port", "0") as started:
        yield {**VENDOR, "GUESTPASS_ISSUER__GATEWAY": started.url()}
