"""What does it add to a request to deliver a prefetched successor? Against a plain one, in turn, in one run.

One keep-alive connection to one server (uvicorn, the middleware, the memory store), whose requests alternate:
a token near expiry whose successor was minted already, then a fresh token. So whatever else the machine does
falls on both alike. Needs nothing but the package; run it as `python benchmarks/prefetched_successor.py`.
"""

import argparse
import gc
import json
import os
import platform
import random
import socket
import sys
import time
from collections.abc import Sequence
from importlib.metadata import version
from statistics import median, quantiles

from _load import LOAD_CORE, SERVER_CORE, free_port, running, uvicorn

PACKAGES = ("guestpass", "uvicorn", "uvloop", "httptools", "jwcrypto", "cryptography")


class Client:
    """One keep-alive connection, on a bare socket: parsing the answer's fields would count for the server."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=120)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self, path: str, *fields: str) -> tuple[bytes, bytes]:
        """The answer's head and its body, which Content-Length frames."""
        lines = (f"GET {path} HTTP/1.1", "host: bench", *fields, "", "")
        self._socket.sendall("\r\n".join(lines).encode())
        head, _, body = self._socket.recv(65_536).partition(b"\r\n\r\n")
        length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
        while len(body) < length:
            body += self._socket.recv(1 << 20)
        return head, body

    def timed(self, token: str, *, delivered: bool) -> float:
        """Seconds from the request's first octet to the answer's last.

        Raises:
            SystemExit: It was not 200, or a successor came unexpectedly, or did not come.
        """
        began = time.perf_counter()
        head, _ = self.ask("/app/", f"x-guest-token: {token}")
        took = time.perf_counter() - began
        if not head.startswith(b"HTTP/1.1 200 ") or (b"\r\nx-guest-token: " in head) is not delivered:
            sys.exit(f"answered {head!r}")
        return took


def measure(client: Client, near: Sequence[str], fresh: Sequence[str]) -> tuple[list[float], list[float]]:
    """Both sides' times, pair by pair; which goes first is drawn, as the second finds warmer caches."""
    delivering, plain = [], []
    for old, new in zip(near, fresh, strict=True):
        if random.random() < 0.5:
            delivering.append(client.timed(old, delivered=True))
            plain.append(client.timed(new, delivered=False))
        else:
            plain.append(client.timed(new, delivered=False))
            delivering.append(client.timed(old, delivered=True))
    return delivering, plain


def p99(seconds: Sequence[float]) -> float:
    return quantiles(seconds, n=100)[98]


def line(name: str, p50: float, last: float) -> str:
    return f"  {name:36} p50 {p50 * 1e6:8.1f} us   p99 {last * 1e6:8.1f} us"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=1000, help="pairs of tokens a round (default 1000)")
    parser.add_argument("--rounds", type=int, default=10, help="rounds over all pairs (default 10)")
    arguments = parser.parse_args()
    print(f"$ python {' '.join(sys.argv)}")
    print(f"{platform.platform()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    print(", ".join(f"{name} {version(name)}" for name in PACKAGES))
    print(f"server on core {SERVER_CORE}, client on core {LOAD_CORE}; HTTP/1.1 keep-alive on loopback\n")
    if (os.cpu_count() or 1) > 1:
        os.sched_setaffinity(0, {int(LOAD_CORE)})
    port = free_port()
    with running(uvicorn("_rotation_app:app", port), port, core=SERVER_CORE):
        client = Client(port)
        made = json.loads(client.ask(f"/bench/tokens?count={arguments.pairs}")[1])
        minted = json.loads(client.ask("/bench/mints")[1])
        measure(client, made["near"], made["fresh"])  # warm
        gc.disable()  # the client's pauses are none of the server's
        rounds = [measure(client, made["near"], made["fresh"]) for _ in range(arguments.rounds)]
        if json.loads(client.ask("/bench/mints")[1]) != minted:
            sys.exit("something was minted meanwhile: the successors were not prefetched")
    delivering = [took for round_ in rounds for took in round_[0]]
    plain = [took for round_ in rounds for took in round_[1]]
    print(
        f"{len(plain):,} requests a side, alternating; all tokens verified before, nothing minted meanwhile:"
    )
    print(line("plain", median(plain), p99(plain)))
    print(line("delivering a prefetched successor", median(delivering), p99(delivering)))
    print(
        line(
            "added (difference of the two)", median(delivering) - median(plain), p99(delivering) - p99(plain)
        )
    )


if __name__ == "__main__":
    main()
