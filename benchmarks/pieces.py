"""What does each piece of a proxied request cost? The functions of the data path alone, in us a call.

The sum is the least that a request can cost: in a server each piece runs after something else, with its data
and its code gone cold. What that adds is in `benchmarks/shares.py`.
"""

import argparse
import asyncio
import timeit
from collections.abc import Callable
from typing import Any, Final

import uvloop
from _load import Guests, guests, preamble
from httptools import HttpResponseParser
from layers import ANSWER, Memory, gate
from starlette.types import Message, Scope

from guestpass.admission import Request
from guestpass.asgi.messages import scope_for
from guestpass.core.framing import NO_BODY
from guestpass.core.request_head import ProxyRules, request_head
from guestpass.upstream.balance import Backend, Balancer, Ejection, Figures
from guestpass.upstream.dial import BackendTls, Dialer
from guestpass.upstream.exchange import Exchange
from guestpass.upstream.http1 import Http1Connection
from guestpass.upstream.origin import Origin
from guestpass.upstream.pool import Pool, PoolLimits
from guestpass.upstream.pulse import Pulse

CALLS: Final = 50_000
PEER: Final = "127.0.0.1"


async def receive() -> Message:
    return {"type": "http.disconnect"}


async def send(_message: Message) -> None:
    pass


class Silent:
    """What `httptools` must find to take a response to pieces, and nothing more."""

    def on_header(self, name: bytes, value: bytes) -> None: ...

    def on_body(self, data: bytes) -> None: ...


async def pieces(crowd: Guests) -> dict[str, Callable[[], object]]:
    """Each piece of a GET whose token is known, in the order in which a request meets them."""
    shared = gate(crowd)
    token = crowd.tokens[0].encode()
    headers = [(b"host", b"127.0.0.1:8080"), (b"x-guest-token", token)]
    await shared.admit(Request("GET", "/small", b"/small", headers, b"", False, (), PEER))

    def recall() -> Any:
        return shared.recall("GET", "/small", b"/small", headers)

    kept, guest, _, _ = recall()
    names = ("type", "asgi", "http_version", "server", "client", "scheme", "root_path", "method", "path")
    scope: Scope = {**dict.fromkeys(names), "raw_path": b"/small", "query_string": b"", "state": {}}
    rules = ProxyRules(authority=b"127.0.0.1:9")

    def head() -> Any:
        return request_head("GET", b"/small", kept, rules, http_version="1.1", scheme="http", peer=PEER)

    start = head()
    assert start.length == NO_BODY
    dialer, pulse = Dialer(Origin.parse("http://127.0.0.1:9"), BackendTls(), timeout=5.0), Pulse(0.25)
    pool = Pool(dialer, PoolLimits(), pulse)
    balancer = Balancer([Backend(dialer, pool)], "round_robin", Ejection(), Figures())

    def exchange() -> Exchange:
        return Exchange(balancer, receive, send, method="GET", head=start, header_timeout=60.0, max_body=None)

    def beside() -> None:
        under_way = exchange()
        pulse.watch(under_way)
        pulse.unwatch(under_way)
        under_way.close()

    connection = Http1Connection(lambda _: None)
    connection.connection_made(Memory())
    connection.opened_at = asyncio.get_running_loop().time()
    pool.in_use = 1
    pool.give_back(connection)

    def pooled() -> None:
        taken = pool.take()
        assert taken is not None
        pool.give_back(taken)

    def answered() -> None:
        connection.begin(start.start, for_head=False, sent=True)
        connection.news()
        connection.data_received(ANSWER)
        connection.take()
        connection.put_aside()

    parser = HttpResponseParser(Silent())
    return {
        "recall: the token's guest": recall,
        "scope_for: the app's scope": lambda: scope_for(guest, scope, kept),
        "request_head: what the backend gets": head,
        "Exchange: made, watched, let go": beside,
        "Pool: a connection taken and given back": pooled,
        "Http1Connection: asked and answered": answered,
        "  of that httptools by itself": lambda: parser.feed_data(ANSWER),
        "Histogram: the latency counted": lambda: balancer.figures.latency.observe(0.002),
    }


async def measure(crowd: Guests, rounds: int) -> None:
    for name, piece in (await pieces(crowd)).items():
        best = min(timeit.repeat(piece, number=CALLS, repeat=rounds)) / CALLS
        print(f"  {name:42} {best * 1e6:5.2f} us")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="the best of how many counts (default 5)")
    rounds: int = parser.parse_args().rounds
    preamble("guestpass", "uvloop", "httptools")
    with guests(1) as crowd:
        uvloop.run(measure(crowd, rounds))


if __name__ == "__main__":
    main()
