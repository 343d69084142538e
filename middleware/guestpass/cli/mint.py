"""`guestpass mint`: gets one token from the configured issuer."""

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import anyio
import click

from guestpass.adapters.system_clock import SystemClock
from guestpass.cli.app import Failure, Misuse
from guestpass.cli.options import config_option
from guestpass.config import Settings, load
from guestpass.core.decision import Genuine, Invalid
from guestpass.core.model import Identity, RawToken, short
from guestpass.errors import GuestpassError, IssuerMisconfigured, TokenRefused
from guestpass.verifier import JwksVerifier
from guestpass.wiring.parts import build_parts
from guestpass.wiring.state import build_state

_LOGIN: Final = "guestpass doctor --login - tries a code of theirs."


@click.command("mint")
@click.option("--name", required=True, help="The guest's name.")
@click.option("--email", required=True, help="The guest's e-mail address.")
@config_option
def command(*, name: str, email: str, config: Path | None) -> None:
    """Get one token from the configured issuer.

    The token goes to standard output alone, and what is to be said of it to standard error.
    """
    settings = load(config, os.environ)
    token, genuine = anyio.run(_mint, settings, Identity(name=name, email=email))
    click.echo(token.compact.decode("ascii"))
    claims = genuine.claims
    ends = datetime.fromtimestamp(claims.expires_at, UTC).isoformat(timespec="seconds")
    click.echo(f"token {short(token.id)}: genuine, issuer {claims.issuer!r}, expires {ends}", err=True)


async def _mint(settings: Settings, identity: Identity) -> tuple[RawToken, Genuine]:
    """Mint and verify.

    Raises:
        Failure: The issuer gives none, or one that the gate would refuse.
        Misuse: The issuer takes codes only.
    """
    clock, verify = SystemClock(), settings.verify
    parts = build_parts(settings, clock, build_state(settings.store, clock))
    if parts.logins is not None:
        raise Misuse("guests log in for themselves with issuer.kind 'webdeployments'.", advice=_LOGIN)
    verifier = JwksVerifier(
        parts.keys,
        settings.claim_rules(),
        algorithms=frozenset(verify.algorithms),
        types=frozenset(name.lower() for name in verify.types),
        clock=clock,
    )
    advice = "guestpass doctor finds the cause."
    try:
        with anyio.fail_after(settings.policy.mint_deadline):
            token = await parts.issuer.mint(identity)
        verdict = await verifier.verify(token)
    except TimeoutError as exc:
        raise Failure("the issuer does not answer in time", advice=advice) from exc
    except TokenRefused as exc:
        raise Failure("the issuer refuses this name or e-mail address") from exc
    except IssuerMisconfigured as exc:
        raise Failure("the issuer refuses our credentials or their permission", advice=advice) from exc
    except GuestpassError as exc:
        raise Failure(f"no token: {exc}", advice=advice) from exc
    finally:
        await parts.issuer.aclose()
    if isinstance(verdict, Invalid):
        raise Failure(f"the minted token is not genuine: {verdict.error.reason}", advice=advice)
    return token, verdict
