"""`guestpass simulate`: says what a crowd of guests will ask of the issuer, before it does."""

import gc
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

import click

from guestpass.cli.options import config_option
from guestpass.cli.simulate_report import as_json, as_text
from guestpass.config import load
from guestpass.config.values import Rate, parse_duration, parse_rate
from guestpass.errors import ConfigError
from guestpass.simulation.compare import compare
from guestpass.simulation.scenario import Arrivals, Scenario

_OFF: Final = "off"
_STEPS: Final = 1000


def _duration(ctx: click.Context, param: click.Parameter, value: str) -> float:
    try:
        return parse_duration("", value)
    except ConfigError as exc:
        raise click.BadParameter(f"{exc.rule}.", ctx=ctx, param=param) from exc


def _duration_if_given(ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
    return None if value is None else _duration(ctx, param, value)


def _duration_or_off(ctx: click.Context, param: click.Parameter, value: str) -> float | None:
    return None if value == _OFF else _duration(ctx, param, value)


def _rate_or_off(ctx: click.Context, param: click.Parameter, value: str | None) -> Rate | str | None:
    """None if it is not given: then the settings say."""
    if value is None or value == _OFF:
        return value
    try:
        return parse_rate("", value)
    except ConfigError as exc:
        raise click.BadParameter(f"{exc.rule}.", ctx=ctx, param=param) from exc


@click.command("simulate")
@click.option("--guests", default=10_000, show_default=True, help="How many guests arrive in all.")
@click.option(
    "--arrivals",
    type=click.Choice([curve.value for curve in Arrivals]),
    default=Arrivals.STEADY.value,
    show_default=True,
    help="Evenly; all in one minute; or evenly with an outage half-way, after which everyone reconnects.",
)
@click.option(
    "--duration",
    callback=_duration,
    metavar="DURATION",
    default="2h",
    show_default=True,
    help="How long is simulated.",
)
@click.option(
    "--lifetime",
    callback=_duration,
    metavar="DURATION",
    default="30m",
    show_default=True,
    help="How long a token lives.",
)
@click.option(
    "--session",
    callback=_duration_or_off,
    metavar="DURATION|off",
    default="30m",
    show_default=True,
    help="How long a guest stays, on average; off: to the end.",
)
@click.option(
    "--every",
    callback=_duration,
    metavar="DURATION",
    default="30s",
    show_default=True,
    help="The mean time between two requests of a guest.",
)
@click.option(
    "--budget",
    callback=_rate_or_off,
    metavar="RATE|off",
    help="Calls of the issuer, such as 300/minute; else limits.mint_budget of the settings.",
)
@click.option(
    "--first-tokens",
    type=click.Choice(["minted", "held"]),
    default="minted",
    show_default=True,
    help="Whether a guest's first token counts against the budget, or is held on arrival.",
)
@click.option(
    "--outage",
    callback=_duration,
    metavar="DURATION",
    default="10m",
    show_default=True,
    help="How long the outage before a storm lasts.",
)
@click.option(
    "--spread",
    callback=_duration_if_given,
    metavar="DURATION",
    help="How far rotations are spread, in place of policy.spread of the settings.",
)
@click.option("--seed", default=0, show_default=True, help="The same seed gives the same numbers.")
@click.option("--json", "in_json", is_flag=True, help="Print every figure as JSON instead.")
@click.option("--quiet", is_flag=True, help="Show no progress.")
@config_option
def command(
    *,
    guests: int,
    arrivals: str,
    duration: float,
    lifetime: float,
    session: float | None,
    every: float,
    budget: Rate | str | None,
    first_tokens: str,
    outage: float,
    spread: float | None,
    seed: int,
    in_json: bool,
    quiet: bool,
    config: Path | None,
) -> None:
    """Plan capacity: mints, waits and lost sessions of a crowd.

    Runs a crowd of guests in virtual time against the policy of the settings: the same decision, spread and
    budget shares as the gate. Beside it stands a naive proxy, which rotates every token at the start of its
    window, mints nothing ahead, and is held back by nothing but the issuer's 429.
    """
    settings = load(config, os.environ)
    rate = settings.limits.mint_budget if budget is None else budget
    limited = rate if isinstance(rate, Rate) else None
    try:
        scenario = Scenario(
            guests=guests,
            duration=duration,
            arrivals=Arrivals(arrivals),
            lifetime=lifetime,
            session=session,
            every=every,
            limit=None if limited is None else limited.hits,
            window=60.0 if limited is None else limited.seconds,
            held=first_tokens == "held",
            outage=outage,
            seed=seed,
        )
    except ConfigError as exc:
        raise click.BadParameter(exc.rule + ".", param_hint=f"'--{exc.field}'") from exc
    policy = settings.policy if spread is None else replace(settings.policy, spread=spread)
    with _uncollected(), _progress(shown=_on_terminal() and not quiet) as progress:
        result = compare(scenario, policy, progress)
    if in_json:
        click.echo(json.dumps(as_json(scenario, result), indent=2))
        return
    for line in as_text(scenario, result):
        click.echo(line)


def _on_terminal() -> bool:
    return sys.stderr.isatty()


@contextmanager
def _uncollected() -> Iterator[None]:
    """Keep the garbage collector out: it would walk over a million guests again and again, for no cycle."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@contextmanager
def _progress(*, shown: bool) -> Iterator[Callable[[float], None]]:
    """A bar on stderr, fed with the part that is done, 0 to 1."""
    if not shown:
        yield lambda _: None
        return
    with click.progressbar(length=_STEPS, label="Simulating", file=sys.stderr) as bar:
        yield lambda part: bar.update(int(part * _STEPS) - bar.pos)
