"""Every metric in one list, and the plain numbers that the hot room counts with; no library, no I/O.

A metric has at most one label, and a label has a list of values: whatever a client, an issuer or a store
says, nothing else can become a series. What is not in the list is counted as `other`.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

Kind = Literal["counter", "gauge", "histogram"]
Merge = Literal["sum", "max", "min"]

OTHER: Final = "other"
"""The label of what is not in a metric's list."""

REASONS: Final = (
    # The request and its token.
    "invalid_request", "path_ambiguous", "method_not_allowed", "content_too_large", "unsupported_media_type",
    "too_many_requests", "token_missing", "malformed", "algorithm", "key_unknown", "signature",
    "invalid_grant", "token_unknown",
    "claim_exp", "claim_iat", "claim_nbf", "claim_iss", "claim_aud", "claim_sub", "claim_name", "claim_email",
    "claim_identity", "invalid_token", "peer_untrusted", "origin_foreign", "not_found", "body_too_large",
    "token_expired", "session_expired", "token_revoked", "token_refused",
    # We, or something upstream of us.
    "upstream_failed", "upstream_unreachable", "upstream_timeout", "pool_exhausted", "issuer_misconfigured",
    "unavailable", "store", "mint_budget", "internal",
)  # fmt: skip
"""Every `GuestpassError.reason`."""

ENDPOINT_OUTCOMES: Final = (
    "first", "same", "rotated", "replaced_expired", "replaced_invalid", "replaced_other_identity",
)  # fmt: skip
"""Every `exchange.Outcome`."""

FRESH_FOR: Final = (("expired", 0.0), ("1m", 60.0), ("5m", 300.0), ("15m", 900.0), ("30m", 1800.0))
"""Upper bounds, in seconds, of how long a remembered token still lives; beyond them it is `longer`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One metric.

    Attributes:
        name: Without the prefix `guestpass_`; a counter's ends in `_total`, a duration's in `_seconds`.
        kind: What it is to Prometheus.
        help: One sentence.
        label: The name of its one label, or None.
        values: Every value of that label but `other`.
        bounds: Upper bounds of a histogram's buckets, rising, without infinity.
        merge: How the values of several workers become one.
    """

    name: str
    kind: Kind
    help: str
    label: str | None = None
    values: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()
    merge: Merge = "sum"


_MINT_BOUNDS: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 8.0)
_UPSTREAM_BOUNDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_LAG_BOUNDS: Final = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)

METRICS: Final = (
    Metric(
        name="requests_total",
        kind="counter",
        help="Requests by what was decided; what a fresh token carries is told apart from the rest.",
        label="decision",
        values=("fresh", "prefetch", "rotate", "anonymous", "unguarded", "refused"),
    ),
    Metric(
        name="refusals_total",
        kind="counter",
        help="Refused requests by reason.",
        label="reason",
        values=REASONS,
    ),
    Metric(
        name="verifications_total",
        kind="counter",
        help="Tokens that were verified, by verdict; a remembered token is not verified again.",
        label="verdict",
        values=("genuine", *REASONS),
    ),
    Metric(name="cache_hits_total", kind="counter", help="Look-ups of a token that was remembered."),
    Metric(name="cache_misses_total", kind="counter", help="Look-ups of a token that was not."),
    Metric(
        name="remembered_tokens",
        kind="gauge",
        help="Remembered tokens by how long they live yet; workers that know the same one count it each.",
        label="expires_in",
        values=(*(name for name, _ in FRESH_FOR), "longer"),
    ),
    Metric(
        name="rotations_total",
        kind="counter",
        help="Attempts to rotate a token by outcome; `shared`: another worker minted the successor.",
        label="outcome",
        values=("rotated", "shared", *REASONS),
    ),
    Metric(
        name="mints_total",
        kind="counter",
        help="Calls of the issuer by outcome, for successors and for first tokens.",
        label="outcome",
        values=("minted", *REASONS),
    ),
    Metric(
        name="mint_seconds",
        kind="histogram",
        help="How long calls of the issuer took, retries included, whatever their outcome.",
        bounds=_MINT_BOUNDS,
    ),
    Metric(
        name="endpoint_tokens_total",
        kind="counter",
        help="Answers of the token endpoint by outcome.",
        label="outcome",
        values=ENDPOINT_OUTCOMES,
    ),
    Metric(
        name="mint_budget_remaining",
        kind="gauge",
        help="Calls of the issuer left in the present window; of the worker that has fewest.",
        merge="min",
    ),
    Metric(
        name="pool_tokens",
        kind="gauge",
        help="Tokens of the warm pool that are ready, where there is one.",
        merge="min",
    ),
    Metric(
        name="issuer_closed_seconds",
        kind="gauge",
        help="Seconds for which nobody asks the issuer, as it failed; 0: it is asked.",
        merge="max",
    ),
    Metric(
        name="jwks_usable",
        kind="gauge",
        help="1 while keys are at hand, so that tokens can be verified.",
        merge="min",
    ),
    Metric(
        name="jwks_age_seconds", kind="gauge", help="Seconds since the keys were last fetched.", merge="max"
    ),
    Metric(name="jwks_keys", kind="gauge", help="Usable keys in the set.", merge="min"),
    Metric(
        name="jwks_fetches_total",
        kind="counter",
        help="Fetches of the keys by outcome.",
        label="outcome",
        values=("refreshed", "timeout", "unreachable", "unusable", "status", "encoded", "too_large"),
    ),
    Metric(
        name="unknown_kids_total", kind="counter", help="Tokens that named a key which is not in the set."
    ),
    Metric(
        name="store_degraded",
        kind="gauge",
        help="1 while the shared store is out of reach and each worker goes by itself.",
        merge="max",
    ),
    Metric(
        name="upstream_seconds",
        kind="histogram",
        help="Time to the head of the backend's response, the wait for a connection included.",
        bounds=_UPSTREAM_BOUNDS,
    ),
    Metric(
        name="upstream_errors_total",
        kind="counter",
        help="Requests that the backend failed, by reason.",
        label="reason",
        values=REASONS,
    ),
    Metric(
        name="upstream_connections",
        kind="gauge",
        help="Connections to the backends by state; `waiting`: requests that wait for one.",
        label="state",
        values=("in_use", "idle", "opening", "waiting"),
    ),
    Metric(
        name="upstream_backends",
        kind="gauge",
        help="Backends by health; `ejected`: requests or checks failed, so that others are preferred.",
        label="health",
        values=("well", "ejected"),
        merge="max",
    ),
    Metric(
        name="active_streams",
        kind="gauge",
        help="What is under way with the backends: exchanges over HTTP, and WebSockets.",
        label="kind",
        values=("http", "websocket"),
    ),
    Metric(
        name="loop_lag_seconds",
        kind="histogram",
        help="How late the event loop woke a timer, asked four times a second.",
        bounds=_LAG_BOUNDS,
    ),
    Metric(name="workers", kind="gauge", help="Processes that serve."),
)

BY_NAME: Final[Mapping[str, Metric]] = {metric.name: metric for metric in METRICS}


class Histogram:
    """Counts durations, in seconds, by bucket."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, name: str) -> None:
        """Count for the metric of that name."""
        self.bounds = BY_NAME[name].bounds
        self.counts = [0] * (len(self.bounds) + 1)
        self.total = 0.0

    def observe(self, seconds: float) -> None:
        """Count one; an upper bound is part of its bucket."""
        self.counts[bisect_left(self.bounds, seconds)] += 1
        self.total += seconds

    @property
    def reading(self) -> "Buckets":
        """The present numbers, as a value."""
        return Buckets(tuple(self.counts), self.total)


@dataclass(frozen=True, slots=True)
class Buckets:
    """What a histogram holds at an instant: how many in each bucket, the last one open; and their sum."""

    counts: tuple[int, ...]
    total: float


@dataclass(slots=True)
class Tally:
    """What a gate has done so far. Each part of it adds to its own; nothing here is ever reset.

    Attributes:
        fresh: Requests with a known fresh token: a bare number, as this is the hot path.
        decisions: Of all other requests.
        refusals: By reason.
        verifications: By verdict.
        rotations: By outcome.
        mints: By outcome.
        mint_seconds: How long they took.
        endpoint: Answers of the token endpoint by outcome.
    """

    fresh: int = 0
    decisions: Counter[str] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)
    verifications: Counter[str] = field(default_factory=Counter)
    rotations: Counter[str] = field(default_factory=Counter)
    mints: Counter[str] = field(default_factory=Counter)
    mint_seconds: Histogram = field(default_factory=lambda: Histogram("mint_seconds"))
    endpoint: Counter[str] = field(default_factory=Counter)


Value = float | Buckets
Snapshot = Mapping[str, Mapping[str, Value]]
"""The values of metrics at an instant: name -> label's value ("" without a label) -> value."""


def counted(name: str, counts: Mapping[str, float]) -> dict[str, Value]:
    """The values of a labelled metric, each of them there from the start, and what is not listed as `other`.

    A series that appears only with its first event has no rate for it; one that starts at 0 does.
    """
    known: dict[str, Value] = dict.fromkeys(BY_NAME[name].values, 0.0)
    others = 0.0
    for label, count in counts.items():
        if label in known:
            known[label] = float(count)
        else:
            others += count
    return {**known, OTHER: others}


def merged(snapshots: Iterable[Snapshot]) -> Snapshot:
    """One snapshot of several workers', each metric by its own rule; what a worker lacks is left out."""
    result: dict[str, dict[str, Value]] = {}
    for snapshot in snapshots:
        for name, values in snapshot.items():
            into = result.setdefault(name, {})
            for label, value in values.items():
                before = into.get(label)
                into[label] = value if before is None else _joined(BY_NAME[name].merge, before, value)
    return result


def _joined(merge: Merge, one: Value, other: Value) -> Value:
    if isinstance(one, Buckets) or isinstance(other, Buckets):
        if not (isinstance(one, Buckets) and isinstance(other, Buckets)):
            raise TypeError("a histogram and a number cannot be joined")
        counts = tuple(a + b for a, b in zip(one.counts, other.counts, strict=True))
        return Buckets(counts, one.total + other.total)
    if merge == "sum":
        return one + other
    return max(one, other) if merge == "max" else min(one, other)


def to_json(snapshot: Snapshot) -> dict[str, dict[str, float | list[float]]]:
    """A snapshot as JSON has it: a histogram is a list of its counts, its sum last."""
    return {
        name: {
            label: [*value.counts, value.total] if isinstance(value, Buckets) else value
            for label, value in values.items()
        }
        for name, values in snapshot.items()
    }


def from_json(document: Mapping[str, Mapping[str, float | list[float]]]) -> Snapshot:
    """The other way round."""
    return {
        name: {
            label: Buckets(tuple(int(count) for count in value[:-1]), value[-1])
            if isinstance(value, list)
            else value
            for label, value in values.items()
        }
        for name, values in document.items()
        if name in BY_NAME
    }
