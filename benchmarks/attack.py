"""What does a flood of bad tokens cost the good ones? Loop lag and good p99, with the flood and without.

The middleware serves under uvicorn and httptools in a thread; the clients are a process of their own. Each
bad token is new: a forged signature under a known kid, so that every one of them is verified.
"""

import argparse
import asyncio
import gc
import json
import multiprocessing
import statistics
import time
from collections.abc import Sequence
from urllib.parse import urlsplit

from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from guestpass import Gate, GuestTokenMiddleware
from guestpass.adapters.memory_store import MemoryStore
from guestpass.adapters.static_jwks import StaticJwks
from guestpass.adapters.system_clock import SystemClock
from guestpass.core import base64url
from guestpass.core.claims import ClaimRules
from guestpass.testing import ISSUER, FakeIssuer, jwks_of, mint, serving, signing_key
from guestpass.verifier import JwksVerifier

RS256 = frozenset({"RS256"})
PROBE = 0.005
"""Seconds between two looks at the loop's lag."""


class LagProbe:
    """An ASGI app that, while it runs, notes how late its loop wakes it; `/lag` says so and begins anew."""

    def __init__(self, app: GuestTokenMiddleware) -> None:
        self.app = app
        self.lags: list[float] = []
        self.probing: asyncio.Task[None] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.probing is None:
            self.probing = asyncio.get_running_loop().create_task(self._probe())
        if scope["type"] == "http" and scope["path"] == "/lag":
            lags, self.lags = self.lags, []
            await PlainTextResponse(json.dumps(lags))(scope, receive, send)
        elif scope["type"] == "http":
            await self.app(scope, receive, send)

    async def _probe(self) -> None:
        while True:
            before = time.perf_counter()
            await asyncio.sleep(PROBE)
            self.lags.append(time.perf_counter() - before - PROBE)


def percentile(values: Sequence[float], share: float) -> float:
    return 1000 * sorted(values)[min(len(values) - 1, int(share * len(values)))]


def bad_tokens(count: int) -> list[bytes]:
    """Genuine but for the signature, which is another one each time."""
    signed, _, _ = mint().encode().rpartition(b".")
    return [signed + b"." + base64url.encode(number.to_bytes(256)) for number in range(count)]


async def one(host: str, port: int, token: bytes, target: bytes = b"/") -> tuple[float, bytes]:
    began = time.perf_counter()
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(
        b"GET %b HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX-Guest-Token: %b\r\n\r\n" % (target, token)
    )
    answer = await reader.read(-1)
    writer.close()
    return time.perf_counter() - began, answer


async def paced(host: str, port: int, tokens: Sequence[bytes], rate: float) -> list[float]:
    """One request per token, `rate` of them a second, whether or not earlier ones were answered."""
    began = time.perf_counter()
    tasks = []
    for number, token in enumerate(tokens):
        await asyncio.sleep(max(0.0, began + number / rate - time.perf_counter()))
        tasks.append(asyncio.create_task(one(host, port, token)))
    return [seconds for seconds, _ in await asyncio.gather(*tasks)]


async def measure(url: str, good: bytes, bad: Sequence[bytes], seconds: float, rate: float) -> None:
    address = urlsplit(url)
    host, port = address.hostname or "", address.port or 0
    await one(host, port, good)
    await one(host, port, b"", b"/lag")
    goods = paced(host, port, [good] * int(100 * seconds), 100)
    timed, *_ = await asyncio.gather(goods, paced(host, port, bad, rate))
    _, answer = await one(host, port, b"", b"/lag")
    lags = json.loads(answer.partition(b"\r\n\r\n")[2])
    print(
        f"{len(bad) / seconds:>8.0f} bad/s   good p50 {1000 * statistics.median(timed):6.2f} ms"
        f"   p99 {percentile(timed, 0.99):6.2f} ms   lag p99 {percentile(lags, 0.99):6.2f} ms"
        f"   worst {1000 * max(lags):6.2f} ms"
    )


def clients(url: str, good: bytes, seconds: float, rate: float) -> None:
    gc.disable()  # the clients' pauses are none of the server's
    for bad_rate in (0.0, rate):
        asyncio.run(measure(url, good, bad_tokens(int(bad_rate * seconds)), seconds, bad_rate or 1))


def _spared() -> None:
    """As `guestpass serve` does in its workers: a full collection of all that was imported takes 20 ms."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, *gc.get_threshold()[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--rate", type=float, default=500, help="bad tokens a second")
    options = parser.parse_args()
    clock = SystemClock()
    keys = StaticJwks(json.dumps(jwks_of(signing_key())).encode(), algorithms=RS256)
    gate = Gate(
        verifier=JwksVerifier(keys, ClaimRules(issuer=ISSUER), algorithms=RS256, clock=clock),
        issuer=FakeIssuer(),
        store=MemoryStore(clock),
        clock=clock,
    )
    app = LagProbe(GuestTokenMiddleware(PlainTextResponse("ok"), gate=gate))
    _spared()
    with serving(app) as url:
        worker = multiprocessing.get_context("spawn").Process(
            target=clients, args=(url, mint(lifetime=3600).encode(), options.seconds, options.rate)
        )
        worker.start()
        worker.join()


if __name__ == "__main__":
    main()
