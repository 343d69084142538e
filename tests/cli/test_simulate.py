"""`guestpass simulate`: a table and curves for a person, JSON for a program, plain words for a mistake."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from guestpass.cli import simulate as module
from guestpass.cli.app import guestpass

SMALL = ("--guests", "200", "--duration", "1h")


def simulate(*arguments: str, **environ: str) -> Result:
    return CliRunner().invoke(guestpass, ["simulate", *arguments], env=environ)


def figures(*arguments: str, **environ: str) -> Any:
    result = simulate(*arguments, "--json", **environ)
    assert (result.exit_code, result.stderr) == (0, "")
    return json.loads(result.stdout)


def test_both_policies_stand_in_one_table_with_their_curves_below() -> None:
    result = simulate(*SMALL, "--arrivals", "burst", "--session", "off", "--first-tokens", "held")
    assert (result.exit_code, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert lines[0] == "200 guests, arriving within one minute, staying to the end;"
    assert "a request every 30 s from each, tokens of 30 min," in lines
    assert "a mint budget of 300/min, first tokens held on arrival." in lines
    assert lines[4].split() == ["guestpass", "naive"]
    for name in ("  peak over that mean of mints", "Sessions lost to the limit", "  that waited for a mint"):
        [row] = [line for line in lines if line.startswith(name)]
        assert len(row.removeprefix(name).split()) == 2
    assert sum(line.startswith("Calls a minute, ") for line in lines) == 2
    assert "█" in result.stdout
    assert max(map(len, lines)) <= 92


def test_the_same_seed_prints_the_same() -> None:
    assert simulate(*SMALL, "--seed", "3").stdout == simulate(*SMALL, "--seed", "3").stdout
    assert simulate(*SMALL, "--seed", "3").stdout != simulate(*SMALL, "--seed", "4").stdout


def test_json_holds_the_question_and_every_figure() -> None:
    found = figures(*SMALL, "--arrivals", "storm", "--outage", "5m", "--budget", "20 per 10 seconds")
    assert (
        found["scenario"] | {"guests": 200, "arrivals": "storm", "limit": 20, "window": 10}
        == (found["scenario"])
    )
    assert found["rotation_period"] == 1500
    for run in (found["guestpass"], found["naive"]):
        assert len(run["calls"]) == 60
        assert run["arrived"] == run["left"] + run["present"] + run["turned_away"]
        assert sum(run["calls"]) == run["first"] + run["ahead"] + run["late"] + run["refused"]


def test_without_a_budget_there_is_no_headroom_to_speak_of() -> None:
    assert figures(*SMALL, "--budget", "off")["guestpass"]["headroom"] is None
    result = simulate(*SMALL, "--budget", "off")
    assert "no mint budget" in result.stdout
    assert "left of the budget" not in result.stdout


def test_policy_and_budget_are_those_of_the_settings(tmp_path: Path) -> None:
    file = tmp_path / "guestpass.toml"
    file.write_text("[limits]\nmint_budget = '40/minute'\n[policy]\nrotate_before = 600\n", "utf-8")
    found = figures(*SMALL, "--config", str(file))
    assert (found["scenario"]["limit"], found["rotation_period"]) == (40, 1200)
    off = figures(*SMALL, GUESTPASS_LIMITS__MINT_BUDGET="off")
    assert off["scenario"]["limit"] is None


@pytest.mark.parametrize(
    ("arguments", "option", "rule"),
    [
        (("--guests", "0"), "--guests", "must be 1 to 10,000,000."),
        (("--guests", "many"), "--guests", "not a valid integer"),
        (("--every", "soon"), "--every", "must be seconds, or a number with one of ms, s, m, h, d"),
        (("--every", "0"), "--every", "must be 0.1 seconds or more."),
        (("--duration", "8d"), "--duration", "must be 1 minute to 7 days."),
        (("--session", "0"), "--session", "must be 1 second or more, or off."),
        (("--budget", "0/minute"), "--budget", "must be a count above zero per time"),
        (("--arrivals", "never"), "--arrivals", "is not one of 'steady', 'burst', 'storm'"),
        (("--arrivals", "storm", "--outage", "1h"), "--outage", "at most a quarter of the duration"),
    ],
)
def test_a_wrong_option_is_named_with_its_rule(arguments: tuple[str, ...], option: str, rule: str) -> None:
    result = simulate(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert f"'{option}'" in result.stderr
    assert rule in result.stderr


@pytest.mark.parametrize(("terminal", "quiet", "shown"), [(True, (), True), (True, ("--quiet",), False)])
def test_a_terminal_sees_the_progress_unless_it_asks_for_quiet(
    monkeypatch: pytest.MonkeyPatch, terminal: bool, quiet: tuple[str, ...], shown: bool
) -> None:
    monkeypatch.setattr(module, "_on_terminal", lambda: terminal)
    result = simulate(*SMALL, *quiet)
    assert result.exit_code == 0
    assert ("Simulating" in result.stderr) is shown
    assert "Simulating" not in result.stdout
