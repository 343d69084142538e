"""A flood of bad tokens, addresses, kids and field names costs what was set aside for it, and nothing more.

How fast it is answered is measured by benchmarks/attack.py, as times prove nothing on a busy machine.
"""

import gc
import os
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from forge import compact
from jwks_stub import JwksStub, reply
from kit import ALGORITHMS, HeldClock, World, jwks, token, world

from guestpass.adapters.ratelimit import BoundedStorage, MemoryLimiter
from guestpass.adapters.remote_jwks import RemoteJwks
from guestpass.admission import Admitted, Refused
from guestpass.core.model import Header, RawToken
from guestpass.errors import KeyUnknown, SignatureInvalid, TooManyRequests
from guestpass.verified import VerifiedTokens

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

FLOOD = 40_000
WARM = 10_000
KEYS_KEPT = 1_000
GROWTH = 4 * 2**20
"""Bytes: some hundred for each bad token, so that keeping any of them would show."""
HEADER = {"alg": "RS256", "typ": "JWT"}


def resident() -> int:
    """Bytes of memory that this process holds."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"  # 40,000 requests; nothing in them depends on the loop


async def ask(w: World, number: int, *, kid: str) -> type[Exception]:
    """A request that nobody sent before: its token, its kid, its address and a field's name are all new."""
    bad = RawToken(compact({**HEADER, "kid": kid}, b"{}", number.to_bytes(256)))
    peer = str(IPv4Address(0x0B000000 + number))
    return await error_of(w, bad, (b"x-%d" % number, b"1"), peer=peer)


async def error_of(w: World, raw: RawToken, *headers: Header, peer: str) -> type[Exception]:
    answer = await w.admit(raw, *headers, peer=peer)
    assert isinstance(answer, Refused)
    return type(answer.error)


async def test_forty_thousand_strangers_leave_no_trace_and_cause_one_fetch() -> None:
    """K3, F8: unknown kids, new addresses, new names: what is remembered of them is bounded."""
    clock = HeldClock()
    limiter = MemoryLimiter(100, 60, clock, most=KEYS_KEPT)
    async with JwksStub(reply(jwks("rsa"))).listening() as stub:
        w = world(
            keys=RemoteJwks(stub.url, algorithms=ALGORITHMS, clock=clock),
            failed_verification=limiter,
            clock=clock,
        )
        held = 0
        for number in range(FLOOD):
            if number == WARM:
                held = resident()
            assert await ask(w, number, kid=f"kid-{number}") is KeyUnknown
        assert resident() - held < GROWTH
        assert len(stub.requests) == 1  # the first set: the cooldown counts from it, and the clock stands
        assert len(w.gate.entries.cache) == 0
        assert len(w.gate._sieve._kinds) == 512
        storage = limiter._strategy.storage
        assert isinstance(storage, BoundedStorage)
        assert len(storage._hits) == KEYS_KEPT
        assert not w.issuer.calls
        assert isinstance(await w.admit(token()), Admitted)


async def test_a_flood_from_one_address_is_refused_before_any_signature_is_looked_at() -> None:
    clock = HeldClock()
    w = world(failed_verification=MemoryLimiter(100, 60, clock), clock=clock)
    errors = [await error_of(w, RawToken(_forged(number)), peer="192.0.2.9") for number in range(500)]
    assert errors == [SignatureInvalid] * 100 + [TooManyRequests] * 400


async def test_genuine_tokens_without_end_fill_the_cache_and_no_more() -> None:
    """F8: the flood of those who may; made with one key, as signing is what takes time here."""
    w = world()
    most = 64
    w.gate.entries.cache = VerifiedTokens(most)  # smaller, so that it is full soon
    for number in range(4 * most):
        await w.admit(token(jti=str(number)))
        assert len(w.gate.entries.cache) <= most
    assert len(w.gate.entries.cache) >= most // 2


def _forged(number: int) -> bytes:
    return compact({**HEADER, "kid": "rsa"}, b"{}", number.to_bytes(256))
