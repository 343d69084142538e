"""`guestpass inspect`: explains a token line by line, trusting none of it, and verifies it if it can."""

import json
import os
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import anyio
import click

from guestpass.adapters.system_clock import SystemClock
from guestpass.cli.app import FAILED
from guestpass.cli.options import config_option
from guestpass.config import Settings, load
from guestpass.core import base64url, jws
from guestpass.core.decision import Genuine, Invalid, schedule
from guestpass.core.model import Policy, RawToken, UnixTime, short
from guestpass.core.strict_json import loads_object
from guestpass.errors import TokenError
from guestpass.ports import KeySource
from guestpass.recorded import RecordedVerifier
from guestpass.verifier import JwksVerifier
from guestpass.wiring.parts import build_keys
from guestpass.wiring.state import build_state

_INSTANTS: Final = ("iat", "nbf", "exp")
_UNITS: Final = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


@click.command("inspect")
@click.argument("token", metavar="TOKEN")
@config_option
@click.pass_context
def command(ctx: click.Context, token: str, config: Path | None) -> None:
    """Explain a token, and verify it if keys are configured.

    TOKEN is a compact JWS, or - to read it from standard input, which keeps it out of the list of processes.
    Nothing that it says is believed, and its signature is never printed. Exits with 1 if it would be refused.
    """
    settings = load(config, os.environ)
    text = sys.stdin.readline() if token == "-" else token  # noqa: S105  not a secret
    raw = RawToken(text.strip().encode("utf-8", "replace"))
    now = SystemClock().time()
    for line in _explain(raw, now):
        click.echo(line)
    recorded = settings.issuer.kind == "webdeployments"
    refusal = None if recorded else _well_formed(raw, settings)
    click.echo("\nVerdict")
    if recorded:
        refusal = anyio.run(_look_up, raw, settings)
    elif refusal is None and (keys := _keys(settings)) is not None:
        refusal = anyio.run(_verify, raw, keys, settings)
    elif refusal is None:
        click.echo("  well-formed; not verified, as no keys are configured (see verify.jwks_url)")
    if refusal is not None:
        click.echo("  " + click.style(f"refused: {refusal}", fg="red"))
        ctx.exit(FAILED)


def _explain(token: RawToken, now: UnixTime) -> Iterator[str]:
    """What each part says, as far as it can be read."""
    parts = token.compact.split(b".")
    yield f"Token {short(token.id)}: {len(token.compact)} bytes, {len(parts)} parts (a JWS has 3)"
    yield f"Id: {token.id.hex()}"
    for title, part in zip(("Header", "Claims"), parts, strict=False):
        yield f"\n{title} (unverified)"
        try:
            members = loads_object(base64url.decode(part))
        except ValueError:
            yield "  cannot be read: not a JSON object in strict base64url"
            continue
        # As JSON in ASCII: a claim must not move the cursor of whoever looks at it.
        yield from (f"  {json.dumps(name)[1:-1]}: {json.dumps(value)}" for name, value in members.items())
        if title == "Claims":
            yield from _times(members, now)


def _times(claims: Mapping[str, Any], now: UnixTime) -> Iterator[str]:
    yield "\nTimes"
    for name in _INSTANTS:
        instant = claims.get(name)
        if instant is None:
            yield f"  {name}: not there"
            continue
        try:
            written = datetime.fromtimestamp(instant, UTC).isoformat(timespec="seconds")
        except (TypeError, ValueError, OverflowError, OSError):
            yield f"  {name}: not a date"
            continue
        yield f"  {name}: {written}, {_ago(instant - now)}"


def _ago(seconds: float) -> str:
    """`in 27 min` or `3 h ago`: the largest unit that fits, rounded down."""
    size, unit = next((pair for pair in _UNITS if abs(seconds) >= pair[0]), _UNITS[-1])
    amount = f"{int(abs(seconds) // size)} {unit}"
    return f"in {amount}" if seconds > 0 else f"{amount} ago"


def _well_formed(token: RawToken, settings: Settings) -> str | None:
    """Why the token is refused before any key is asked, or None."""
    types = frozenset(map(jws.media_type, settings.verify.types))
    try:
        jws.parse(token, algorithms=frozenset(settings.verify.algorithms), types=types)
    except TokenError as exc:
        return _reason(exc)
    return None


async def _verify(token: RawToken, keys: KeySource, settings: Settings) -> str | None:
    """Verify with `keys`, and tell what would happen now; why the token is refused, or None."""
    verifier = JwksVerifier(
        keys,
        settings.claim_rules(),
        algorithms=frozenset(settings.verify.algorithms),
        types=frozenset(settings.verify.types),
        clock=SystemClock(),
    )
    verdict = await verifier.verify(token)
    if isinstance(verdict, Invalid):
        return _reason(verdict.error)
    return _told(verdict, f"by the key with thumbprint {verdict.key}", settings.policy)


async def _look_up(token: RawToken, settings: Settings) -> str | None:
    """Look for the token in the record that workers share, as no published key verifies it."""
    if not settings.store.shared:
        click.echo(
            "  not verified: what was issued is known to the process that serves (store.url is memory://)"
        )
        return None
    state = build_state(settings.store, SystemClock())
    try:
        verdict = await RecordedVerifier(state.sessions).verify(token)
    finally:
        await state.store.aclose()
    if isinstance(verdict, Invalid):
        return f"{_reason(verdict.error)}: it was never issued here, or its session is over"
    return _told(verdict, "by our own record of what was issued", settings.policy)


def _told(genuine: Genuine, how: str, policy: Policy) -> str | None:
    """Tell what would happen now to a genuine token; why it is refused all the same, or None."""
    click.echo("  " + click.style(f"genuine, {how}", fg="green"))
    at, now = schedule(genuine, policy), SystemClock().time()
    click.echo(f"  rotates {_ago(at.rotate_at - now)}; ends {_ago(at.expires_at - now)}, leeway included")
    if now >= at.expires_at:
        return "it has expired" + ("" if now >= at.refused_at else ", but can still be rotated")
    return None


def _keys(settings: Settings) -> KeySource | None:
    """The configured keys: none unless someone named them, or an issuer that publishes them."""
    verify, issuer = settings.verify, settings.issuer
    named = (verify.jwks, verify.jwks_file, verify.jwks_url)
    published = issuer.kind == "guesttoken" and not (issuer.gateway is None and issuer.client_id is None)
    if published or any(source is not None for source in named):
        return build_keys(settings, SystemClock())
    return None


def _reason(error: TokenError) -> str:
    return f"{error.reason} ({error})" if str(error) else error.reason
