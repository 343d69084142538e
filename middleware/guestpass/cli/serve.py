"""`guestpass serve`: runs the guarded proxy in front of a backend."""

from pathlib import Path

import click

from guestpass.cli.serving import Parser, Server, launch, server_options
from guestpass.config import Settings
from guestpass.errors import ConfigError
from guestpass.wiring.apps import build_app


@click.command("serve")
@click.option("--upstream", metavar="URL", help="The backend, such as http://127.0.0.1:9000.")
@server_options
def command(
    *,
    upstream: str | None,
    host: str | None,
    port: int | None,
    workers: int | None,
    admin_port: int | None,
    under: Server,
    parser: Parser,
    config: Path | None,
) -> None:
    """Run the proxy in front of a backend.

    What is given here wins over the environment, and that over the file. SIGTERM lets requests finish.
    """
    server: dict[str, object] = {"host": host, "port": port, "workers": workers, "admin_port": admin_port}
    launch(
        "app",
        {"server": server, "upstream": {"url": upstream}},
        _check,
        under=under,
        parser=parser,
        config=config,
    )


def _check(settings: Settings) -> None:
    if not settings.upstream.url:
        raise ConfigError("upstream.url", "must be set, for example with --upstream http://127.0.0.1:9000")
    build_app(settings)  # opens nothing; what only the wiring can find wrong is found here
