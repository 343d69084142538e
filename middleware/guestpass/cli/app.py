"""The `guestpass` command: finds its subcommands, and turns a known error into one line on stderr.

A subcommand is a file with a `click` command named `command`, and is imported when it is called: the help of
`guestpass` imports none of them, as they bring servers and cryptography along.
"""

import os
from importlib import import_module, metadata
from typing import Any, Final, NamedTuple

import click

from guestpass.errors import ConfigError, GuestpassError

FAILED: Final = 1
MISUSED: Final = 2  # as click has it for wrong arguments; a wrong setting is the same kind of mistake


class Entry(NamedTuple):
    """A subcommand: the module that holds it, and what `guestpass --help` says of it."""

    module: str
    help: str


COMMANDS: Final[dict[str, Entry]] = {
    "demo": Entry("demo", "Run vendor, backend and proxy on loopback."),
    "serve": Entry("serve", "Run the proxy in front of a backend."),
    "client-script": Entry("client_script", "Print the tag that loads the browser's script."),
    "forward-auth": Entry("forward_auth", "Decide on requests that another proxy carries."),
    "revoke": Entry("revoke", "Refuse a token, or every token of a subject, everywhere."),
    "check-config": Entry("check_config", "Read the settings, and say what is wrong with them."),
    "fake-vendor": Entry("fake_vendor", "Run a stand-in for the issuer on loopback."),
    "doctor": Entry("doctor", "Prove the whole path, and say what to mend."),
    "mint": Entry("mint", "Get one token from the configured issuer."),
    "tail": Entry("tail", "Follow the events of a running instance over its admin port."),
    "metrics": Entry("metrics", "Print what every metric means."),
    "inspect": Entry("inspect_token", "Explain a token, and verify it if keys are configured."),
    "simulate": Entry("simulate", "Plan capacity: mints, waits and lost sessions of a crowd."),
}


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
        return command

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
            raise Failure(f"{exc.title}: {exc}" if str(exc) else exc.title) from exc


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(metadata.version("guestpass"), message="%(prog)s %(version)s")
def guestpass() -> None:
    """Verifies, rotates and injects guest tokens in front of any app or backend."""
