"""What does the middleware cost? A bare ASGI app against the same app guarded, on one core, in one run."""

import argparse
import json
import tempfile
import time
from pathlib import Path

from _load import (
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

DISTINCT = 3_000  # of a cache of 1,000: none is still there when its turn comes again


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=4, help="seconds a measurement (default 4)")
    parser.add_argument(
        "--rounds", type=int, default=5, help="rounds, each of every side in turn (default 5)"
    )
    arguments = parser.parse_args()
    require_wrk()
    preamble("guestpass", "uvicorn", "uvloop", "httptools", "jwcrypto", "cryptography")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        key = signing_key("bench")
        (folder / "jwks.json").write_text(json.dumps(jwks_of(key)))
        tokens = [mint(now=time.time(), lifetime=86_400, key=key, claims={"n": n}) for n in range(DISTINCT)]
        repeated, distinct = lua_tokens(folder, tokens[:100]), lua_tokens(folder, tokens)
        sides = {
            "bare app": ("_middleware_apps:bare", repeated),
            "guarded, repeated tokens (100)": ("_middleware_apps:guarded", repeated),
            "bare app, distinct tokens": ("_middleware_apps:bare", distinct),
            "guarded, every token new": ("_middleware_apps:forgetful", distinct),
        }
        env = {"BENCH_JWKS": str(folder / "jwks.json")}
        for connections in (32, 256):
            runs: dict[str, list[Figures]] = {side: [] for side in sides}
            for _ in range(arguments.rounds):
                for side, (app, script) in sides.items():
                    port = free_port()
                    with running(uvicorn(app, port), port, core=SERVER_CORE, env=env) as pid:
                        url = f"http://127.0.0.1:{port}/chat"
                        load(url, pid, connections=connections, seconds=1, script=script)  # warm
                        figures = load(
                            url, pid, connections=connections, seconds=arguments.seconds, script=script
                        )
                        runs[side].append(figures)
            print(f"{connections} connections, median of {arguments.rounds} rounds:")
            names = list(sides)
            for baseline, side in ((names[0], names[1]), (names[2], names[3])):
                print(row(baseline, middle(runs[baseline]), middle(runs[baseline])))
                print(row(side, middle(runs[side]), middle(runs[baseline])))
            print()


if __name__ == "__main__":
    main()
