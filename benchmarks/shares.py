"""What does the time of a guarded hop consist of? A server under load, sampled with perf(1), in us a request.

`benchmarks/layers.py` takes the Python part to pieces, but knows no kernel and no event loop. Here the kernel
is shown by system call, what a call wakes on the other side included. perf itself costs up to a fifth, so the
sum is above what `benchmarks/proxy.py` measures.
"""

import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

from _load import LOAD_CORE, SERVER_CORE, free_port, guests, load, options, preamble, require_wrk, running
from proxy import BACKEND, SIDES, Site, nginx

PARTS = {
    "python": "the interpreter",
    "loop.": "uvloop and libuv",
    "parser.": "httptools and llhttp",
    "url_parser.": "httptools and llhttp",
    "_asyncio.": "asyncio's futures and tasks",
    "_granian.": "granian",
    "libc": "libc: copies, memory",
}
CALLS = {
    "ksys_write": "kernel: write",
    "do_writev": "kernel: write",
    "__sys_sendmsg": "kernel: write",
    "__sys_sendto": "kernel: write",
    "ksys_read": "kernel: read",
    "__sys_recvfrom": "kernel: read",
    "do_epoll_wait": "kernel: epoll_wait",
    "do_epoll_pwait": "kernel: epoll_wait",
    "do_futex": "kernel: futex",
}


def part_of(stack: list[tuple[str, str]]) -> str | None:
    """What a sample, its innermost frame (symbol, object) first, is put down to; None: the idle core."""
    shared_object = stack[0][1]
    if "kernel" not in shared_object:
        name = Path(shared_object).name
        found = next((part for start, part in PARTS.items() if name.startswith(start)), None)
        return found or "other libraries"
    symbols = {frame.partition("+")[0] for frame, _ in stack}
    if symbols & {"do_idle", "cpu_startup_entry", "pv_native_safe_halt"}:
        return None
    return next((call for name, call in CALLS.items() if name in symbols), "kernel: other calls")


def samples(text: str) -> Counter[str]:
    """Count the samples of `perf script -F ip,sym,dso` by part."""
    counted: Counter[str] = Counter()
    for block in text.split("\n\n"):
        stack = []
        for line in block.strip().splitlines():
            address_and_symbol, _, shared_object = line.strip().rpartition(" (")
            _, _, symbol = address_and_symbol.partition(" ")
            stack.append((symbol, shared_object.rstrip(")")))
        if stack and (part := part_of(stack)) is not None:
            counted[part] += 1
    return counted


def measure(server: str, connections: int, seconds: int) -> None:
    with guests(100) as crowd:
        crowd.folder.chmod(0o755)
        site, port = Site(crowd, free_port()), free_port()
        behind = nginx(site, site.behind, name="backend", http=BACKEND)
        with (
            running(behind, site.behind, core=LOAD_CORE),
            running(SIDES[server](site, port), port, core=SERVER_CORE, env=site.environ()) as pid,
        ):
            url, script = f"http://127.0.0.1:{port}/small", crowd.script()
            load(url, pid, connections=connections, seconds=1, script=script)
            data = crowd.folder / "perf.data"
            record = [
                "perf",
                "record",
                "-C",
                SERVER_CORE,
                "-e",
                "cpu-clock",
                "-F",
                "4999",
                "-g",
                "-o",
                str(data),
            ]
            perf = subprocess.Popen([*record, "--", "sleep", str(seconds)], stderr=subprocess.DEVNULL)
            figures = load(url, pid, connections=connections, seconds=seconds, script=script)
            perf.wait(timeout=60)
            script_of = ["perf", "script", "-i", str(data), "-F", "ip,sym,dso"]
            text = subprocess.run(script_of, capture_output=True, text=True, check=True).stdout
    counted = samples(text)
    print(
        f"{server}, {connections} connections: {figures.cpu:.1f} us a request, {figures.rate:.0f} requests/s"
    )
    for part, count in counted.most_common():
        share = count / counted.total()
        print(f"  {part:30} {share * figures.cpu:6.1f} us  {share:6.1%}")


def main() -> None:
    parser = options(__doc__, seconds=10, rounds=1)
    parser.add_argument("--side", default="guestpass", choices=tuple(SIDES))
    arguments = parser.parse_args()
    require_wrk()
    if shutil.which("perf") is None:
        sys.exit("this benchmark needs perf: apt-get install linux-perf")
    preamble("guestpass", "uvicorn", "uvloop", "httptools")
    for connections in (32, 256):
        for _ in range(arguments.rounds):
            measure(arguments.side, connections, arguments.seconds)


if __name__ == "__main__":
    main()
