"""`guestpass check-config`: reads the settings as `serve` would, and says what is wrong with them."""

import os
from dataclasses import fields, replace
from pathlib import Path

import click

from guestpass import config as configuration
from guestpass.cli.options import config_option
from guestpass.wiring.apps import build_app
from guestpass.wiring.logins import require_shared_record


@click.command("check-config")
@config_option
@click.option("--reference", is_flag=True, help="Print the reference of every setting (Markdown) instead.")
def command(config: Path | None, *, reference: bool) -> None:
    """Read the settings, and say what is wrong with them.

    Prints every setting that differs from its default. Secrets are never shown.
    """
    if reference:
        click.echo(configuration.reference(), nl=False)
        return
    settings = configuration.load(config, os.environ)
    settings.issuer.require_credentials()
    require_shared_record(settings)
    # It opens nothing, and finds what cannot be read, and extras that are missing.
    build_app(_with_backend(settings))
    for line in _differences(settings):
        click.echo(line)
    if settings.server.workers > 1 and not settings.store.shared:
        click.echo("warning: several workers with memory:// do not share successors; set store.url", err=True)
    click.echo("The settings are valid.")


def _with_backend(settings: configuration.Settings) -> configuration.Settings:
    """The settings with a backend in any case: where the file has none, `serve --upstream` names it."""
    upstream = settings.upstream
    return replace(settings, upstream=replace(upstream, url=upstream.url or ("http://127.0.0.1",)))


def _differences(settings: configuration.Settings) -> list[str]:
    """`section.name = value` for each setting that is not its default."""
    lines = []
    defaults = configuration.Settings()
    for section in fields(settings):
        chosen, default = getattr(settings, section.name), getattr(defaults, section.name)
        if section.name == "rules":
            lines += [f"rules[{index}] = {rule.path} {rule.protection}" for index, rule in enumerate(chosen)]
            continue
        if section.name == "routes":
            lines += [
                f"routes[{n}] = {route.path} {' '.join(route.upstream)}" for n, route in enumerate(chosen)
            ]
            continue
        for setting in fields(chosen):
            value = getattr(chosen, setting.name)
            if value != getattr(default, setting.name):
                shown = "<set>" if isinstance(value, configuration.Secret) else value
                lines.append(f"{section.name}.{setting.name} = {shown}")
    return lines
