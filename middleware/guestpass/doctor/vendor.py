"""Checks that the vendor lets us in and mints: credentials, then the permission, a request each."""

import json
from collections.abc import AsyncIterator
from typing import Final

from guestpass.adapters.issuers import answers
from guestpass.adapters.issuers.http_client import Answer
from guestpass.adapters.issuers.oauth import ClientCredentials
from guestpass.core.model import RawToken
from guestpass.doctor.findings import Finding, failed, ok, skipped
from guestpass.doctor.patient import Patient
from guestpass.errors import GuestpassError, Unavailable

_OAUTH: Final = "In the vendor's admin pages, under Integrations > OAuth, "
_WAIT: Final = (
    "Wait, and find who else uses this OAuth client: its limit (300 calls a minute by default) is shared."
)
_LOGIN: Final = {
    400: (
        "does not know this client id",
        f"Check GENESYS_CLIENT_ID and the region. {_OAUTH}look for the client.",
    ),
    401: ("refuses the client secret", f"Check GENESYS_CLIENT_SECRET. {_OAUTH}make a new one if in doubt."),
    403: ("forbids the grant", f"{_OAUTH}the client must have the grant type Client Credentials."),
    404: ("has no login route here", "Check issuer.token_path and issuer.gateway."),
    429: ("has had too many calls", _WAIT),
}
_MINT: Final = {
    400: (
        "refuses the name or the e-mail address",
        "Try others with --name and --email; else check issuer.name_member and issuer.email_member.",
    ),
    401: (
        "does not accept the access token it has just given",
        "Check that login and API host are of one region: GENESYS_ENVIRONMENT, issuer.gateway.",
    ),
    403: (
        "says that this client may not mint",
        f"{_OAUTH}give the client a role with the permission to create guest tokens.",
    ),
    404: ("has no such route", "Check issuer.mint_path: the route differs between organisations."),
    415: ("does not take JSON here", "Check issuer.mint_path: this is another route."),
    429: ("has had too many calls", _WAIT),
}
_LATER: Final = "This is the vendor's own trouble: look at its status page, and quote the correlation id."


async def credentials(patient: Patient) -> AsyncIterator[Finding]:
    """Log in, once."""
    step, issuer = "credentials", patient.settings.issuer
    if patient.hosts is None or issuer.client_id is None or issuer.client_secret is None:
        yield skipped(step, "tokens are signed here, so there is nobody to log in to")
        return
    ours = ClientCredentials(client_id=issuer.client_id, client_secret=issuer.client_secret.reveal())
    headers = {"authorization": ours.basic, "content-type": "application/x-www-form-urlencoded"}
    try:
        url = patient.routes.token_url(patient.hosts)
        answer = await patient.http.send(
            "POST", url, headers=headers, content=b"grant_type=client_credentials"
        )
    except Unavailable as exc:
        yield failed(step, f"the login gives no answer ({exc})", "See the hosts above.")
        return
    patient.remember_date(answer)
    if not answers.succeeded(answer):
        yield refusal(step, "the login", answer, _LOGIN)
        return
    try:
        document = answers.members(answer)
        patient.access = answers.credential(document.get("access_token"))
    except Unavailable as exc:
        yield failed(
            step, f"the login's answer is of no use: {exc}", "Check issuer.token_path and issuer.gateway."
        )
        return
    yield ok(step, f"the vendor gave an access token for {document.get('expires_in')!r} s")


async def permission(patient: Patient) -> AsyncIterator[Finding]:
    """Mint one token."""
    step = "permission"
    if patient.hosts is None:
        try:
            patient.token = await patient.parts.issuer.mint(patient.identity)
        except GuestpassError as exc:
            yield failed(step, f"no token could be signed ({exc})", "Check issuer.key_file.")
            return
        yield ok(step, "a token was signed here")
        return
    if patient.access is None:
        yield skipped(step, "there is no access token to mint with")
        return
    members = {
        patient.routes.name_member: patient.identity.name,
        patient.routes.email_member: patient.identity.email,
    }
    headers = {"authorization": f"Bearer {patient.access}", "content-type": "application/json"}
    try:
        url = patient.routes.mint_url(patient.hosts)
        answer = await patient.http.send("POST", url, headers=headers, content=json.dumps(members).encode())
    except Unavailable as exc:
        yield failed(step, f"the mint gives no answer ({exc})", _LATER)
        return
    patient.remember_date(answer)
    if not answers.succeeded(answer):
        yield refusal(step, "the mint", answer, _MINT)
        return
    try:
        compact = answers.credential(answers.member(answers.members(answer), patient.routes.token_member))
    except Unavailable as exc:
        cure = "Check issuer.token_member: where the token stands in the answer, with dots between members."
        yield failed(step, f"the mint's answer is of no use: {exc}", cure)
        return
    patient.token = RawToken(compact.encode("ascii"))
    yield ok(step, "the vendor minted a token")


def refusal(step: str, who: str, answer: Answer, known: dict[int, tuple[str, str]]) -> Finding:
    """What the vendor's status and code mean (its envelope's texts are its own, and not repeated)."""
    said, cure = known.get(answer.status, ("fails", _LATER))
    code, correlation = answers.vendor_code(answer), answers.correlation(answer)
    facts = [f"status {answer.status}", code and f"code {code}", correlation and f"correlation {correlation}"]
    if (wait := answer.headers.get("retry-after", "")).isdigit():
        facts.append(f"Retry-After {wait} s")
    return failed(step, f"{who} {said} ({', '.join(fact for fact in facts if fact)})", cure)
