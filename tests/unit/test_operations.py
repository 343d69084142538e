"""What the documentation tells operators exists: every metric, every label's value, every command."""

import re
from pathlib import Path

import pytest

from guestpass.cli.app import COMMANDS
from guestpass.metrics import BY_NAME

DOCS = sorted((Path(__file__).parents[2] / "docs").glob("*.md"))
OPERATIONS = next(path for path in DOCS if path.name == "operations.md").read_text("utf-8")


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_every_metric_that_is_named_exists(path: Path) -> None:
    named = set(re.findall(r"\bguestpass_([a-z_]+)", path.read_text("utf-8")))
    assert {re.sub("_(bucket|sum|count)$", "", name) for name in named} <= BY_NAME.keys()


def test_every_command_that_is_named_exists() -> None:
    assert set(re.findall(r"`guestpass ([a-z-]+)", OPERATIONS)) <= COMMANDS.keys()
