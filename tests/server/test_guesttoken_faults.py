"""What the vendor does on a bad day, over real connections, and what must not come of it."""

import json
import logging
from base64 import b64encode
from collections.abc import AsyncIterator
from typing import TypeVar

import anyio
import pytest
from issuer_stub import IssuerStub, Reply, drip, granted, hang, held, reply, reset

from guestpass import events
from guestpass.adapters.issuers.guesttoken import GuestTokenIssuer, GuestTokenSettings
from guestpass.adapters.issuers.http_client import HttpClient
from guestpass.adapters.issuers.retry import MOST_RETRY_AFTER
from guestpass.core.model import Claims, Identity, RawToken, UnixTime
from guestpass.errors import GuestpassError, IssuerMisconfigured, TokenRefused, Unavailable

pytestmark = pytest.mark.anyio

ALICE = Identity(name="Alice", email="alice@example.org")
TOKEN = "aGVhZGVy.cGF5bG9hZA.c2lnbmF0dXJl"
E = TypeVar("E", bound=GuestpassError)
ENVELOPE = {"message": "leak-me Alice", "code": "some.code", "status": 400, "contextId": "c-1"}


@pytest.fixture
async def stub() -> AsyncIterator[IssuerStub]:
    async with IssuerStub().listening() as stub:
        yield stub


@pytest.fixture
async def issuer(stub: IssuerStub) -> AsyncIterator[GuestTokenIssuer]:
    issuer = stub.issuer()
    yield issuer
    await issuer.aclose()


async def refused(issuer: GuestTokenIssuer, error: type[E]) -> E:
    with pytest.raises(error) as caught:
        await issuer.mint(ALICE)
    return caught.value


# --- the exchange itself ----------------------------------------------------------------------------------


async def test_a_mint_posts_name_and_email_with_the_access_token(
    stub: IssuerStub, issuer: GuestTokenIssuer
) -> None:
    await issuer.mint(ALICE)
    (login,), (mint,) = stub.logins, stub.mints
    assert login.target == "/login/oauth/token"
    assert login.fields["authorization"] == "Basic " + b64encode(b"id:s3cret").decode()
    assert login.fields["content-type"] == "application/x-www-form-urlencoded"
    assert login.body == b"grant_type=client_credentials"
    assert mint.target == "/api/api/v2/webchat/v1/guesttokens"
    assert mint.fields["authorization"] == "Bearer access-1"
    assert mint.fields["content-type"] == "application/json"
    assert json.loads(mint.body) == {"name": "Alice", "email": "alice@example.org"}
    assert mint.fields["user-agent"].startswith("guestpass/")


async def test_a_rotation_mints_anew_for_the_identity_that_was_signed(
    stub: IssuerStub, issuer: GuestTokenIssuer
) -> None:
    """Never Alice's token for Bob: what is asked for are the verified claims of the one token at hand."""
    claims = Claims(
        issuer="i",
        subject="s",
        expires_at=UnixTime(0),
        issued_at=None,
        name="Bob",
        email="bob@example.org",
        payload=b"{}",
    )
    await issuer.mint(ALICE)
    await issuer.rotate(RawToken(b"old"), claims)
    assert json.loads(stub.mints[1].body) == {"name": "Bob", "email": "bob@example.org"}


async def test_token_and_expiry_are_found_where_settings_say(stub: IssuerStub) -> None:
    settings = GuestTokenSettings(
        token_member="data.jwt", expires_member="data.until", name_member="displayName", email_member="mail"
    )
    stub.mint_script = [reply(201, {"data": {"jwt": TOKEN, "until": "2026-01-01T00:00:00Z"}})]
    issuer = stub.issuer(settings)
    minted = await issuer.ask(ALICE)
    await issuer.aclose()
    assert minted.token == RawToken(TOKEN.encode())
    assert minted.expires_at == UnixTime(1_767_225_600)
    assert json.loads(stub.mints[0].body) == {"displayName": "Alice", "mail": "alice@example.org"}


@pytest.mark.parametrize(
    "hint", [None, "soon", True, -1, 1e300, [], {}, "9999-99-99", "2026-01-01T00:00:00+99:99"]
)
async def test_a_garbled_expiry_hint_costs_nothing(
    stub: IssuerStub, issuer: GuestTokenIssuer, hint: object
) -> None:
    """The verifier reads "exp"; the answer's own word is never relied on."""
    stub.mint_script = [reply(200, {"token": TOKEN, "expires_at": hint})]
    minted = await issuer.ask(ALICE)
    assert (minted.token.compact, minted.expires_at) == (TOKEN.encode(), None)


async def test_a_path_that_leads_nowhere_in_the_answer_is_no_token(stub: IssuerStub) -> None:
    issuer = stub.issuer(GuestTokenSettings(token_member="token.jwt"))
    await refused(issuer, Unavailable)
    await issuer.aclose()


async def test_no_cookie_of_one_answer_goes_out_with_the_next_request(
    stub: IssuerStub, issuer: GuestTokenIssuer
) -> None:
    """P21: httpx shares one jar between all requests unless told otherwise."""
    stub.mint_script = [reply(200, {"token": TOKEN}, set_cookie="session=alice; Path=/")]
    await issuer.mint(ALICE)
    await issuer.mint(ALICE)
    assert "cookie" not in stub.mints[1].fields


async def test_no_proxy_of_the_environment_is_obeyed(
    stub: IssuerStub, issuer: GuestTokenIssuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    await issuer.mint(ALICE)
    assert len(stub.mints) == 1


# --- our own access ---------------------------------------------------------------------------------------


async def test_a_401_drops_the_access_token_and_asks_once_more(
    stub: IssuerStub, issuer: GuestTokenIssuer
) -> None:
    """The access token dies after a day at the latest, and before when too many displace it."""
    stub.mint_script = [reply(401, ENVELOPE)]
    await issuer.mint(ALICE)
    assert [mint.fields["authorization"] for mint in stub.mints] == ["Bearer access-1", "Bearer access-2"]


async def test_a_second_401_is_ours_to_mend_and_stops_the_calls(
    stub: IssuerStub, issuer: GuestTokenIssuer
) -> None:
    stub.mint_script = [reply(401, ENVELOPE), reply(401, ENVELOPE)]
    await refused(issuer, IssuerMisconfigured)
    await refused(issuer, IssuerMisconfigured)
    assert (len(stub.logins), len(stub.mints)) == (2, 2)
    stub.clock.now += 30
    await issuer.mint(ALICE)
    assert (len(stub.logins), len(stub.mints)) == (3, 3)


async def test_mints_that_meet_a_401_together_log_in_once(stub: IssuerStub, issuer: GuestTokenIssuer) -> None:
    await issuer.mint(ALICE)
    stub.mint_script = [reply(401, ENVELOPE)] * 10
    async with anyio.create_task_group() as tasks:
        for _ in range(10):
            tasks.start_soon(issuer.mint, ALICE)
    assert len(stub.logins) == 2


async def test_a_401_that_comes_late_does_not_drop_the_access_token_that_came_since(
    stub: IssuerStub, issuer: GuestTokenIssuer
) -> None:
    await issuer.mint(ALICE)
    late, release = held(reply(401, ENVELOPE))
    stub.mint_script = [late, reply(401, ENVELOPE)]
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(issuer.mint, ALICE)
        with anyio.fail_after(5):
            await stub.minting(2)
        await issuer.mint(ALICE)
        release.set()
    assert len(stub.logins) == 2
    assert stub.mints[-1].fields["authorization"] == "Bearer access-2"


async def test_a_403_opens_the_breaker_for_thirty_seconds(stub: IssuerStub, issuer: GuestTokenIssuer) -> None:
    stub.mint_script = [reply(403, {"code": "missing.permissions"})]
    assert (await refused(issuer, IssuerMisconfigured)).retry_after == 30
    stub.clock.now += 29.9
    assert (await refused(issuer, IssuerMisconfigured)).retry_after == pytest.approx(0.1, abs=1e-3)
    assert len(stub.mints) == 1
    stub.clock.now += 0.2
    await issuer.mint(ALICE)


@pytest.mark.parametrize(
    "answer",
    [
        reply(403, {"message": "no code"}),
        reply(403, b"<html>", content_type="text/html", ININ_Correlation_Id="1b4f"),
    ],
)
async def test_a_403_is_the_vendors_if_it_is_json_or_has_the_vendors_id(
    stub: IssuerStub, issuer: GuestTokenIssuer, answer: Reply
) -> None:
    stub.mint_script = [answer]
    await refused(issuer, IssuerMisconfigured)


async def test_a_403_of_a_firewalls_refuses_one_guest_and_nobody_else(
    stub: IssuerStub, issuer: GuestTokenIssuer, caplog: pytest.LogCaptureFixture
) -> None:
    """A name that a firewall takes for an attack must not keep all others from their tokens."""
    stub.mint_script = [reply(403, b"<html>Blocked</html>", content_type="text/html")]
    with pytest.raises(TokenRefused):
        await issuer.mint(ALICE)
    assert events.ISSUER_MISCONFIGURED in [getattr(record, "event", None) for record in caplog.records]
    await issuer.mint(Identity(name="Bob", email="bob@example.org"))


# --- limits -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("told", "wait"),
    [
        ("20", 20.0),
        ("86400", MOST_RETRY_AFTER),
        ("Tue, 14 Nov 2023 22:13:50 GMT", 30.0),
    ],
)
async def test_a_429_closes_the_gate_for_everyone_until_its_retry_after(
    stub: IssuerStub, issuer: GuestTokenIssuer, told: str, wait: float
) -> None:
    """R5. Seconds are no milliseconds, a date is no number, and nobody sleeps past the deadline."""
    stub.mint_script = [reply(429, {"code": "too.many.requests.retry.after"}, retry_after=told)]
    with anyio.fail_after(8):
        assert (await refused(issuer, Unavailable)).retry_after == wait
        stub.clock.now += wait - 1
        assert (await refused(issuer, Unavailable)).retry_after == pytest.approx(1)
        assert (len(stub.mints), stub.clock.sleeps) == (1, [])
        stub.clock.now += 1
        await issuer.mint(ALICE)


async def test_a_short_retry_after_is_waited_for(stub: IssuerStub, issuer: GuestTokenIssuer) -> None:
    stub.mint_script = [reply(429, retry_after="2")]
    with anyio.fail_after(8):
        await issuer.mint(ALICE)
    assert stub.clock.sleeps == [2.0]


@pytest.mark.parametrize("told", ["soon", "-1", "2.5", ""])
async def test_a_garbled_retry_after_backs_off_by_default(
    stub: IssuerStub, issuer: GuestTokenIssuer, told: str
) -> None:
    stub.mint_script = [reply(429, retry_after=told)] * 3
    fault = await refused(issuer, Unavailable)
    assert stub.clock.sleeps == [1.0, 2.0]
    assert fault.retry_after == 4.0
    await refused(issuer, Unavailable)
    assert len(stub.mints) == 3


# --- answers ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [400, 413, 415, 422])
async def test_a_refusal_of_the_identity_is_final(
    stub: IssuerStub, issuer: GuestTokenIssuer, status: int
) -> None:
    stub.mint_script = [reply(status, ENVELOPE)]
    fault = await refused(issuer, TokenRefused)
    assert len(stub.mints) == 1
    assert "leak-me" not in str(fault)


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(reply(500, ENVELOPE), id="500"),
        pytest.param(reply(500, b"<html>", content_type="text/html"), id="500 HTML"),
        pytest.param(reply(500), id="500 empty"),
        pytest.param(reply(404, ENVELOPE), id="404"),
        pytest.param(reply(408), id="408"),
        pytest.param(reply(418), id="418"),
        pytest.param(reply(302, location="/api/elsewhere"), id="redirect"),
        pytest.param(reply(307, location="http://127.0.0.1:9/"), id="redirect elsewhere"),
        pytest.param(reply(204), id="204"),
        pytest.param(reply(200), id="empty"),
        pytest.param(reply(200, {"token": TOKEN}, content_type="text/html"), id="HTML type"),
        pytest.param(reply(200, {"token": TOKEN}, content_type="application/jsonp"), id="not quite JSON"),
        pytest.param(reply(200, {"token": TOKEN}, content_encoding="gzip"), id="compressed unasked"),
        pytest.param(reply(200, b"<html>login</html>"), id="HTML body"),
        pytest.param(reply(200, b'{"token": "aaa'), id="truncated JSON"),
        pytest.param(reply(200, {"token": TOKEN}, content_length="900"), id="cut short"),
        pytest.param(reply(200, b"[" * 20_000), id="deep"),
        pytest.param(reply(200, b'{"token": "' + b"a" * 70_000 + b'"}'), id="body too large"),
        pytest.param(reply(200, b'{"token":"a.b.c","token":"d.e.f"}'), id="two tokens"),
        pytest.param(reply(200, b'\xff{"token":"a.b.c"}'), id="not UTF-8"),
        pytest.param(reply(200, [TOKEN]), id="a list"),
        pytest.param(reply(200, TOKEN), id="a string"),
        pytest.param(reply(200, {}), id="no token"),
        pytest.param(reply(200, {"token": None}), id="null"),
        pytest.param(reply(200, {"token": 7}), id="a number"),
        pytest.param(reply(200, {"token": [TOKEN]}), id="token in a list"),
        pytest.param(reply(200, {"token": ""}), id="empty token"),
        pytest.param(reply(200, {"token": "a" * 8193}), id="token too long"),
        pytest.param(reply(200, {"token": TOKEN + "\r\nset-cookie: a=b"}), id="CRLF"),
        pytest.param(reply(200, {"token": TOKEN + "\n"}), id="final LF"),
        pytest.param(reply(200, {"token": TOKEN + "\0"}), id="NUL"),
        pytest.param(reply(200, {"token": TOKEN + " b"}), id="blank"),
        pytest.param(reply(200, {"token": TOKEN + "é"}), id="not ASCII"),
        pytest.param(reset, id="reset after the request"),
    ],
)
async def test_every_other_answer_is_unavailable_and_not_asked_again(
    stub: IssuerStub, issuer: GuestTokenIssuer, answer: Reply
) -> None:
    """P19 and R5. After a reply that was lost or broken a token may exist already: one call, no more."""
    stub.mint_script = [answer]
    fault = await refused(issuer, Unavailable)
    assert (len(stub.mints), stub.clock.sleeps) == (1, [])
    assert "leak-me" not in str(fault)
    assert TOKEN not in str(fault)
    await issuer.mint(ALICE)


@pytest.mark.parametrize("status", [502, 503, 504])
async def test_a_passing_fault_is_asked_again_three_times_at_most(
    stub: IssuerStub, issuer: GuestTokenIssuer, status: int
) -> None:
    stub.mint_script = [reply(status), reply(status)]
    await issuer.mint(ALICE)
    stub.mint_script = [reply(status, b"<html>", content_type="text/html")] * 3
    await refused(issuer, Unavailable)
    assert len(stub.mints) == 6


async def test_a_refused_connection_is_tried_again_and_then_unavailable(stub: IssuerStub) -> None:
    async with IssuerStub().listening() as gone:
        issuer = gone.issuer()
    await refused(issuer, Unavailable)
    assert len(gone.clock.sleeps) == 2
    async with gone.listening():
        await issuer.mint(ALICE)
        await issuer.aclose()


@pytest.mark.parametrize("answer", [hang, drip])
async def test_an_answer_that_does_not_end_is_cut_by_our_own_deadline(
    stub: IssuerStub, answer: Reply
) -> None:
    """R6, and without a deadline of the caller: a limit for each read alone would never fire."""
    issuer = stub.issuer(http=HttpClient(total=0.2))
    stub.mint_script = [answer]
    with anyio.fail_after(5):
        await refused(issuer, Unavailable)
    assert len(stub.mints) == 1
    await issuer.aclose()


async def test_a_hanging_issuer_is_cut_by_the_callers_deadline(
    stub: IssuerStub, issuer: GuestTokenIssuer
) -> None:
    stub.mint_script = [hang]
    with anyio.move_on_after(0.2) as scope:
        await issuer.mint(ALICE)
    assert scope.cancelled_caught
    await issuer.mint(ALICE)


# --- what is logged ---------------------------------------------------------------------------------------


async def test_logs_hold_the_vendors_correlation_id_and_nothing_of_the_guest(
    stub: IssuerStub, issuer: GuestTokenIssuer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="guestpass")
    stub.login_script = [reply(200, granted("access-secret"), ININ_Correlation_Id="login-1")]
    stub.mint_script = [
        reply(200, {"token": TOKEN}, ININ_Correlation_Id="mint-1"),
        reply(403, ENVELOPE | {"code": "missing.permissions"}, ININ_Correlation_Id="evil\x1b[31m id"),
    ]
    await issuer.mint(ALICE)
    await refused(issuer, IssuerMisconfigured)
    text = "\n".join(record.getMessage() for record in caplog.records)
    assert "correlation='login-1'" in text
    assert "correlation='mint-1'" in text
    assert "vendor_code='missing.permissions'" in text
    for secret in ("Alice", "alice@", TOKEN, "access-secret", "s3cret", "leak-me", "evil"):
        assert secret not in text


async def test_credentials_and_tokens_have_no_useful_repr(stub: IssuerStub, issuer: GuestTokenIssuer) -> None:
    minted = await issuer.ask(ALICE)
    assert "aGVhZGVy" not in repr(minted)
