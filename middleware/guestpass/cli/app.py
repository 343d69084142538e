"""The `guestpass` command: finds its subcommands, and turns a known error into one line on stderr.

A subcommand is a file with a `click` command named `command`, and is imported when it is called: the help of
`guestpass` imports none of them, as they bring servers and cryptography along.
"""

import os
from importlib import import_module, metadata
from typing import Any, Final, NamedTuple

import click
from click.shell_completion import CompletionItem

from guestpass.errors import ConfigError, GuestpassError

FAILED: Final = 1
MISUSED: Final = 2  # as click has it for wrong arguments; a wrong setting is the same kind of mistake


class Entry(NamedTuple):
    """A subcommand: its module, what `guestpass --help` says of it, and a call that its own help shows."""

    module: str
    help: str
    example: str


COMMANDS: Final[dict[str, Entry]] = {
    "demo": Entry("demo", "Run vendor, backend and proxy on loopback.", "guestpass demo --once"),
    "serve": Entry(
        "serve",
        "Run the proxy in front of a backend.",
        "guestpass serve --upstream http://127.0.0.1:9000 --admin-port 9090",
    ),
    "client-script": Entry(
        "client_script",
        "Print the tag that loads the browser's script.",
        "guestpass client-script --src /guestpass/client.js",
    ),
    "forward-auth": Entry(
        "forward_auth", "Decide on requests that another proxy carries.", "guestpass forward-auth --port 8080"
    ),
    "revoke": Entry(
        "revoke",
        "Refuse a token, or every token of a subject, everywhere.",
        "guestpass revoke --token - --for 1800 < token",
    ),
    "check-config": Entry(
        "check_config",
        "Read the settings, and say what is wrong with them.",
        "guestpass check-config --config guestpass.toml",
    ),
    "fake-vendor": Entry(
        "fake_vendor",
        "Run a stand-in for the issuer on loopback.",
        "guestpass fake-vendor --port 9100 --control --lifetime 60",
    ),
    "doctor": Entry("doctor", "Prove the whole path, and say what to mend.", "guestpass doctor --json"),
    "mint": Entry(
        "mint",
        "Get one token from the configured issuer.",
        "guestpass mint --name Ada --email ada@example.org > token",
    ),
    "tail": Entry(
        "tail",
        "Follow the events of a running instance over its admin port.",
        "guestpass tail --admin http://127.0.0.1:9090",
    ),
    "metrics": Entry("metrics", "Print what every metric means.", "guestpass metrics"),
    "inspect": Entry(
        "inspect_token",
        "Explain a token, and verify it if keys are configured.",
        "guestpass inspect - < token",
    ),
    "simulate": Entry(
        "simulate",
        "Plan capacity: mints, waits and lost sessions of a crowd.",
        "guestpass simulate --guests 20000 --duration 8h --session 10m",
    ),
    "completion": Entry(
        "completion", "Print what makes a shell complete commands and options.", "guestpass completion bash"
    ),
}

_EPILOG: Final = """\
Exit codes: 0 done, 1 failed, 2 wrong arguments or settings.

Colours are for terminals only, and NO_COLOR turns them off. First steps: guestpass demo shows it all
on this machine, guestpass doctor proves your own settings.
"""


class Failure(click.ClickException):
    """An error as a person reads it: what is wrong, and what to do next."""

    exit_code = FAILED

    def __init__(self, message: str, *, advice: str = "") -> None:
        super().__init__(message)
        self.advice = advice

    def show(self, file: Any = None) -> None:
        """Write the error, and the advice below it, to stderr."""
        click.echo(f"guestpass: {self.message}", file=file, err=file is None)
        if self.advice:
            click.echo(f"  {self.advice}", file=file, err=file is None)


class Misuse(Failure):
    """A failure that the caller's own input is the cause of."""

    exit_code = MISUSED


class Commands(click.Group):
    """The subcommands of `COMMANDS`, each imported when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  click's signature
        """The names, in the order in which help shows them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """The subcommand of that name, if there is one."""
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        command: click.Command = import_module(f"guestpass.cli.{entry.module}").command
        # The backspace keeps click from wrapping what is to be copied.
        command.epilog = f"\b\nFor example:\n  {entry.example}"
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """What `incomplete` may become; again without importing the subcommands."""
        found = [CompletionItem(n, help=e.help) for n, e in COMMANDS.items() if n.startswith(incomplete)]
        return found + click.Command.shell_complete(self, ctx, incomplete)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """List the subcommands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.help) for name, entry in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        """Run a subcommand; what we raise on purpose is told, never shown as a traceback."""
        if os.environ.get("NO_COLOR"):
            ctx.color = False
        try:
            return super().invoke(ctx)
        except ConfigError as exc:
            advice = "See every setting with: guestpass check-config --reference"
            raise Misuse(str(exc), advice=advice) from exc
        except GuestpassError as exc:
            advice = "Prove the path, step by step, with: guestpass doctor"
            raise Failure(f"{exc.title}: {exc}" if str(exc) else exc.title, advice=advice) from exc


@click.group(cls=Commands, epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(metadata.version("guestpass"), message="%(prog)s %(version)s")
def guestpass() -> None:
    """Verifies, rotates and injects guest tokens in front of any app or backend."""
