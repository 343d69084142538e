"""`guestpass revoke`: has every worker refuse a token, or every token of a subject, within a second."""

import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import anyio
import click

from guestpass.adapters.system_clock import SystemClock
from guestpass.cli.app import Misuse
from guestpass.cli.options import config_option
from guestpass.config import Settings, load
from guestpass.core.model import RawToken, TokenId, UnixTime, short
from guestpass.ports import Revocation
from guestpass.revocation import revoke_token
from guestpass.wiring.state import build_state

_DIGITS: Final = 64  # of a SHA-256 digest
_DAY: Final = 86_400


@click.command("revoke")
@click.option(
    "--token-id", metavar="HEX", help="The token's id: 64 hex digits, as `guestpass inspect` prints it."
)
@click.option("--token", metavar="-", help="- reads the token itself from standard input.")
@click.option("--subject", metavar="SUB", help="Every token of this subject, those to come included.")
@click.option(
    "--for",
    "seconds",
    type=click.IntRange(1),
    default=_DAY,
    show_default=True,
    help="Seconds for which it holds: as long as a token, or a session, may live.",
)
@config_option
def command(
    *, token_id: str | None, token: str | None, subject: str | None, seconds: int, config: Path | None
) -> None:
    """Refuse a token, or every token of a subject, everywhere.

    Every worker learns of it within a second, over the store that they share. The successors of a revoked
    token are revoked with it.
    """
    if [token_id, token, subject].count(None) != 2:  # noqa: PLR2004  of three
        raise click.UsageError("give exactly one of --token-id, --token - and --subject.")
    if subject == "":
        raise click.UsageError("--subject must not be empty.")
    name = subject or _id_of(token_id, token)
    settings = load(config, os.environ)
    if not settings.store.shared:
        raise Misuse(
            "memory:// is not shared, so no worker would learn of it.",
            advice="Set store.url to the Redis that the workers use.",
        )
    click.echo(anyio.run(_revoke, name, float(seconds), settings))


async def _revoke(name: TokenId | str, seconds: float, settings: Settings) -> str:
    """Revoke `name` from now on; what to tell whoever asked for it."""
    clock = SystemClock()
    state = build_state(settings.store, clock)
    until = UnixTime(clock.time() + seconds)
    try:
        if isinstance(name, str):
            await state.revocations.add(Revocation(name, until))
            what = "Every token of that subject"
        else:
            count = await revoke_token(name, until, log=state.revocations, store=state.store)
            what = f"Token {short(name)}" + (f" and its successors ({count - 1})" if count > 1 else "")
    finally:
        await state.store.aclose()
    return f"{what}: refused until {datetime.fromtimestamp(until, UTC).isoformat(timespec='seconds')}."


def _id_of(token_id: str | None, token: str | None) -> TokenId:
    if token_id is not None:
        try:
            name = bytes.fromhex(token_id)
        except ValueError:
            name = b""
        if len(name) * 2 != _DIGITS or len(token_id) != _DIGITS:
            raise click.UsageError(f"--token-id must be {_DIGITS} hex digits.")
        return TokenId(name)
    if token != "-":  # noqa: S105  not a secret
        raise click.UsageError("--token must be -: on a command line, everyone on this machine can read it.")
    raw = RawToken(sys.stdin.readline().strip().encode("utf-8", "replace"))
    if raw.compact.count(b".") != 2:  # noqa: PLR2004  of a JWS
        raise click.UsageError("standard input must hold a token.")
    return raw.id
