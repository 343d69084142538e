"""`guestpass metrics`: prints what every metric means, as `docs/metrics.md` has it."""

from typing import Final

import click

from guestpass.metrics import METRICS, REASONS, Metric

_HEAD: Final = """\
# Metrics

<!-- Written by `make docs` from guestpass.metrics; edit that. -->

With `--admin-port`, `/metrics` on that port tells these to Prometheus (extra `metrics`). With several workers
any of them answers for all, and the last column says how their values become one. A worker's numbers are at
most a second old, and what a worker counted before it ended still counts. No label has other values than
those listed and `other`, whatever a client sends.

| metric | kind | label: values | what it says | of workers |
|---|---|---|---|---|"""


@click.command("metrics")
def command() -> None:
    """Print what every metric means.

    As Markdown: what `docs/metrics.md` holds.
    """
    click.echo(reference(), nl=False)


def reference() -> str:
    """The list as Markdown."""
    reasons = ", ".join(f"`{reason}`" for reason in REASONS)
    return "\n".join([_HEAD, *map(_row, METRICS), "", f"The reasons: {reasons}.", ""])


def _row(metric: Metric) -> str:
    values = [f"`{value}`" for value in metric.values if value not in REASONS]
    if set(REASONS) <= set(metric.values):
        values.append("every reason")
    label = f"`{metric.label}`: {', '.join(values)}" if metric.label else ""
    return f"| `guestpass_{metric.name}` | {metric.kind} | {label} | {metric.help} | {metric.merge} |"
