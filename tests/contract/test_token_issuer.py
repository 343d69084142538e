"""What every `ports.TokenIssuer` promises, over each adapter."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import anyio
import pytest
from issuer_stub import LIFETIME, HeldClock, IssuerStub

from guestpass.adapters.issuers.local import LocalIssuer, LocalSettings
from guestpass.adapters.traced import TracedIssuer
from guestpass.core import base64url
from guestpass.core.model import Claims, Identity, RawToken, UnixTime
from guestpass.ports import TokenIssuer

pytestmark = pytest.mark.anyio

ALICE = Identity(name="Alice Größe", email="alice@example.org")
BOB = Identity(name="Bob", email="bob@example.org")

Issuing = Callable[[], AbstractAsyncContextManager[tuple[TokenIssuer, HeldClock]]]


@asynccontextmanager
async def guesttoken() -> AsyncIterator[tuple[TokenIssuer, HeldClock]]:
    async with IssuerStub().listening() as stub:
        issuer = stub.issuer()
        yield issuer, stub.clock
        await issuer.aclose()


@asynccontextmanager
async def local() -> AsyncIterator[tuple[TokenIssuer, HeldClock]]:
    clock = HeldClock()
    settings = LocalSettings(issuer="https://guests.example", lifetime=LIFETIME, algorithm="ES256")
    yield LocalIssuer(settings, clock=clock), clock


@asynccontextmanager
async def traced() -> AsyncIterator[tuple[TokenIssuer, HeldClock]]:
    async with IssuerStub().listening() as stub:
        issuer = TracedIssuer(stub.issuer())
        yield issuer, stub.clock
        await issuer.aclose()


@pytest.fixture(params=[guesttoken, local, traced])
def issuing(request: pytest.FixtureRequest) -> Issuing:
    adapter: Issuing = request.param
    return adapter


def payload(token: RawToken) -> dict[str, Any]:
    members: dict[str, Any] = json.loads(base64url.decode(token.compact.split(b".")[1]))
    return members


def claims_of(token: RawToken) -> Claims:
    """As the verifier would read them; signatures are another suite's subject."""
    members = payload(token)
    return Claims(
        issuer=members.get("iss", ""),
        subject=members.get("sub", ""),
        expires_at=UnixTime(members["exp"]),
        issued_at=None,
        name=members["name"],
        email=members["email"],
        payload=b"{}",
    )


async def test_a_mint_is_for_the_identity_asked_for(issuing: Issuing) -> None:
    async with issuing() as (issuer, _):
        for identity in (ALICE, BOB):
            assert claims_of(await issuer.mint(identity)).minted_for == identity


async def test_a_token_is_one_compact_serialization_in_visible_ascii(issuing: Issuing) -> None:
    """P19: it goes into a response field as it is."""
    async with issuing() as (issuer, _):
        token = await issuer.mint(ALICE)
        assert token.compact.count(b".") == 2
        assert all(0x21 <= octet <= 0x7E for octet in token.compact)


async def test_no_two_mints_give_one_token(issuing: Issuing) -> None:
    """Not even for the same name and e-mail address: those prove nothing."""
    async with issuing() as (issuer, _):
        first, second = await issuer.mint(ALICE), await issuer.mint(ALICE)
        assert first != second


async def test_a_successor_is_for_the_same_identity_and_expires_later(issuing: Issuing) -> None:
    async with issuing() as (issuer, clock):
        token = await issuer.mint(ALICE)
        clock.now += 1500
        successor = await issuer.rotate(token, claims_of(token))
        assert successor != token
        assert claims_of(successor).minted_for == ALICE
        assert claims_of(successor).subject == claims_of(token).subject
        assert claims_of(successor).expires_at > claims_of(token).expires_at


async def test_the_token_lives_as_long_as_the_issuer_says(issuing: Issuing) -> None:
    async with issuing() as (issuer, clock):
        assert claims_of(await issuer.mint(ALICE)).expires_at == UnixTime(int(clock.now) + LIFETIME)


async def test_mints_at_the_same_time_do_not_mix_identities(issuing: Issuing) -> None:
    found: dict[str, str] = {}

    async def mint(issuer: TokenIssuer, name: str) -> None:
        token = await issuer.mint(Identity(name=name, email="x@example.org"))
        found[name] = claims_of(token).name

    async with issuing() as (issuer, _), anyio.create_task_group() as tasks:
        for number in range(20):
            tasks.start_soon(mint, issuer, f"guest {number}")
    assert all(name == got for name, got in found.items())
    assert len(found) == 20


async def test_a_closed_issuer_can_be_used_again(issuing: Issuing) -> None:
    async with issuing() as (issuer, _):
        await issuer.mint(ALICE)
        await issuer.aclose()
        await issuer.aclose()
        assert claims_of(await issuer.mint(BOB)).minted_for == BOB


async def test_a_cancelled_mint_does_no_harm_to_the_next(issuing: Issuing) -> None:
    async with issuing() as (issuer, _):
        with anyio.CancelScope() as scope:
            scope.cancel()
            await issuer.mint(ALICE)
        assert claims_of(await issuer.mint(BOB)).minted_for == BOB
