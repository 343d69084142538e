"""R2, R3: is it one mint, in twenty of twenty runs, for a thousand requests at once over 1, 2 and 4 workers?

The baseline is the promise itself. Needs redis-server; run it as `python benchmarks/one_mint_per_token.py`.
"""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from fleet import burst, fleet
from redis_server import RedisServer

REPEATS = 20
AT_ONCE = 1000


async def ask(workers: int) -> bool:
    """Print one line per number of workers; whether the promise held each time."""
    held = 0
    slowest = 0.0
    with TemporaryDirectory() as directory, RedisServer(Path(directory)) as server:
        await server.ready()
        with fleet(server.url, workers=workers) as running:
            for repeat in range(1, REPEATS + 1):
                outcomes = await burst(running.urls, [running.token(f"Guest{repeat}")] * AT_ONCE)
                fine = outcomes.statuses == {200: AT_ONCE} and len(outcomes.successors) == 1
                held += fine and running.mints == repeat
                slowest = max(slowest, outcomes.percentile(0.99))
    print(
        f"{workers} worker(s): one mint for {AT_ONCE} requests in {held} of {REPEATS}; p99 <= {slowest:.2f} s"
    )
    return held == REPEATS


async def main() -> int:
    return 0 if all([await ask(workers) for workers in (1, 2, 4)]) else 1


if __name__ == "__main__":
    sys.exit(anyio.run(main))
