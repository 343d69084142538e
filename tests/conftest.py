"""What every test shares: how hard hypothesis looks, and what coverage is measured of."""

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, Phase, settings
from leaks import Watch

# A shared machine stalls now and then, which says nothing of the code: no deadline on a single example.
settings.register_profile("default", deadline=None)
# Twenty times the default, for all of tests/unit in minutes; the parsers have tests/fuzz.py besides.
settings.register_profile(
    "fuzz", deadline=None, max_examples=2_000, suppress_health_check=[HealthCheck.too_slow]
)
# A mutant is noticed or not: the same examples each time, and none made smaller.
settings.register_profile(
    "mutants", deadline=None, derandomize=True, database=None, phases=(Phase.explicit, Phase.generate)
)
settings.load_profile("default")

# Of the processes that run tests, not of the servers that tests start: those are timed.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.pop("COVERAGE_PROCESS_CONFIG", None)

_watch = Watch()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Iterator[None]:
    """Fail the test in which a token was logged, in each of the processes that run tests (P32)."""
    yield
    _watch.require_none()
