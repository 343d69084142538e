"""`guestpass doctor`: proves the whole path with the real settings, and says what to mend."""

import json
import os
import sys
from pathlib import Path
from typing import BinaryIO, Final

import anyio
import click

from guestpass.adapters.system_clock import SystemClock
from guestpass.asgi.session_endpoint import grant_of
from guestpass.cli.app import FAILED
from guestpass.cli.options import config_option
from guestpass.config import Settings, load
from guestpass.core.model import Identity
from guestpass.core.session import Grant
from guestpass.core.strict_json import loads_object
from guestpass.doctor.examination import examine
from guestpass.doctor.findings import Finding
from guestpass.errors import RequestInvalid

_LINE: Final = 32
"""Columns that the progress takes, and is wiped from."""

_COLOURS: Final = {"ok": "green", "warning": "yellow", "failed": "red", "skipped": "bright_black"}


@click.command("doctor")
@click.option("--name", default="Doctor", show_default=True, help="Whom one token is minted for.")
@click.option("--email", default="doctor@example.com", show_default=True, help="That guest's address.")
@click.option("--path", default="/", show_default=True, help="What is asked for through the proxy.")
@click.option(
    "--login",
    type=click.File("rb"),
    help="A guest's code, as the JSON that a page sends for it; - for standard input. It is spent.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a finding.")
@config_option
@click.pass_context
def command(
    ctx: click.Context,
    *,
    name: str,
    email: str,
    path: str,
    login: BinaryIO | None,
    as_json: bool,
    config: Path | None,
) -> None:
    """Prove the whole path, and say what to mend.

    Mints one token with the configured issuer, and sends it through the proxy to the backend. Where guests
    log in, a token takes a guest's code: --login. Exits with 1 if a step failed.
    """
    settings = load(config, os.environ)
    grant = None if login is None else _grant(login.read(), settings)
    identity = Identity(name=name, email=email)
    if anyio.run(_examine, settings, identity, path, grant, as_json):
        ctx.exit(FAILED)


def _grant(body: bytes, settings: Settings) -> Grant:
    if settings.issuer.kind != "webdeployments":
        raise click.UsageError("--login is for issuer.kind 'webdeployments'.")
    try:
        return grant_of(loads_object(body))
    except ValueError:
        raise click.UsageError(
            '--login must be JSON, such as {"code": "...", "redirectUri": "..."}.'
        ) from None
    except RequestInvalid as exc:
        raise click.UsageError(f"--login: {exc}.") from exc


async def _examine(
    settings: Settings, identity: Identity, path: str, grant: Grant | None, as_json: bool
) -> int:
    """How many steps failed; each is told as it is found."""
    counts = dict.fromkeys(_COLOURS, 0)
    progress = _progress if _on_terminal() else _quiet
    findings = examine(
        settings,
        SystemClock(),
        identity=identity,
        path=path,
        grant=grant,
        begun=lambda check: progress(f"checking {check} ..."),
    )
    async for finding in findings:
        progress("")
        counts[finding.status] += 1
        click.echo(json.dumps(finding.as_json()) if as_json else _line(finding))
    if not as_json:
        summary = ", ".join(f"{count} {status}" for status, count in counts.items() if count)
        click.echo(f"\n{summary}.")
    return counts["failed"]


def _on_terminal() -> bool:
    return sys.stderr.isatty()


def _progress(text: str) -> None:
    """Show what is being checked in place of what was, on stderr; "" wipes it."""
    click.echo(f"\r{text:<{_LINE}}" + ("" if text else "\r"), nl=False, err=True)


def _quiet(_: str) -> None:
    """Show nothing: whoever reads a file has no use for progress."""


def _line(finding: Finding) -> str:
    status = click.style(f"{finding.status:<8}", fg=_COLOURS[finding.status])
    text = f"{status} {finding.step:<12} {finding.seen}"
    return f"{text}\n{'':21} -> {finding.cure}" if finding.cure else text
