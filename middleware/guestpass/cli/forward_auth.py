"""`guestpass forward-auth`: runs the decision endpoint that proxies ask, and the token endpoint beside it."""

from pathlib import Path

import click

from guestpass.cli.serving import Parser, Server, launch, server_options
from guestpass.wiring.apps import build_forward_auth


@click.command("forward-auth")
@server_options
def command(
    *,
    host: str | None,
    port: int | None,
    workers: int | None,
    admin_port: int | None,
    under: Server,
    parser: Parser,
    config: Path | None,
) -> None:
    """Decide on requests that another proxy carries.

    nginx, Caddy, Traefik, Envoy or HAProxy ask at /guestpass/auth/ and their name; see docs/forward-auth.md.
    Only peers in server.trusted_proxies get an answer: loopback, where that is not set.
    """
    server: dict[str, object] = {"host": host, "port": port, "workers": workers, "admin_port": admin_port}
    launch("forward_auth", {"server": server}, build_forward_auth, under=under, parser=parser, config=config)
