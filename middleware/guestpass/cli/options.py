"""Options that several commands share."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click


def config_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--config FILE`, which becomes the argument `config`: a path or None."""
    return click.option(
        "--config",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="The TOML file with the settings; else the one that GUESTPASS_CONFIG names, if any.",
    )(command)
