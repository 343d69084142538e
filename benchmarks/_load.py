"""Starts a server on one core, loads it with wrk from another, and reads what wrk says. Loopback only."""

import argparse
import json
import os
import platform
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median

from jwcrypto.jwk import JWK

from guestpass.testing import jwks_of, mint, signing_key

SERVER_CORE, LOAD_CORE = "0", "1"


@dataclass(frozen=True)
class Figures:
    """One run: requests per second, latencies in ms, what the server's CPU spent on a request, in us, and how
    much memory its largest process holds, in MB.
    """

    rate: float
    p50: float
    p99: float
    cpu: float
    errors: int
    rss: float = 0.0


@dataclass(frozen=True)
class Guests:
    """Tokens, and the key that they are signed with, in a folder that goes away."""

    folder: Path
    tokens: Sequence[str]
    key: JWK

    @property
    def jwks(self) -> Path:
        return self.folder / "jwks.json"

    def script(self, count: int = 100) -> Path:
        """What has wrk send the first `count` tokens in turn."""
        return lua_tokens(self.folder, self.tokens[:count])


@contextmanager
def guests(count: int = 100) -> Iterator[Guests]:
    with tempfile.TemporaryDirectory() as name:
        folder, key = Path(name), signing_key("bench")
        (folder / "jwks.json").write_text(json.dumps(jwks_of(key)))
        now = time.time()
        tokens = [mint(now=now, lifetime=86_400, key=key, claims={"n": n}) for n in range(count)]
        yield Guests(folder, tokens, key)


def options(doc: str | None, *, seconds: int, rounds: int) -> argparse.ArgumentParser:
    """The command line that all have in common."""
    parser = argparse.ArgumentParser(description=doc)
    parser.add_argument(
        "--seconds", type=int, default=seconds, help=f"seconds a measurement (default {seconds})"
    )
    parser.add_argument(
        "--rounds", type=int, default=rounds, help=f"rounds, each of every side in turn (default {rounds})"
    )
    return parser


def require_wrk() -> None:
    if shutil.which("wrk") is None:
        sys.exit("this benchmark needs wrk: apt-get install wrk")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def pinned(core: str, command: Sequence[str]) -> list[str]:
    """`command` on one core, where there is more than one and taskset to say so."""
    if shutil.which("taskset") and (os.cpu_count() or 1) > 1:
        return ["taskset", "-c", core, *command]
    return list(command)


@contextmanager
def running(
    command: Sequence[str], port: int, *, core: str, env: dict[str, str] | None = None
) -> Iterator[int]:
    """Run a server until the block ends; yields its pid once it accepts connections."""
    # From its own folder, so that `module:app` names the files beside this one.
    process = subprocess.Popen(
        pinned(core, command), env={**os.environ, **(env or {})}, cwd=Path(__file__).parent
    )
    try:
        deadline = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > deadline:
                    sys.exit(f"did not start: {' '.join(command)}")
                time.sleep(0.05)
        yield process.pid
    finally:
        process.terminate()
        process.wait(timeout=20)


def uvicorn(app: str, port: int) -> list[str]:
    """uvicorn as `guestpass serve` runs it."""
    options = ["--loop", "uvloop", "--http", "httptools", "--lifespan", "on", "--no-access-log"]
    return [sys.executable, "-m", "uvicorn", app, "--port", str(port), "--log-level", "warning", *options]


def load(url: str, pid: int, *, connections: int, seconds: int, script: Path | None = None) -> Figures:
    """Load `url` with wrk for `seconds`."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", url]
    if script is not None:
        command[1:1] = ["-s", str(script)]
    before = _cpu(pid)
    done = subprocess.run(pinned(LOAD_CORE, command), capture_output=True, text=True, check=True)
    spent, out = _cpu(pid) - before, done.stdout
    requests = int(_found(r"(\d+) requests in", out))
    errors = sum(int(n) for n in re.findall(r"Non-2xx or 3xx responses: (\d+)", out))
    errors += sum(int(n) for n in re.findall(r"(?:connect|read|write|timeout) (\d+)", out))
    return Figures(
        rate=float(_found(r"Requests/sec:\s+([\d.]+)", out)),
        p50=_milliseconds(_found(r"(?m)^\s+50%\s+(\S+)", out)),
        p99=_milliseconds(_found(r"(?m)^\s+99%\s+(\S+)", out)),
        cpu=spent / max(1, requests) * 1e6,
        errors=errors,
        rss=_rss(pid),
    )


def middle(runs: Sequence[Figures]) -> Figures:
    """The median of each figure; errors add up."""
    rate, p50, p99, cpu, rss = (
        median(getattr(run, name) for run in runs) for name in ("rate", "p50", "p99", "cpu", "rss")
    )
    return Figures(rate, p50, p99, cpu, sum(run.errors for run in runs), rss)


def lua_tokens(folder: Path, tokens: Sequence[str]) -> Path:
    """A wrk script that sends these tokens in turn."""
    (folder / "tokens.json").write_text(json.dumps(tokens))
    listed = ",".join(f'"{token}"' for token in tokens)
    script = folder / f"tokens-{len(tokens)}.lua"
    script.write_text(
        f"local tokens = {{{listed}}}\nlocal n = 0\n"
        "request = function()\n  n = n % #tokens + 1\n"
        '  return wrk.format("GET", nil, {["X-Guest-Token"] = tokens[n]})\nend\n'
    )
    return script


def preamble(*packages: str) -> None:
    """The command, the machine and the versions: a figure without them says nothing."""
    wrk = subprocess.run(["wrk", "-v"], capture_output=True, text=True, check=False).stdout.split("\n")[0]
    print(f"$ python {' '.join(sys.argv)}")
    print(f"{platform.platform()}, {os.cpu_count()} cores, Python {platform.python_version()}, {wrk[:40]}")
    print(", ".join(f"{name} {version(name)}" for name in packages))
    print(f"server on core {SERVER_CORE}, load on core {LOAD_CORE}; HTTP/1.1 keep-alive on loopback\n")


def row(name: str, figures: Figures, baseline: Figures) -> str:
    """One line of a table, with its ratio to the baseline of the same round."""
    return (
        f"  {name:34} {figures.rate:8.0f} req/s  x{figures.rate / baseline.rate:5.2f}  "
        f"p50 {figures.p50:6.2f} ms  p99 {figures.p99:6.2f} ms  {figures.cpu:6.1f} us cpu"
        f"  {figures.rss:5.0f} MB" + (f"  {figures.errors} errors" if figures.errors else "")
    )


def _found(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    if match is None:
        sys.exit(f"wrk said nothing like {pattern!r}:\n{text}")
    return match[1]


def _milliseconds(text: str) -> float:
    for unit, factor in (("us", 0.001), ("ms", 1.0), ("s", 1000.0)):
        if text.endswith(unit):
            return float(text.removesuffix(unit)) * factor
    sys.exit(f"wrk gave a time without a unit: {text}")


def _stat(pid: int) -> list[str]:
    """What proc(5) says of a process from its state on: parent second, times twelfth and thirteenth."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _tree(pid: int) -> list[int]:
    """A process, and all that it has started."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                parents[int(entry.name)] = int(_stat(int(entry.name))[1])
            except OSError:
                continue  # it has ended
    found = [pid]
    for parent in found:
        found += [child for child, of in parents.items() if of == parent]
    return found


def _cpu(pid: int) -> float:
    """Seconds of CPU that a process and its children have used (utime and stime)."""
    ticks = sum(int(stat[11]) + int(stat[12]) for stat in map(_stat, _tree(pid)))
    return ticks / os.sysconf("SC_CLK_TCK")


def _rss(pid: int) -> float:
    """MB that the largest process of a tree holds: of a server with workers, one worker."""
    return max(int(_stat(each)[21]) for each in _tree(pid)) * os.sysconf("SC_PAGESIZE") / 1e6
