"""`guestpass completion`: prints what a shell loads to complete commands and options."""

from typing import Final

import click
from click.shell_completion import BashComplete, FishComplete, ShellComplete, ZshComplete

from guestpass.cli.app import guestpass

_SHELLS: Final[dict[str, type[ShellComplete]]] = {
    "bash": BashComplete,
    "zsh": ZshComplete,
    "fish": FishComplete,
}
_VARIABLE: Final = "_GUESTPASS_COMPLETE"  # what click looks for when the shell asks


@click.command("completion")
@click.argument("shell", type=click.Choice(list(_SHELLS)))
def command(shell: str) -> None:
    """Print what makes a shell complete commands and options.

    bash: put `eval "$(guestpass completion bash)"` into ~/.bashrc; zsh: the same with zsh into ~/.zshrc;
    fish: `guestpass completion fish > ~/.config/fish/completions/guestpass.fish`.
    """
    click.echo(_SHELLS[shell](guestpass, {}, "guestpass", _VARIABLE).source())
