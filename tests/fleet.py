"""A fleet as it is run: real workers of `guestpass serve` over one Redis, one vendor and one backend."""

import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import anyio
import httpx
from running import GUESTPASS, VENDOR, Running, running
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp

from guestpass.fake_vendor import FakeVendor
from guestpass.fake_vendor.jwt import sign
from guestpass.testing import serving

SECRET = "a secret of at least thirty-two bytes"
WINDOW = 300.0


@dataclass
class Fleet:
    """What runs; several `urls` are several hosts, each with workers of its own."""

    vendor: FakeVendor
    urls: list[str]
    processes: list[Running]

    @property
    def url(self) -> str:
        return self.urls[0]

    @property
    def mints(self) -> int:
        return self.vendor.guests.mints

    def token(self, name: str = "Ada", *, left: float = WINDOW - 100, lifetime: float = 1800) -> str:
        """A genuine token with `left` seconds to live: by default in its rotation window."""
        claims = self.vendor.guests.claims(name, f"{name.lower()}@example.com")
        expires_at = int(time.time() + left)
        claims |= {"exp": expires_at, "iat": expires_at - lifetime, "nbf": expires_at - lifetime}
        return sign(self.vendor.keys.signing, claims)


@dataclass
class Outcomes:
    """What a burst of requests was answered."""

    statuses: Counter[int] = field(default_factory=Counter)
    successors: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)

    def percentile(self, share: float) -> float:
        return sorted(self.seconds)[min(len(self.seconds) - 1, int(share * len(self.seconds)))]


@contextmanager
def fleet(
    store: str,
    *,
    workers: int = 1,
    hosts: int = 1,
    env: Mapping[str, str] | None = None,
    arguments: Sequence[str] = (),
    backend: ASGIApp | None = None,
) -> Iterator[Fleet]:
    """`hosts` times `guestpass serve` with `workers` each, all of them ready."""
    vendor = FakeVendor()
    with ExitStack() as stack:
        gateway = stack.enter_context(serving(vendor))
        upstream = stack.enter_context(serving(backend or PlainTextResponse("ok")))
        settings = {
            **VENDOR,
            "GUESTPASS_ISSUER__GATEWAY": gateway,
            "GUESTPASS_STORE__URL": store,
            "GUESTPASS_STORE__SECRET": SECRET,
            "GUESTPASS_POLICY__SPREAD": "0",
            "GUESTPASS_POLICY__ROTATE_BEFORE": str(WINDOW),
            **(env or {}),
        }
        options = ("--port", "0", "--workers", str(workers), "--upstream", upstream, *arguments)
        command = (*GUESTPASS, "serve", *options)
        processes = [stack.enter_context(running(*command, env=settings)) for _ in range(hosts)]
        for process in processes:
            # With a signal that it hands on: a supervisor that is killed leaves its workers behind.
            stack.callback(process.stop)
        yield Fleet(vendor, [ready(process) for process in processes], processes)


def ready(process: Running) -> str:
    """The URL of a server, once it answers and knows the keys."""
    url = process.url()
    with httpx.Client() as client:
        for _ in range(400):
            try:
                if client.get(f"{url}/readyz").status_code == 200:
                    return url
            except httpx.TransportError:
                pass
            time.sleep(0.05)
    raise AssertionError("\n".join(process.lines))


async def burst(urls: Sequence[str], tokens: Sequence[str], *, seconds: float = 30) -> Outcomes:
    """One request per token, all at once, each on a connection of its own, so that every worker has some."""
    outcomes = Outcomes()
    with anyio.fail_after(seconds):
        async with anyio.create_task_group() as tasks:
            for index, token in enumerate(tokens):
                tasks.start_soon(request, urls[index % len(urls)], token, outcomes)
    return outcomes


async def steady(url: str, tokens: Sequence[str], *, rate: float) -> Outcomes:
    """One request per token, `rate` of them a second, whether or not earlier ones were answered."""
    outcomes = Outcomes()
    began = anyio.current_time()
    with anyio.fail_after(len(tokens) / rate + 10):
        async with anyio.create_task_group() as tasks:
            for index, token in enumerate(tokens):
                await anyio.sleep(max(0.0, began + index / rate - anyio.current_time()))
                tasks.start_soon(request, url, token, outcomes)
    return outcomes


async def request(url: str, token: str, outcomes: Outcomes) -> None:
    """One GET with this token."""
    await _ask(url, f"GET / HTTP/1.1\r\nX-Guest-Token: {token}\r\n", b"", outcomes)


async def visit(url: str, visitor: Mapping[str, str], outcomes: Outcomes) -> None:
    """One call of the token endpoint."""
    body = json.dumps(visitor).encode()
    head = (
        f"POST /guestpass/token HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    )
    await _ask(url, head, body, outcomes)


async def _ask(url: str, head: str, body: bytes, outcomes: Outcomes) -> None:
    """One exchange; a connection that breaks counts as status 0."""
    began = time.perf_counter()
    try:
        lines = await _answer(url, f"{head}Host: app\r\nConnection: close\r\n\r\n".encode() + body)
    except (OSError, anyio.BrokenResourceError):
        lines = []
    outcomes.seconds.append(time.perf_counter() - began)
    outcomes.statuses[int(lines[0].split()[1]) if lines else 0] += 1
    for line in lines:
        name, _, value = line.partition(":")
        if name.lower() == "x-guest-token":
            outcomes.successors[value.strip()] += 1


async def _answer(url: str, octets: bytes) -> list[str]:
    """The lines before the body. By hand, as a client library would take longer than what is measured."""
    address = urlsplit(url)
    async with await anyio.connect_tcp(address.hostname or "", address.port or 0) as stream:
        await stream.send(octets)
        received = b""
        while b"\r\n\r\n" not in received:
            try:
                received += await stream.receive()
            except anyio.EndOfStream:
                break
    return received.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n") if received else []


async def store_is(url: str, state: str, *, within: float = 5) -> None:
    """Wait until `/readyz`, which stays ready, says that the store is `ok` or `degraded`."""
    async with httpx.AsyncClient() as client:
        with anyio.fail_after(within):
            while True:
                answer = await client.get(f"{url}/readyz")
                assert answer.status_code == 200
                if answer.json()["store"] == state:
                    return
                await anyio.sleep(0.05)
