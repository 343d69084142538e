"""`guestpass fake-vendor`: serves the issuer's stand-in, and says how to use it."""

import click

from guestpass.cli.listening import listen
from guestpass.config.values import is_loopback
from guestpass.fake_vendor import FakeVendor
from guestpass.fake_vendor.serving import serve


@click.command("fake-vendor")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option(
    "--port", default=9100, show_default=True, type=click.IntRange(0, 65_535), help="0: a free one."
)
@click.option("--control", is_flag=True, help="Serve the control plane /__fake__/ too: clock, keys, faults.")
@click.option(
    "--lifetime", default=1800, show_default=True, type=click.IntRange(1), help="Seconds that a token lives."
)
@click.option("--seed", default=0, show_default=True, help="What it makes up follows from this number.")
@click.option("--client-id", default="fake-client", show_default=True, help="The one OAuth client it knows.")
@click.option("--client-secret", default="fake-secret", show_default=True, help="That client's secret.")
@click.option("--allow-remote", is_flag=True, help="Listen on an address that is not loopback.")
def command(
    *,
    host: str,
    port: int,
    control: bool,
    lifetime: int,
    seed: int,
    client_id: str,
    client_secret: str,
    allow_remote: bool,
) -> None:
    """Run a stand-in for the issuer on loopback.

    It mints genuine tokens for anyone who knows its client, so keep it off real networks.
    """
    if not (allow_remote or is_loopback(host)):
        raise click.UsageError(f"{host} is not loopback; --allow-remote lets others mint tokens here.")
    vendor = FakeVendor(
        seed=seed, lifetime=lifetime, control=control, client_id=client_id, client_secret=client_secret
    )
    # Bound before it is announced, so that a free port is known and an early request waits.
    with listen(host, port) as listener:
        bound = listener.getsockname()[1]
        base = f"http://[{host}]:{bound}" if ":" in host else f"http://{host}:{bound}"
        vendor.url = base
        click.echo(f"The fake vendor listens on {base}; Ctrl-C stops it. To use it:\n")
        click.echo(f"export GENESYS_CLIENT_ID={client_id}")
        click.echo(f"export GENESYS_CLIENT_SECRET={client_secret}")
        click.echo(f"export GUESTPASS_ISSUER__GATEWAY={base}")
        serve(listener, vendor)
