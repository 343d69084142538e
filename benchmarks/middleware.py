"""What does the middleware cost? A bare ASGI app against the same app guarded, on one core, in one run.

Their servers run side by side, and one second of load goes to each in turn: what a shared machine does from
one second to the next, which is more than what is measured here, falls on all alike.
"""

from contextlib import ExitStack

from _load import (
    SERVER_CORE,
    Figures,
    free_port,
    guests,
    load,
    middle,
    options,
    preamble,
    require_wrk,
    row,
    running,
    uvicorn,
)

DISTINCT = 3_000  # of a cache of 1,000: none is still there when its turn comes again


def main() -> None:
    arguments = options(__doc__, seconds=4, rounds=5).parse_args()
    require_wrk()
    preamble("guestpass", "uvicorn", "uvloop", "httptools", "jwcrypto", "cryptography")
    with guests(DISTINCT) as crowd:
        repeated, distinct = crowd.script(), crowd.script(DISTINCT)
        sides = {
            "bare app": ("_middleware_apps:bare", repeated),
            "guarded, repeated tokens (100)": ("_middleware_apps:guarded", repeated),
            "bare app, distinct tokens": ("_middleware_apps:bare", distinct),
            "guarded, every token new": ("_middleware_apps:forgetful", distinct),
        }
        env = {"BENCH_JWKS": str(crowd.jwks)}
        for connections in (32, 256):
            runs: dict[str, list[Figures]] = {side: [] for side in sides}
            for _ in range(arguments.rounds):
                with ExitStack() as servers:
                    started: dict[str, tuple[str, int]] = {}
                    for app in dict.fromkeys(app for app, _ in sides.values()):
                        port = free_port()
                        server = running(uvicorn(app, port), port, core=SERVER_CORE, env=env)
                        started[app] = f"http://127.0.0.1:{port}/chat", servers.enter_context(server)
                    for second in range(1 + arguments.seconds):
                        for side, (app, script) in sides.items():
                            figures = load(*started[app], connections=connections, seconds=1, script=script)
                            if second:  # the first one warms
                                runs[side].append(figures)
            names = list(sides)
            print(f"{connections} connections, median of {len(runs[names[0]])} seconds of each:")
            for baseline, side in ((names[0], names[1]), (names[2], names[3])):
                print(row(baseline, middle(runs[baseline]), middle(runs[baseline])))
                print(row(side, middle(runs[side]), middle(runs[baseline])))
            print()


if __name__ == "__main__":
    main()
