"""What `guestpass simulate` prints: the two runs in one table, their curves below; or all of it as JSON."""

from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any, Final

from guestpass.simulation.compare import Comparison
from guestpass.simulation.curve import curve
from guestpass.simulation.scenario import Arrivals, Scenario
from guestpass.simulation.tally import Tally

_WIDTH: Final = 72
_HEIGHT: Final = 6
_UNITS: Final = ((3600, "h"), (60, "min"), (1, "s"))

_COMING: Final = {
    Arrivals.STEADY: "arriving steadily",
    Arrivals.BURST: "arriving within one minute",
    Arrivals.STORM: "arriving steadily, with an outage half-way",
}


def as_text(scenario: Scenario, result: Comparison) -> Iterator[str]:
    """The report for a person, line by line."""
    yield from _premise(scenario)
    yield ""
    yield f"{'':44}{'guestpass':>13}{'naive':>13}"
    for name, figure in _rows(scenario, result.period):
        yield f"{name:44}{figure(result.ours):>13}{figure(result.naive):>13}"
    top = max(result.ours.peak, result.naive.peak)
    for name, run in (("guestpass", result.ours), ("naive", result.naive)):
        yield ""
        yield f"Calls a minute, {name} (peak {run.peak:,})"
        for number, line in enumerate(curve(run.calls, top=top, width=_WIDTH, height=_HEIGHT)):
            yield f"{f'{top:,}' if number == 0 else '':>10} |{line.rstrip()}"
        yield f"{0:>10} +{'-' * min(_WIDTH, run.minutes)} {_time(scenario.duration)}"


def _premise(scenario: Scenario) -> Iterator[str]:
    stay = "to the end" if scenario.session is None else f"{_time(scenario.session)} on average"
    yield f"{scenario.guests:,} guests, {_COMING[scenario.arrivals]}, staying {stay};"
    yield f"a request every {_time(scenario.every)} from each, tokens of {_time(scenario.lifetime)},"
    first = ", first tokens held on arrival" if scenario.held else ""
    budget = scenario.limit_per_minute
    yield f"{'no mint budget' if budget is None else f'a mint budget of {budget:,.0f}/min'}{first}."


def _rows(scenario: Scenario, period: float) -> Iterator[tuple[str, Callable[[Tally], str]]]:
    yield "Tokens minted a minute: mean", lambda run: f"{run.mean:,.0f}"
    yield f"  mean over a rotation period of {_time(period)}", lambda run: f"{run.mean_over(period):,.0f}"
    yield "Calls of the issuer a minute: peak", lambda run: f"{run.peak:,}"
    yield "  peak over that mean of mints", lambda run: f"{run.unevenness(period):.2f}"
    limit = scenario.limit_per_minute
    if limit is not None:
        yield "  left of the budget at the peak", lambda run: f"{max(0.0, run.headroom(limit)):.0%}"
    yield "Tokens minted", lambda run: f"{run.mints:,}"
    yield "  for guests without one", lambda run: f"{run.first:,}"
    yield "  ahead of time", lambda run: f"{run.ahead:,}"
    yield "  while a request waited", lambda run: f"{run.late:,}"
    yield "Calls held back by the budget", lambda run: f"{run.deferred:,}"
    yield "Calls refused by the issuer (429)", lambda run: f"{run.refused:,}"
    yield "Requests, about", lambda run: f"{run.requests:,.0f}"
    yield "  that waited for a mint", lambda run: f"{run.waited / max(1.0, run.requests):.2%}"
    yield "  that failed, their token being expired", lambda run: f"{run.failed:,}"
    yield "Sessions lost to the limit", lambda run: f"{run.lost:,}"
    yield "Sessions lost while their guest was away", lambda run: f"{run.idle:,}"
    yield "Guests who gave up without a token", lambda run: f"{run.turned_away:,}"


def as_json(scenario: Scenario, result: Comparison) -> dict[str, Any]:
    """Every figure, for a program."""
    return {
        "scenario": asdict(scenario),
        "rotation_period": result.period,
        "guestpass": _figures(scenario, result.ours, result.period),
        "naive": _figures(scenario, result.naive, result.period),
    }


def _figures(scenario: Scenario, run: Tally, period: float) -> dict[str, Any]:
    limit = scenario.limit_per_minute
    return {
        "mean": run.mean,
        "mean_over_rotation_period": run.mean_over(period),
        "peak": run.peak,
        "peak_over_that_mean": run.unevenness(period),
        "headroom": None if limit is None else run.headroom(limit),
        "waited_share": run.waited / max(1.0, run.requests),
        **asdict(run),
    }


def _time(seconds: float) -> str:
    """`2 h`, `25 min`, `90 s`: the largest unit that divides it."""
    size, unit = next(((size, unit) for size, unit in _UNITS if seconds % size == 0), (1, "s"))
    return f"{seconds / size:g} {unit}"
