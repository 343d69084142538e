"""Checks of authenticated messaging: the deployment, and with a guest's code a whole session, to its end."""

import json
from collections.abc import AsyncIterator, Awaitable
from typing import Final, TypeVar

import anyio

from guestpass.adapters.issuers import answers
from guestpass.adapters.issuers.webdeployments import ROOT, THEIRS
from guestpass.core.decision import Invalid
from guestpass.doctor.findings import Finding, failed, ok, skipped, warning
from guestpass.doctor.patient import Patient
from guestpass.doctor.vendor import refusal
from guestpass.errors import GrantRefused, GuestpassError, IssuerMisconfigured, TokenRefused, Unavailable
from guestpass.recorded import RecordedVerifier

T = TypeVar("T")

_MADE_UP: Final = "a-refresh-token-that-guestpass-doctor-made-up"
_ADMIN: Final = "In the vendor's admin pages, under Message > Messenger Deployments, "
_DEPLOYMENT: Final = {
    403: (
        "is forbidden for this deployment",
        f"{_ADMIN}the deployment must be active, and its configuration must have authentication on.",
    ),
    404: (
        "does not know the deployment",
        f"Check issuer.deployment_id and the region (GENESYS_ENVIRONMENT). {_ADMIN}look for it.",
    ),
    429: ("has had too many calls", "Wait, and find who else uses this deployment: its limit is shared."),
}
_NO_CODE: Final = "no guest's code is given: guestpass doctor --login - tries one"
_NO_SESSION: Final = "there is no session"


async def deployment(patient: Patient) -> AsyncIterator[Finding]:
    """Send a refresh token that we made up: the answer tells whether the deployment is there."""
    step = "deployment"
    if patient.hosts is None:
        yield skipped(step, "there is no vendor")
        return
    members = {"deploymentId": patient.settings.issuer.deployment_id, "refreshToken": _MADE_UP}
    headers, content = {"content-type": "application/json"}, json.dumps(members).encode()
    try:
        url = f"{patient.hosts.api}{ROOT}/refresh"
        answer = await patient.http.send("POST", url, headers=headers, content=content)
    except Unavailable as exc:
        yield failed(step, f"the refresh route gives no answer ({exc})", "See the hosts above.")
        return
    patient.remember_date(answer)
    if answers.succeeded(answer):
        cure = "Check issuer.gateway: whatever answers there does not look at what it is sent."
        yield failed(step, "the refresh route takes a refresh token that was made up", cure)
    elif answer.status in THEIRS:
        yield ok(step, f"the vendor refuses a refresh token that was made up (status {answer.status})")
    else:
        yield refusal(step, "the refresh route", answer, _DEPLOYMENT)


async def login(patient: Patient) -> AsyncIterator[Finding]:
    """Exchange a guest's code, as the session endpoint does, and look its token up in the record."""
    step, logins = "login", patient.parts.logins
    if logins is None or patient.grant is None:
        yield skipped(step, _NO_CODE)
        return
    try:
        token = await _in_time(patient, logins.issuer.exchange(patient.grant))
        verdict = await RecordedVerifier(logins.sessions).verify(token)
    except GrantRefused as exc:
        cure = (
            "A code works once, and for minutes: get a new one, and send the redirect URI and the verifier"
            " it was asked for with. Where issuer.redirect_uri is set, no other is taken."
        )
        yield failed(step, f"the code was not taken ({exc})", cure)
    except IssuerMisconfigured:
        yield failed(step, "the vendor does not exchange codes for this deployment", _DEPLOYMENT[403][1])
    except Unavailable as exc:
        yield failed(step, f"the code bought no token ({exc.reason}: {exc})", "See the deployment above.")
    else:
        if isinstance(verdict, Invalid):
            yield failed(step, "the token is not in our record", "See the store below.")
            return
        patient.token, patient.genuine = token, verdict
        yield ok(step, "the code bought a token, and our record knows it")


async def refresh(patient: Patient) -> AsyncIterator[Finding]:
    """Have the session's next token, as a rotation does."""
    step, logins = "refresh", patient.parts.logins
    if logins is None or patient.token is None or patient.genuine is None:
        yield skipped(step, _NO_SESSION)
        return
    try:
        rotated = logins.issuer.rotate(patient.token, patient.genuine.claims)
        patient.token = await _in_time(patient, rotated)
    except TokenRefused:
        cure = f"{_ADMIN}let refresh tokens live longer than a token; till then each guest logs in anew."
        yield failed(step, "the vendor refuses the refresh token it has just given", cure)
    except GuestpassError as exc:
        yield failed(step, f"the refresh token brought no token ({exc.reason})", "See the deployment above.")
    else:
        yield ok(step, "the refresh token brought the next token")


async def logout(patient: Patient) -> AsyncIterator[Finding]:
    """End the session that was begun: in our record, and at the vendor."""
    step, logins = "logout", patient.parts.logins
    if logins is None or patient.token is None:
        yield skipped(step, _NO_SESSION)
        return
    try:
        recorded = await logins.sessions.recorded(patient.token)
        if recorded is not None:
            await logins.sessions.close(recorded.session)
        await _in_time(patient, logins.issuer.revoke(patient.token))
    except GuestpassError as exc:
        cure = "Guests are logged out all the same; the vendor's end of a session lives until it runs out."
        yield warning(step, f"the vendor could not be told ({exc.reason})", cure)
    else:
        yield ok(step, "the session is over, here and at the vendor")


async def _in_time(patient: Patient, call: Awaitable[T]) -> T:
    """What `call` brings within the time that the gate gives it.

    Raises:
        Unavailable: Nothing by then.
    """
    try:
        with anyio.fail_after(patient.settings.policy.mint_deadline):
            return await call
    except TimeoutError as exc:
        raise Unavailable("no answer in time") from exc
