"""What does a hop through the proxy cost? Ours against Starlette with httpx, and against no hop, in one run.

One core serves; wrk and the backend share the other. Takes under two minutes with the defaults.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

from _load import (
    LOAD_CORE,
    SERVER_CORE,
    Figures,
    free_port,
    load,
    lua_tokens,
    middle,
    preamble,
    require_wrk,
    row,
    running,
    uvicorn,
)

from guestpass.testing import jwks_of, mint, signing_key

SIDES = {
    "no proxy (bare ASGI app)": "_proxy_apps:bare",
    "guestpass ReverseProxy": "_proxy_apps:ours",
    "guestpass ReverseProxy, guarded": "_proxy_apps:guarded",
    "Starlette + httpx, the usual way": "_proxy_apps:usual",
}
BASELINE, OURS, USUAL = (
    "no proxy (bare ASGI app)",
    "guestpass ReverseProxy",
    "Starlette + httpx, the usual way",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=3, help="seconds a measurement (default 3)")
    parser.add_argument("--rounds", type=int, default=2, help="rounds, each of every side (default 2)")
    arguments = parser.parse_args()
    require_wrk()
    preamble("guestpass", "uvicorn", "uvloop", "httptools", "starlette", "httpx")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        key = signing_key("bench")
        (folder / "jwks.json").write_text(json.dumps(jwks_of(key)))
        tokens = [mint(now=time.time(), lifetime=86_400, key=key, claims={"n": n}) for n in range(100)]
        script = lua_tokens(folder, tokens)
        behind = free_port()
        backend = [sys.executable, "_raw_backend.py", str(behind)]
        env = {"BENCH_JWKS": str(folder / "jwks.json"), "BENCH_BACKEND": f"http://127.0.0.1:{behind}"}
        with running(backend, behind, core=LOAD_CORE):
            for connections in (32, 256):
                runs: dict[str, list[Figures]] = {side: [] for side in SIDES}
                for _ in range(arguments.rounds):
                    for side, app in SIDES.items():
                        port = free_port()
                        # wrk hangs up when its time is over, which the usual way logs as errors.
                        command = [*uvicorn(app, port), "--log-level", "critical"]
                        with running(command, port, core=SERVER_CORE, env=env) as pid:
                            url = f"http://127.0.0.1:{port}/chat"
                            load(url, pid, connections=connections, seconds=1, script=script)  # warm
                            figures = load(
                                url, pid, connections=connections, seconds=arguments.seconds, script=script
                            )
                            runs[side].append(figures)
                print(f"{connections} connections, median of {arguments.rounds} rounds, x {BASELINE}:")
                for side in SIDES:
                    print(row(side, middle(runs[side]), middle(runs[BASELINE])))
                ours, usual = middle(runs[OURS]), middle(runs[USUAL])
                times = f"x {ours.rate / usual.rate:.1f}" if usual.rate else "and the usual way none in time"
                print(f"  {OURS} against {USUAL}: {times} requests, x {ours.cpu / usual.cpu:.3f} cpu\n")


if __name__ == "__main__":
    main()
