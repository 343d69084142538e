"""The one access token that all mints share: single-flight, renewed early, and never a storm of logins."""

from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest
from issuer_stub import IssuerStub, Reply, granted, hang, reply

from guestpass.adapters.issuers.guesttoken import GuestTokenIssuer
from guestpass.adapters.issuers.oauth import ClientCredentials
from guestpass.core.model import Identity
from guestpass.errors import ConfigError, Fault, IssuerMisconfigured, Unavailable

ALICE = Identity(name="Alice", email="alice@example.org")
DAY = 86_400


@pytest.fixture
async def stub() -> AsyncIterator[IssuerStub]:
    async with IssuerStub().listening() as stub:
        yield stub


@pytest.fixture
async def issuer(stub: IssuerStub) -> AsyncIterator[GuestTokenIssuer]:
    issuer = stub.issuer()
    yield issuer
    await issuer.aclose()


@pytest.mark.anyio
async def test_a_hundred_cold_mints_log_in_once(stub: IssuerStub, issuer: GuestTokenIssuer) -> None:
    async with anyio.create_task_group() as tasks:
        for _ in range(100):
            tasks.start_soon(issuer.mint, ALICE)
    assert (len(stub.logins), len(stub.mints)) == (1, 100)


@pytest.mark.anyio
async def test_a_leader_that_is_cancelled_hands_over_to_the_next(
    stub: IssuerStub, issuer: GuestTokenIssuer
) -> None:
    stub.login_script = [hang]
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            leader = anyio.CancelScope()

            async def lead() -> None:
                with leader:
                    await issuer.mint(ALICE)

            tasks.start_soon(lead)
            await anyio.wait_all_tasks_blocked()
            tasks.start_soon(issuer.mint, ALICE)
            await anyio.wait_all_tasks_blocked()
            leader.cancel()
    assert len(stub.mints) == 1


@pytest.mark.anyio
async def test_those_who_waited_for_a_login_share_its_failure(
    stub: IssuerStub, issuer: GuestTokenIssuer
) -> None:
    """One after another they would ask a login that is down a hundred times over."""
    stub.login_script = [reply(500)]
    faults: list[Fault] = []

    async def mint() -> None:
        try:
            await issuer.mint(ALICE)
        except Unavailable as fault:
            faults.append(fault)

    async with anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(mint)
    assert (len(faults), len(stub.logins), len(stub.mints)) == (20, 1, 0)
    await issuer.mint(ALICE)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("expires_in", "renewed_after"),
    [
        (DAY, DAY - 300),
        (300, 240),
        (10, 8),
        (172_800, 172_500),
        (10**12, 172_500),
        (None, 240),
        ("86400", 240),
        (True, 240),
        (0, 240),
        (-5, 240),
    ],
)
async def test_an_access_token_is_renewed_before_its_end(
    stub: IssuerStub, issuer: GuestTokenIssuer, expires_in: object, renewed_after: float
) -> None:
    """A life that is no sane number counts as the shortest that the vendor grants."""
    stub.login_script = [reply(200, granted("first", expires_in=expires_in))]
    await issuer.mint(ALICE)
    stub.clock.now += renewed_after - 0.5
    await issuer.mint(ALICE)
    assert len(stub.logins) == 1
    stub.clock.now += 0.5
    await issuer.mint(ALICE)
    assert [mint.fields["authorization"] for mint in stub.mints] == [
        "Bearer first",
        "Bearer first",
        "Bearer access-2",
    ]


@pytest.mark.anyio
@pytest.mark.parametrize("answer", [reply(500), reply(401, {"error": "invalid_client"})])
async def test_an_early_renewal_that_fails_costs_nobody_a_mint(
    stub: IssuerStub, issuer: GuestTokenIssuer, answer: Reply
) -> None:
    await issuer.mint(ALICE)
    stub.clock.now += DAY - 300
    stub.login_script = [answer]
    await issuer.mint(ALICE)
    await issuer.mint(ALICE)
    assert (len(stub.logins), len(stub.mints)) == (2, 3)
    stub.clock.now += 30
    await issuer.mint(ALICE)
    assert stub.mints[-1].fields["authorization"] == "Bearer access-3"


@pytest.mark.anyio
async def test_nobody_waits_for_a_renewal_while_the_old_token_lives(
    stub: IssuerStub, issuer: GuestTokenIssuer
) -> None:
    await issuer.mint(ALICE)
    stub.clock.now += DAY - 300
    stub.login_script = [hang]
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(issuer.mint, ALICE)
            await anyio.wait_all_tasks_blocked()
            await issuer.mint(ALICE)
            tasks.cancel_scope.cancel()
    assert stub.mints[-1].fields["authorization"] == "Bearer access-1"


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, {"error": "invalid_client", "description": "client not found: id"}),
        (401, {"error": "invalid_client", "error_description": "wrong s3cret"}),
        (403, {}),
        (404, b"<html>"),
    ],
)
async def test_a_login_that_refuses_us_is_ours_to_mend_and_is_left_alone(
    stub: IssuerStub, issuer: GuestTokenIssuer, status: int, body: object
) -> None:
    stub.login_script = [reply(status, body)]
    for _ in range(3):
        with pytest.raises(IssuerMisconfigured) as caught:
            await issuer.mint(ALICE)
        assert "s3cret" not in str(caught.value)
    assert (len(stub.logins), len(stub.mints)) == (1, 0)
    stub.clock.now += 30
    await issuer.mint(ALICE)


@pytest.mark.anyio
@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(reply(500), id="500"),
        pytest.param(reply(302, location="/elsewhere"), id="redirect"),
        pytest.param(reply(200, b"<html>"), id="HTML"),
        pytest.param(reply(200, granted(None)), id="no token"),
        pytest.param(reply(200, granted("a\r\nb")), id="CRLF"),
        pytest.param(reply(200, granted("a") | {"token_type": "mac"}), id="another type"),
        pytest.param(reply(200, granted("a") | {"token_type": None}), id="type null"),
    ],
)
async def test_a_login_without_a_usable_token_is_unavailable(
    stub: IssuerStub, issuer: GuestTokenIssuer, answer: Reply
) -> None:
    stub.login_script = [answer]
    with pytest.raises(Unavailable):
        await issuer.mint(ALICE)
    assert (len(stub.logins), len(stub.mints)) == (1, 0)
    await issuer.mint(ALICE)


@pytest.mark.anyio
async def test_a_login_limit_is_waited_for_like_any_other(stub: IssuerStub, issuer: GuestTokenIssuer) -> None:
    stub.login_script = [reply(429, retry_after="60")]
    with anyio.fail_after(8):
        for _ in range(2):
            with pytest.raises(Unavailable):
                await issuer.mint(ALICE)
    assert len(stub.logins) == 1


def test_one_issuer_serves_one_event_loop_after_another() -> None:
    """It is built at import time, before any loop; sockets and locks belong to the loop that uses them."""
    stub = IssuerStub()
    issuers: list[GuestTokenIssuer] = []

    async def mint() -> None:
        async with stub.listening():
            if not issuers:
                issuers.append(stub.issuer())
            await issuers[0].mint(ALICE)
            await issuers[0].aclose()

    for backend in ("asyncio", "trio", "asyncio"):
        anyio.run(mint, backend=backend)
    assert (len(stub.logins), len(stub.mints)) == (1, 3)


@pytest.mark.parametrize(
    ("field", "arguments"),
    [
        ("client_id", {"client_id": ""}),
        ("client_id", {"client_id": "a:b"}),
        ("client_id", {"client_id": "a\n"}),
        ("client_secret", {"client_secret": ""}),
        ("client_secret", {"client_secret": "pa55\r\n"}),
        ("client_secret", {"client_secret": " pa55"}),
    ],
)
def test_credentials_that_basic_cannot_carry_are_refused_unquoted(
    field: str, arguments: dict[str, Any]
) -> None:
    """RFC 7617 §2. A trailing line end is what a secret read from a file usually has."""
    with pytest.raises(ConfigError) as caught:
        ClientCredentials(**({"client_id": "id", "client_secret": "s3cret"} | arguments))
    assert caught.value.field == f"issuer.{field}"
    assert "pa55" not in str(caught.value)


def test_credentials_do_not_show_their_secret() -> None:
    assert "s3cret" not in repr(ClientCredentials(client_id="id", client_secret="s3cret"))
