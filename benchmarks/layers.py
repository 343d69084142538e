"""Where does the time of a guarded hop go? Each layer by itself, in one process, with no socket in between.

uvicorn's protocol, as `serve` has it, is fed from memory, and the backend answers from memory: what is left
out is the kernel's part and the event loop's, the difference to what `benchmarks/proxy.py` shows of it all.
Every row adds one layer to the row before it, but the last: a token that is verified at each request, to the
guard alone. In turns, the best of many, as what else runs only adds time.
"""

import asyncio
import gc
import time
from collections.abc import Callable
from typing import Any, Final, TypeVar
from unittest.mock import patch

import uvloop
from _load import Guests, guests, options, preamble
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.config import Config
from uvicorn.server import ServerState

from guestpass import Gate, GuestTokenMiddleware
from guestpass.adapters.memory_store import MemoryStore
from guestpass.adapters.static_jwks import StaticJwks
from guestpass.adapters.system_clock import SystemClock
from guestpass.asgi.date import Dated
from guestpass.asgi.proxy import ReverseProxy
from guestpass.asgi.routes import RoutedProxy
from guestpass.asgi.site import Site
from guestpass.cli.bounded_http import BoundedHttpTools
from guestpass.core.claims import ClaimRules
from guestpass.testing import FakeIssuer
from guestpass.upstream.dial import Dialer
from guestpass.verifier import JwksVerifier

BODY: Final = b'{"id":12345,"text":"' + b"x" * 150 + b'"}'
HEADERS: Final = [
    (b"server", b"nginx"),
    (b"date", b"Sun, 22 Nov 2026 12:00:00 GMT"),
    (b"content-type", b"application/json"),
    (b"content-length", str(len(BODY)).encode()),
]
ANSWER: Final = (
    b"HTTP/1.1 200 OK\r\n"
    + b"".join(b"%b: %b\r\n" % field for field in HEADERS)
    + b"connection: keep-alive\r\n\r\n"
    + BODY
)
ALGORITHMS: Final = frozenset({"RS256"})
KNOWN: Final = "+ the guard, its token known"
NEVER_SEEN: Final = "the guard, its token never seen"

P = TypeVar("P", bound=asyncio.Protocol)


class Memory(asyncio.Transport):
    """A connection to nowhere; what is written on it is handed to `answer`."""

    def __init__(self, answer: Callable[[], None] | None = None) -> None:
        super().__init__({"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 2)})
        self._answer = answer
        self.written = 0

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += len(data)
        if self._answer is not None:
            self._answer()

    def is_closing(self) -> bool:
        return False

    def close(self) -> None:
        pass

    def abort(self) -> None:
        pass

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass


class MemoryDialer(Dialer):
    """Reaches a backend that answers each write at once."""

    async def open(self, protocol: Callable[[], P]) -> P:
        loop = asyncio.get_running_loop()
        opened = protocol()

        def answer() -> None:
            loop.call_soon(opened.data_received, ANSWER)

        opened.connection_made(Memory(answer))
        return opened


async def bare(_scope: Scope, _receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": BODY})


def gate(crowd: Guests, *, cache_size: int = 20_000) -> Gate:
    clock = SystemClock()
    keys = StaticJwks(crowd.jwks.read_bytes(), algorithms=ALGORITHMS)
    rules = ClaimRules(issuer="genesys-cloud-webchat")
    return Gate(
        verifier=JwksVerifier(keys, rules, algorithms=ALGORITHMS, clock=clock),
        issuer=FakeIssuer(),
        store=MemoryStore(clock),
        clock=clock,
        cache_size=cache_size,
    )


def proxy() -> RoutedProxy:
    with patch("guestpass.asgi.proxy.Dialer", MemoryDialer):
        return RoutedProxy([], ReverseProxy("http://127.0.0.1:9"))


class Side:
    """An app under uvicorn's protocol, on as many connections as a load generator would open."""

    def __init__(self, app: ASGIApp, connections: int) -> None:
        config = Config(
            app, http="httptools", lifespan="off", access_log=False, log_level="warning", proxy_headers=False
        )
        config.load()
        self.state = ServerState()
        self.clients: list[tuple[Any, Memory]] = []
        for _ in range(connections):
            protocol = BoundedHttpTools(config=config, server_state=self.state, app_state={})
            transport = Memory()
            protocol.connection_made(transport)
            self.clients.append((protocol, transport))

    async def ask(self, requests: list[bytes], count: int) -> float:
        """Seconds of CPU that one of `count` requests takes."""
        began = time.process_time()
        done = self.state.total_requests
        for start in range(0, count, len(self.clients)):
            for number, (protocol, _) in enumerate(self.clients):
                protocol.data_received(requests[(start + number) % len(requests)])
            done += len(self.clients)
            while self.state.total_requests < done:  # noqa: ASYNC110  an event would be measured too
                await asyncio.sleep(0)
        return (time.process_time() - began) / count


async def measure(crowd: Guests, connections: int, seconds: int) -> None:
    shared = gate(crowd)
    forgetful = gate(crowd, cache_size=len(crowd.tokens) // 4)  # none is there when its turn comes again
    clock = SystemClock()
    apps: dict[str, ASGIApp] = {
        "uvicorn and a bare app": bare,
        "+ Date, and our own paths": Dated(Site(bare, {}), clock),
        KNOWN: Dated(Site(GuestTokenMiddleware(bare, gate=shared), {}), clock),
        "+ the proxy in place of the app": Dated(Site(GuestTokenMiddleware(proxy(), gate=shared), {}), clock),
        NEVER_SEEN: Dated(Site(GuestTokenMiddleware(bare, gate=forgetful), {}), clock),
    }
    sides = {name: Side(app, connections) for name, app in apps.items()}
    requests = [
        f"GET /small HTTP/1.1\r\nhost: 127.0.0.1:8080\r\nx-guest-token: {token}\r\n\r\n".encode()
        for token in crowd.tokens
    ]
    best = dict.fromkeys(sides, float("inf"))
    for side in sides.values():
        await side.ask(requests, 12_800)
    # As `guestpass serve` does: with 256 requests in flight the collector's own settings cost 30 us each.
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, *gc.get_threshold()[1:])
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for name, side in sides.items():
            best[name] = min(best[name], await side.ask(requests, 5_120))
    print(f"{connections} connections:")
    before = 0.0
    for name, took in best.items():
        if name == NEVER_SEEN:
            before = best[KNOWN]
        print(f"  {name:34} {took * 1e6:6.1f} us  {(took - before) * 1e6:+6.1f}")
        before = took


def main() -> None:
    arguments = options(__doc__, seconds=4, rounds=5).parse_args()
    preamble("guestpass", "uvicorn", "uvloop", "httptools", "jwcrypto", "cryptography")
    with guests() as crowd:
        for connections in (32, 256):
            uvloop.run(measure(crowd, connections, arguments.seconds * arguments.rounds))


if __name__ == "__main__":
    main()
