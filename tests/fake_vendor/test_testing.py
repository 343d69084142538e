"""What users' suites get: the clock, the issuer in process, tokens to order, the fixtures."""

from typing import Any

import anyio
import httpx
import pytest
from vendor_client import ADA, claims_of, header_of

from guestpass.core.model import Claims, Identity, RawToken, UnixTime
from guestpass.errors import Unavailable
from guestpass.ports import Clock, TokenIssuer
from guestpass.testing import ISSUER, FakeIssuer, FrozenClock, jwks_of, mint, serving, signing_key

ADA_HERSELF = Identity(**ADA)


# --- the clock --------------------------------------------------------------------------------------------


def test_a_frozen_clock_moves_only_when_told() -> None:
    clock: Clock = FrozenClock(100.0)
    assert (clock.time(), clock.time()) == (100.0, 100.0)
    assert clock.monotonic() == clock.monotonic()


def test_advancing_moves_both_clocks_and_setting_steps_the_wall_clock_alone() -> None:
    clock = FrozenClock(100.0)
    start = clock.monotonic()
    clock.advance(5)
    assert (clock.time(), clock.monotonic() - start) == (105.0, 5.0)
    clock.set(50.0)
    assert (clock.time(), clock.monotonic() - start) == (50.0, 5.0)
    with pytest.raises(ValueError, match="backwards"):
        clock.advance(-1)


# --- tokens to order --------------------------------------------------------------------------------------


def test_a_minted_token_has_the_vendors_shape_and_the_claims_that_were_ordered() -> None:
    token = mint({"sub": "me", "nbf": None}, now=1000.9, lifetime=60, header={"typ": "at+jwt"}, **ADA)
    assert header_of(token) == {"alg": "RS256", "kid": signing_key()["kid"], "typ": "at+jwt"}
    assert claims_of(token, jwks_of(signing_key())["keys"]) == {
        "iss": ISSUER,
        "sub": "me",
        **ADA,
        "iat": 1000,
        "exp": 1060,
    }


def test_a_token_of_another_key_does_not_verify() -> None:
    token = mint(key=signing_key("other"))
    assert claims_of(token, jwks_of(signing_key())["keys"]) is None
    assert claims_of(token, jwks_of(signing_key("other"))["keys"]) is not None


# --- the issuer in process --------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_a_fake_issuer_mints_for_whom_it_is_asked_and_never_twice_the_same() -> None:
    clock = FrozenClock(1000.0)
    fake = FakeIssuer(clock, lifetime=60)
    issuer: TokenIssuer = fake
    first = await issuer.mint(ADA_HERSELF)
    claims = claims_of(first.compact.decode(), fake.jwks()["keys"]) or {}
    assert (claims["email"], claims["exp"]) == (ADA["email"], 1060)
    verified = Claims(
        issuer=ISSUER,
        subject=claims["sub"],
        expires_at=UnixTime(1060),
        issued_at=None,
        payload=b"{}",
        **ADA,
    )
    second = await issuer.rotate(first, verified)
    assert first != second
    assert (claims_of(second.compact.decode(), fake.jwks()["keys"]) or {})["sub"] == claims["sub"]
    assert fake.calls == [ADA_HERSELF, ADA_HERSELF]
    await issuer.aclose()


@pytest.mark.anyio
async def test_it_fails_as_long_as_it_is_told() -> None:
    issuer = FakeIssuer()
    issuer.fail(Unavailable("down"), times=2)
    for _ in range(2):
        with pytest.raises(Unavailable):
            await issuer.mint(ADA_HERSELF)
    await issuer.mint(ADA_HERSELF)
    issuer.fail(Unavailable("down"))
    with pytest.raises(Unavailable):
        await issuer.mint(ADA_HERSELF)
    issuer.recover()
    await issuer.mint(ADA_HERSELF)
    assert len(issuer.calls) == 5


@pytest.mark.anyio
async def test_it_mints_garbage_when_told() -> None:
    issuer = FakeIssuer()
    issuer.garble("a.b\r\nc")
    assert await issuer.mint(ADA_HERSELF) == RawToken(b"a.b\r\nc")
    issuer.recover()
    assert await issuer.mint(ADA_HERSELF) != RawToken(b"a.b\r\nc")


@pytest.mark.anyio
async def test_it_hangs_until_it_recovers_and_says_when_it_was_asked() -> None:
    issuer = FakeIssuer()
    issuer.hang()
    minted: list[RawToken] = []

    async def ask() -> None:
        minted.append(await issuer.mint(ADA_HERSELF))

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            tasks.start_soon(ask)
            await issuer.asked(2)
            assert minted == []
            issuer.recover()
    assert len(set(minted)) == 2


# --- serving ---------------------------------------------------------------------------------------------


def test_an_app_of_the_users_own_can_be_served_too() -> None:
    async def hello(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"hi"})

    with serving(hello) as url:
        assert httpx.get(url, timeout=5).text == "hi"
