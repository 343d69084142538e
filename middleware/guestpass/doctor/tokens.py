"""Checks that the minted token is one that the gate takes: keys, signature, claims, clocks, windows."""

from collections.abc import AsyncIterator
from email.utils import parsedate_to_datetime
from typing import Final

from guestpass.adapters.remote_jwks import RemoteJwks
from guestpass.core.decision import Invalid, schedule
from guestpass.core.jws import parse
from guestpass.doctor.findings import Finding, failed, ok, skipped, warning
from guestpass.doctor.patient import Patient
from guestpass.errors import TokenError, Unavailable
from guestpass.verifier import JwksVerifier

_TOLERABLE: Final = 5.0
"""Seconds of difference between two clocks that need no word."""

_SHORT: Final = 120.0
"""Seconds of life below which a token is rotated for much of it."""

_FETCH: Final = {
    "timeout": "The host is slow or a firewall drops the answer; verify.timeout is how long is waited.",
    "unreachable": "See the hosts above; the address is verify.jwks_url, or follows the environment.",
    "status": "Nothing is published there: check verify.jwks_url, or issuer.jwks_path.",
    "encoded": "A proxy on the way compresses what nobody asked to be compressed: have it leave this alone.",
    "too_large": "That is no set of keys: check verify.jwks_url.",
    "unusable": "It holds no usable key: check verify.jwks_url, and that verify.algorithms fits the keys.",
}
_INVALID: Final = {
    "key_unknown": "The keys are of another environment or issuer than the token: check verify.jwks_url.",
    "signature": "The keys are of another environment or issuer than the token: check verify.jwks_url.",
    "algorithm": "Add the token's algorithm to verify.algorithms, if it is one you expect.",
    "malformed": "That is no signed JWT: check issuer.token_member and issuer.mint_path.",
    "claim_iss": "Set verify.issuer to what the issuer writes: guestpass inspect shows it.",
    "claim_aud": "Set verify.audience to what the issuer writes: guestpass inspect shows it.",
    "claim_iat": "The issuer's clock is ahead of this host's: see the clock below.",
    "claim_nbf": "The issuer's clock is ahead of this host's: see the clock below.",
    "claim_exp": "The token has no usable expiry, or lives longer than policy.max_lifetime.",
}


async def keys(patient: Patient) -> AsyncIterator[Finding]:
    """Fetch the keys, as the gate does."""
    step, source = "keys", patient.parts.keys
    try:
        await source.recheck()
    except Unavailable:
        outcome = source.health.outcome if isinstance(source, RemoteJwks) else None
        yield failed(
            step, f"no keys can be had ({outcome})", _FETCH.get(outcome or "", "Check verify.jwks_url.")
        )
        return
    if not isinstance(source, RemoteJwks):
        yield ok(step, "the keys are configured here")
        return
    yield ok(step, f"usable keys that are published: {source.health.keys}")


async def token(patient: Patient) -> AsyncIterator[Finding]:
    """Verify the minted token, as the gate does."""
    step, verify = "token", patient.settings.verify
    if patient.token is None:
        yield skipped(step, "there is no token to verify")
        return
    verifier = JwksVerifier(
        patient.parts.keys,
        patient.settings.claim_rules(),
        algorithms=frozenset(verify.algorithms),
        types=frozenset(name.lower() for name in verify.types),
        clock=patient.clock,
    )
    try:
        verdict = await verifier.verify(patient.token)
    except Unavailable:
        yield skipped(step, "there are no keys to verify with")
        return
    if isinstance(verdict, Invalid):
        seen = f"the minted token is not genuine: {_told(verdict.error)}"
        yield failed(
            step, seen, _INVALID.get(verdict.error.reason, "See what it says with: guestpass inspect -")
        )
        return
    patient.genuine, claims = verdict, verdict.claims
    if claims.expires_at <= patient.clock.time():
        yield failed(
            step, "the minted token has expired already", "Compare the clocks, below; else ask the vendor."
        )
        return
    header = parse(patient.token, algorithms=frozenset(verify.algorithms), types=frozenset(verify.types))
    yield ok(step, f"genuine, by key {header.kid!r} with {header.algorithm}; issuer {claims.issuer!r}")
    if claims.minted_for != patient.identity:
        cure = "Check verify.name_claim and verify.email_claim; a rotation would mint for what they read."
        yield failed(step, "the token names another guest than the one it was minted for", cure)


async def clock(patient: Patient) -> AsyncIterator[Finding]:
    """Compare our clock with the vendor's `Date`, which has whole seconds."""
    step = "clock"
    if patient.dated is None:
        yield skipped(step, "the vendor sent no Date")
        return
    try:
        theirs = parsedate_to_datetime(patient.dated[0]).timestamp()
    except ValueError:
        yield skipped(step, "the vendor's Date is not one")
        return
    ahead = patient.dated[1] - theirs
    seen = f"this host is {abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} the vendor"
    if abs(ahead) > patient.settings.policy.leeway:
        yield failed(step, seen, "Have NTP set the clock: beyond policy.leeway good tokens are refused.")
    elif abs(ahead) > _TOLERABLE:
        yield warning(step, seen, "Have NTP set the clock: policy.leeway covers it yet.")
    else:
        yield ok(step, "this host and the vendor agree")


async def rotation(patient: Patient) -> AsyncIterator[Finding]:
    """Hold the policy's windows against the token's lifetime."""
    step = "rotation"
    if patient.genuine is None or patient.genuine.claims.issued_at is None:
        yield skipped(step, "there is no token whose lifetime is known")
        return
    claims = patient.genuine.claims
    at, lifetime = (
        schedule(patient.genuine, patient.settings.policy),
        claims.expires_at - (claims.issued_at or 0),
    )
    window = claims.expires_at - at.rotate_at
    seen = f"a token lives {lifetime:.0f} s, and is rotated in its last {window:.0f} s"
    if at.rotate_at <= (claims.issued_at or 0):
        yield failed(step, f"{seen}: from birth", "Lower policy.rotate_before below the token's lifetime.")
    elif patient.settings.policy.rotate_before is not None and window > lifetime / 2:
        yield warning(
            step, f"{seen}: more than half of it", "Lower policy.rotate_before: it doubles the mints."
        )
    elif lifetime < _SHORT:
        yield warning(
            step, seen, "Have the issuer grant a longer life: each guest costs a mint every minute or so."
        )
    else:
        yield ok(step, seen)


def _told(error: TokenError) -> str:
    return f"{error.reason} ({error})" if str(error) else error.reason
