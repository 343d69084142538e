"""`guestpass client-script`: what a page needs to load the browser's script, and only that script."""

from html import escape

import click

from guestpass.asgi.client_script import integrity


@click.command("client-script")
@click.option(
    "--src", default="/guestpass/client.js", show_default=True, help="The script's URL, for the tag."
)
@click.option("--integrity", "only_integrity", is_flag=True, help="Print the integrity value alone.")
def command(*, src: str, only_integrity: bool) -> None:
    """Print the tag that loads the browser's script.

    A page puts it before its own modules. The integrity value is that of this very release, so a browser
    refuses any other script; print it again after an update.
    """
    if only_integrity:
        click.echo(integrity())
        return
    click.echo(f'<script type="module" src="{escape(src)}" integrity="{integrity()}" crossorigin></script>')
