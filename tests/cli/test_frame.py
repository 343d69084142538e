"""The frame of the command line: help, errors, exit codes."""

import re
import shlex
import subprocess
import sys
from collections.abc import Callable

import click
import pytest
from click.testing import CliRunner

from guestpass import __main__ as entry
from guestpass.cli.app import COMMANDS, Commands, guestpass
from guestpass.errors import ConfigError, GuestpassError, Unavailable


@pytest.mark.parametrize("name", COMMANDS)
def test_the_listed_help_is_the_first_sentence_of_the_command(name: str) -> None:
    """The list is written by hand, so that showing it imports no command."""
    command = Commands().get_command(click.Context(guestpass), name)
    assert command is not None
    assert command.name == name
    assert (command.help or "").partition("\n")[0] == COMMANDS[name].help


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_shows_an_example_that_it_takes(name: str) -> None:
    """Parsed by the command itself, though not run; what follows `<` or `>` is the shell's."""
    command = Commands().get_command(click.Context(guestpass), name)
    assert command is not None
    shown = CliRunner().invoke(guestpass, [name, "--help"]).stdout
    example = COMMANDS[name].example
    assert f"For example:\n    {example}\n" in shown
    program, called, *words = shlex.split(re.split(" [<>] ", example)[0])
    assert (program, called) == ("guestpass", name)
    assert command.make_context(name, words).params.keys() == {param.name for param in command.params} - {
        "help"
    }


def test_the_help_teaches_exit_codes_colours_and_first_steps() -> None:
    shown = CliRunner().invoke(guestpass, ["--help"]).stdout
    for word in ("Exit codes: 0 done, 1 failed, 2 wrong", "NO_COLOR", "guestpass doctor"):
        assert word in shown


def test_help_imports_no_command_and_no_server() -> None:
    code = """
import sys
from guestpass.cli.app import guestpass
try:
    guestpass(["--help"])
except SystemExit as exc:
    assert exc.code == 0
loaded = {name for name in sys.modules if name.startswith("guestpass.cli.")} - {"guestpass.cli.app"}
loaded |= {"uvicorn", "pydantic", "redis"} & sys.modules.keys()
assert not loaded, loaded
"""
    done = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    for name, command in COMMANDS.items():
        assert name in done.stdout
        assert command.help in done.stdout


def test_an_unknown_command_is_a_usage_error() -> None:
    result = CliRunner().invoke(guestpass, ["frobnicate"])
    assert (result.exit_code, result.stdout) == (2, "")
    assert "No such command 'frobnicate'" in result.stderr


def test_the_version_is_the_packages() -> None:
    assert CliRunner().invoke(guestpass, ["--version"], prog_name="guestpass").stdout.startswith("guestpass ")


Failing = Callable[[Exception], None]


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Failing:
    def fail_with(error: Exception) -> None:
        @click.command("inspect")
        def command() -> None:
            raise error

        monkeypatch.setattr(Commands, "get_command", lambda *_: command)

    return fail_with


def test_a_wrong_setting_is_one_line_a_next_step_and_exit_code_2(failing: Failing) -> None:
    failing(ConfigError("server.port", "must be 0 to 65535"))
    result = CliRunner().invoke(guestpass, ["inspect"])
    assert result.exit_code == 2
    assert result.stdout == ""
    first, advice = result.stderr.splitlines()
    assert first == "guestpass: server.port: must be 0 to 65535"
    assert advice.startswith("  ")


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (Unavailable("no keys at hand"), "guestpass: Temporarily unavailable: no keys at hand"),
        (GuestpassError(), "guestpass: Internal error"),
    ],
)
def test_a_failure_of_ours_is_one_line_a_next_step_and_exit_code_1(
    failing: Failing, error: Exception, line: str
) -> None:
    failing(error)
    result = CliRunner().invoke(guestpass, ["inspect"])
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.splitlines() == [line, "  Prove the path, step by step, with: guestpass doctor"]


def test_a_bug_keeps_its_traceback(failing: Failing) -> None:
    failing(ZeroDivisionError())
    assert isinstance(CliRunner().invoke(guestpass, ["inspect"]).exception, ZeroDivisionError)


@pytest.mark.parametrize(("value", "coloured"), [("1", False), ("", True)])
def test_no_color_turns_colours_off(monkeypatch: pytest.MonkeyPatch, value: str, *, coloured: bool) -> None:
    @click.command("inspect")
    def command() -> None:
        click.echo(click.style("red", fg="red"))

    monkeypatch.setattr(Commands, "get_command", lambda *_: command)
    result = CliRunner().invoke(guestpass, ["inspect"], env={"NO_COLOR": value}, color=True)
    assert ("\x1b[" in result.stdout) is coloured


def test_without_its_extra_the_command_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delitem(sys.modules, "guestpass.cli.app")
    monkeypatch.setitem(sys.modules, "click", None)
    with pytest.raises(SystemExit) as caught:
        entry.main()
    assert caught.value.code == 2
    assert 'pip install "guestpass[server]"' in capsys.readouterr().err


def test_any_other_missing_module_is_a_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "guestpass.cli.app", None)
    with pytest.raises(ModuleNotFoundError):
        entry.main()


def test_what_a_terminal_cannot_show_is_replaced() -> None:
    """A Latin-1 terminal has no block elements."""
    command = [sys.executable, "-m", "guestpass", "simulate", "--quiet", "--guests=99", "--duration=10m"]
    done = subprocess.run(
        command, env={"PYTHONIOENCODING": "latin-1"}, check=True, capture_output=True, timeout=60
    )
    assert b"?" in done.stdout.partition(b"Calls a minute")[2]


def test_the_package_can_be_run_as_a_module() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "guestpass", "--version"],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.startswith("guestpass ")
