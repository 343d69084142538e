"""`guestpass demo`: tells a story over three real processes, and checks that each step goes as told."""

import textwrap
from typing import Final

import click

from guestpass.cli.app import FAILED
from guestpass.demo.processes import ChildError
from guestpass.demo.story import Seen, Step, tell
from guestpass.demo.world import ENDPOINT, LIFETIME, TOKEN, World

_WIDTH: Final = 100


@click.command("demo")
@click.option("--once", is_flag=True, help="End after the story; exit with 1 if a step did not go as told.")
@click.pass_context
def command(ctx: click.Context, *, once: bool) -> None:
    """Run vendor, backend and proxy on loopback.

    A story first, each step with what was expected and what was seen; then all three serve on until Ctrl-C,
    with a page on which to watch them. Nothing leaves this machine: the vendor is the fake one.
    """
    click.echo("A fake vendor, a legacy backend and the proxy between them, each a process of its own.")
    with World(nice_ports=not once, page=not once) as world:
        _introduce(world)
        wrong = 0
        for number, (step, seen) in enumerate(tell(world), 1):
            wrong += not seen.as_told
            _show(number, step, seen)
        if wrong:
            click.echo(f"\n{click.style(f'{wrong} step(s) did not go as told.', fg='red', bold=True)}")
        else:
            click.echo(f"\n{click.style('Every step went as told.', fg='green', bold=True)}")
        if once:
            ctx.exit(FAILED if wrong else 0)
        world.shorten_lives()
        _invite(world)
        try:
            world.processes.gone.wait()
        except KeyboardInterrupt:
            click.echo("\nStopped.")
        else:
            raise ChildError("one of them ended by itself")


def _introduce(world: World) -> None:
    click.echo(f"""
  vendor   {world.vendor.url}  stands in for the issuer: mints tokens, publishes its keys
  backend  {world.backend.url}  Python's own wsgiref, neither ASGI nor aware of tokens
  proxy    {world.proxy.url}  guestpass serve""")


def _show(number: int, step: Step, seen: Seen) -> None:
    mark = click.style("✓", fg="green") if seen.as_told else click.style("✗", fg="red")
    click.echo(f"\n{mark} {number}. {click.style(step.title, bold=True)}")
    for label, text in (("expected", step.expected), ("seen", seen.text)):
        click.echo(
            textwrap.fill(
                text,
                _WIDTH,
                initial_indent=f"     {label:<9} ",
                subsequent_indent=" " * 15,
                break_on_hyphens=False,  # a field such as max-age is one word
            )
        )


def _invite(world: World) -> None:
    proxy = world.proxy.url
    click.echo(f"""
They serve on until Ctrl-C, and tokens live {LIFETIME} seconds now. To watch them, open

  {click.style(world.page, bold=True)}

or ask by hand:

  curl -s {proxy}{ENDPOINT} -H 'Content-Type: application/json' \\
       -d '{{"name": "Ada", "email": "ada@example.org"}}'
  curl -i {proxy}/orders -H '{TOKEN}: <the token>'
  curl -i {proxy}/orders -H '{TOKEN}: <the token>' -H 'x_guest_subject: admin'
  curl -i {proxy}/orders
  curl -s {proxy}/readyz
  curl -s {world.vendor.url}/__fake__/journal""")
