"""Tells a snapshot of the metrics to Prometheus, in its text format."""

from collections.abc import Iterator
from itertools import accumulate
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from guestpass.metrics import METRICS, Buckets, Snapshot
from guestpass.metrics import Metric as Described

CONTENT_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4
"""The media type of what `exposition` returns."""

_PREFIX: Final = "guestpass_"


class SnapshotCollector(Collector):
    """`prometheus_client`'s own interface over one snapshot, to be registered beside an app's own metrics."""

    def __init__(self, snapshot: Snapshot) -> None:
        """Speak for `snapshot`, which stays as it is."""
        self.snapshot = snapshot

    def collect(self) -> Iterator[Metric]:
        """Every metric that the snapshot has a value of, in the order of the list."""
        for metric in METRICS:
            if metric.name in self.snapshot:
                yield _family(metric, self.snapshot)


def exposition(snapshot: Snapshot) -> bytes:
    """The whole page."""
    registry = CollectorRegistry()
    registry.register(SnapshotCollector(snapshot))
    return generate_latest(registry)


def _family(metric: Described, snapshot: Snapshot) -> Metric:
    name, labels = _PREFIX + metric.name, [metric.label] if metric.label else []
    family: HistogramMetricFamily | CounterMetricFamily | GaugeMetricFamily
    if metric.kind == "histogram":
        family = HistogramMetricFamily(name, metric.help, labels=labels)
    elif metric.kind == "counter":
        family = CounterMetricFamily(name, metric.help, labels=labels)
    else:
        family = GaugeMetricFamily(name, metric.help, labels=labels)
    for label, value in snapshot[metric.name].items():
        given = [label] if metric.label else []
        if isinstance(family, HistogramMetricFamily) and isinstance(value, Buckets):
            bounds = [*map(repr, metric.bounds), "+Inf"]
            counts = accumulate(value.counts)  # Prometheus' buckets hold all that is below them too
            family.add_metric(given, [*zip(bounds, map(float, counts), strict=True)], value.total)
        elif not isinstance(family, HistogramMetricFamily) and not isinstance(value, Buckets):
            family.add_metric(given, value)
    return family
