"""Does memory stay flat under a million distinct bad tokens, addresses, kids and field names?

All in this process: the gate over a JWKS that is fetched, with the limit on failed verifications that `serve`
has. Every request is a stranger's: nothing in it was seen before.
"""

import argparse
import asyncio
import gc
import json
import os
import time
from ipaddress import IPv4Address
from pathlib import Path

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from guestpass import Gate
from guestpass.adapters.memory_store import MemoryStore
from guestpass.adapters.ratelimit import MemoryLimiter
from guestpass.adapters.remote_jwks import RemoteJwks
from guestpass.adapters.system_clock import SystemClock
from guestpass.admission import Refused, Request
from guestpass.core import base64url
from guestpass.core.claims import ClaimRules
from guestpass.testing import ISSUER, FakeIssuer, jwks_of, serving, signing_key
from guestpass.verifier import JwksVerifier

RS256 = frozenset({"RS256"})
KNOWN_KID = signing_key()["kid"]


class Publisher:
    """Serves the JWKS, and counts how often it was asked."""

    asked = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            self.asked += 1
            await Response(json.dumps(jwks_of(signing_key())))(scope, receive, send)


def resident() -> float:
    """MiB of memory that this process holds."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def stranger(number: int) -> Request:
    """A request whose token, address and field are new; every other kid is, the rest have a bad signature."""
    kid = f"kid-{number}" if number % 2 else KNOWN_KID
    header = base64url.encode(json.dumps({"alg": "RS256", "kid": kid}).encode())
    token = header + b".e30." + base64url.encode(number.to_bytes(256))
    fields = [(b"x-guest-token", token), (b"x-%d" % number, b"1")]
    return Request("GET", "/", b"/", fields, b"", False, (), str(IPv4Address(0x0B000000 + number)))


async def flood(url: str, count: int) -> None:
    clock = SystemClock()
    verifier = JwksVerifier(
        RemoteJwks(url, algorithms=RS256, clock=clock),
        ClaimRules(issuer=ISSUER),
        algorithms=RS256,
        clock=clock,
    )
    gate = Gate(
        verifier=verifier,
        issuer=FakeIssuer(),
        store=MemoryStore(clock),
        clock=clock,
        failed_verification=MemoryLimiter(100, 60, clock),
    )
    began = time.perf_counter()
    for number in range(count):
        if number % (count // 10) == 0:
            print(f"{number:>9,} strangers   {resident():7.1f} MiB", flush=True)
        assert isinstance(await gate.admit(stranger(number)), Refused)
    seconds = time.perf_counter() - began
    print(f"{count:>9,} strangers   {resident():7.1f} MiB   {1e6 * seconds / count:.0f} us each")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1_000_000)
    publisher = Publisher()
    with serving(publisher) as url:
        asyncio.run(flood(url, parser.parse_args().count))
    print(f"{publisher.asked} fetches of the JWKS")


if __name__ == "__main__":
    main()
