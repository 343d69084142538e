"""The list of metrics: bounded, complete, documented; and how several workers' numbers become one."""

import re
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from guestpass import errors
from guestpass.adapters.prometheus import exposition
from guestpass.cli.metrics import reference
from guestpass.exchange import Outcome
from guestpass.metrics import (
    BY_NAME,
    ENDPOINT_OUTCOMES,
    METRICS,
    OTHER,
    REASONS,
    Buckets,
    Histogram,
    Metric,
    Snapshot,
    counted,
    from_json,
    merged,
    to_json,
)

DOCS = Path(__file__).parents[2] / "docs" / "metrics.md"
CLAIMS = ("exp", "iat", "nbf", "iss", "aud", "sub", "name", "email", "identity")


def test_the_documentation_is_what_the_list_says() -> None:
    """`make docs` writes it."""
    assert DOCS.read_text("utf-8") == reference()


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_a_name_says_what_kind_of_metric_it_is(metric: Metric) -> None:
    assert re.fullmatch("[a-z][a-z_]+[a-z]", metric.name)
    assert metric.name.endswith("_total") is (metric.kind == "counter")
    assert (metric.kind == "histogram") is bool(metric.bounds)
    assert list(metric.bounds) == sorted(set(metric.bounds))
    assert bool(metric.label) is bool(metric.values)
    assert OTHER not in metric.values
    assert len(metric.values) == len(set(metric.values)) < 64
    assert metric.merge == "sum" or metric.kind == "gauge"
    assert metric.help.endswith(".")


def test_no_two_metrics_share_a_name() -> None:
    assert len(BY_NAME) == len(METRICS)


def error_classes(
    cls: type[errors.GuestpassError] = errors.GuestpassError,
) -> Iterator[type[errors.GuestpassError]]:
    yield cls
    for sub in cls.__subclasses__():
        if sub.__module__ == errors.__name__:
            yield from error_classes(sub)


def test_every_reason_of_an_error_is_in_the_list() -> None:
    """One that is not would be counted, but as `other`."""
    reasons = {f"claim_{claim}" for claim in CLAIMS}
    special = {errors.ClaimInvalid, errors.ConfigError}  # the one is above, the other no request's
    reasons |= {cls().reason for cls in error_classes() if cls not in special}
    assert reasons <= set(REASONS)


def test_every_outcome_of_the_token_endpoint_is_in_the_list() -> None:
    assert {outcome.value for outcome in Outcome} == set(ENDPOINT_OUTCOMES)


@given(st.dictionaries(st.text(), st.integers(0, 10**9)))
def test_no_flood_of_labels_makes_a_new_series(counts: dict[str, int]) -> None:
    values = counted("refusals_total", counts)
    assert set(values) == {*REASONS, OTHER}
    assert sum(v for v in values.values() if isinstance(v, float)) == sum(counts.values())


@given(st.lists(st.floats(0, 100), max_size=50))
def test_a_histogram_loses_nothing(seconds: list[float]) -> None:
    histogram = Histogram("mint_seconds")
    for one in seconds:
        histogram.observe(one)
    assert sum(histogram.counts) == len(seconds)
    for bound, below in zip(histogram.bounds, accumulate(histogram.counts), strict=False):
        assert below == sum(one <= bound for one in seconds)
    assert histogram.total == pytest.approx(sum(seconds))


ONE: Snapshot = {
    "cache_hits_total": {"": 3.0},
    "jwks_age_seconds": {"": 7.0},
    "jwks_keys": {"": 2.0},
    "mint_seconds": {"": Buckets((1,) * 11, 2.5)},
    "requests_total": {"fresh": 5.0},
}
OTHERS: Snapshot = {
    "cache_hits_total": {"": 4.0},
    "jwks_age_seconds": {"": 9.0},
    "jwks_keys": {"": 1.0},
    "mint_seconds": {"": Buckets((2,) * 11, 0.5)},
    "requests_total": {"fresh": 1.0, "rotate": 2.0},
    "store_degraded": {"": 1.0},
}


def test_workers_are_merged_each_metric_by_its_own_rule() -> None:
    assert (
        merged([ONE, OTHERS])
        == merged([OTHERS, ONE])
        == {
            "cache_hits_total": {"": 7.0},
            "jwks_age_seconds": {"": 9.0},
            "jwks_keys": {"": 1.0},
            "mint_seconds": {"": Buckets((3,) * 11, 3.0)},
            "requests_total": {"fresh": 6.0, "rotate": 2.0},
            "store_degraded": {"": 1.0},
        }
    )


def test_a_snapshot_survives_the_way_through_json() -> None:
    assert from_json(to_json(ONE)) == ONE


def test_a_newer_workers_metric_is_no_error_to_an_older_one() -> None:
    assert from_json({"of_tomorrow": {"": 1.0}}) == {}


def test_prometheus_reads_what_is_exposed() -> None:
    page = exposition(OTHERS).decode()
    families = {family.name: family for family in text_string_to_metric_families(page)}
    [degraded] = families["guestpass_store_degraded"].samples
    assert degraded.value == 1
    samples = {(s.name, *s.labels.values()): s.value for s in families["guestpass_mint_seconds"].samples}
    assert samples["guestpass_mint_seconds_bucket", "0.01"] == 2
    assert samples["guestpass_mint_seconds_bucket", "8.0"] == 20
    assert (
        samples["guestpass_mint_seconds_bucket", "+Inf"] == samples[("guestpass_mint_seconds_count",)] == 22
    )
    assert samples[("guestpass_mint_seconds_sum",)] == 0.5
    assert {s.labels["decision"] for s in families["guestpass_requests"].samples} == {"fresh", "rotate"}
