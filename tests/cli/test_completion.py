"""What a shell offers when a person presses Tab: asked in a real bash."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from guestpass.cli.app import COMMANDS, guestpass

# As a reader has it who installed the package: `guestpass` is a command.
PATH = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
# What bash does at a Tab: it calls the function that is registered, and offers COMPREPLY.
TAB = """
eval "$(guestpass completion bash)"
set -- $(complete -p guestpass)
while [ "$1" != -F ]; do shift; done
COMP_WORDS=({words})
COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
"$2" guestpass
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


def offered(*words: str) -> list[str]:
    """What bash offers for the last of `words`."""
    quoted = " ".join(f"'{word}'" for word in ("guestpass", *words))
    done = subprocess.run(
        ["bash", "--norc", "-c", TAB.format(words=quoted)],
        env={"PATH": PATH},
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stderr == ""
    return done.stdout.split()


def test_bash_offers_every_command() -> None:
    assert offered("") == list(COMMANDS)


def test_bash_offers_the_commands_that_begin_so() -> None:
    assert offered("do") == ["doctor"]


def test_bash_offers_the_options_of_a_command_and_their_values() -> None:
    assert "--upstream" in offered("serve", "--u")
    assert offered("serve", "--http", "") == ["auto", "h11", "httptools"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_registers_for_the_command_and_is_whole(shell: str) -> None:
    """A shell that is here reads it too; bash always is."""
    script = CliRunner().invoke(guestpass, ["completion", shell]).stdout
    assert f"_GUESTPASS_COMPLETE={shell}_complete" in script
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=script, check=True, text=True, timeout=60)


def test_another_shell_is_a_usage_error() -> None:
    result = CliRunner().invoke(guestpass, ["completion", "tcsh"])
    assert result.exit_code == 2
    assert "'bash', 'zsh', 'fish'" in result.stderr
