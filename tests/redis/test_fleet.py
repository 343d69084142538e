"""R2, R3: however many workers there are, one token costs one mint, and all get the same successor."""

import pytest
from fleet import burst, fleet
from redis_server import RedisServer

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(("workers", "hosts"), [(1, 1), (2, 1), (4, 1)])
async def test_a_thousand_requests_at_once_cost_one_mint(
    server: RedisServer, workers: int, hosts: int
) -> None:
    with fleet(server.url, workers=workers, hosts=hosts) as running:
        for repeat in range(1, 3):
            outcomes = await burst(running.urls, [running.token(f"Ada{repeat}")] * 1000)
            assert running.mints == repeat
            assert outcomes.statuses == {200: 1000}
            assert len(outcomes.successors) == 1
