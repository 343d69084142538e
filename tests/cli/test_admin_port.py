"""The admin port of real processes: what it answers, and that any worker answers for all."""

import json
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from os import kill
from pathlib import Path
from time import monotonic
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from running import GUESTPASS, Running, running

from guestpass.metrics import METRICS

LOCAL = {"GUESTPASS_ISSUER__KIND": "local", "GUESTPASS_LIMITS__TOKEN_ENDPOINT": "off"}
VISITOR = {"name": "Ada", "email": "ada@example.org"}
_PATIENCE = 20
"""Seconds. The port listens before its workers run: where three start at once on a busy machine, the first
answer takes six."""


@contextmanager
def serving(*arguments: str, **environ: str) -> Iterator[tuple[Running, dict[str, Any]]]:
    with (
        running(GUESTPASS[0], "-m", "guestpass.demo.backend", "0") as backend,
        running(
            *(*GUESTPASS, "serve", "--upstream", backend.url(), "--port", "0", "--admin-port", "0"),
            *arguments,
            env={**LOCAL, **environ},
        ) as proxy,
    ):
        yield proxy, json.loads(proxy.said("server.listening"))


def get(url: str, headers: dict[str, str] | None = None) -> httpx.Response:
    return httpx.get(url, headers=headers, trust_env=False, timeout=_PATIENCE)


def guest(url: str) -> dict[str, str]:
    answer = httpx.post(f"{url}/guestpass/token", json=VISITOR, trust_env=False, timeout=_PATIENCE)
    return {"X-Guest-Token": answer.json()["token"]}


def scraped(admin: str) -> dict[tuple[str, ...], float]:
    """Every sample of the metrics page, by its name and its label's value, over a connection of its own."""
    answer = get(f"{admin}/metrics")
    assert answer.status_code == 200, answer.text
    return {
        (sample.name.removeprefix("guestpass_"), *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def test_the_metrics_of_a_real_process_tell_its_story() -> None:
    with serving() as (proxy, said):
        url, admin = said["url"], said["admin"]
        token = guest(url)
        for _ in range(3):
            assert get(f"{url}/orders", token).status_code == 200
        assert get(f"{url}/orders").status_code == 401
        samples = scraped(admin)
        assert get(f"{url}/metrics", token).json()["path"] == "/metrics"
        assert proxy.stop() == 0
    assert samples["requests_total", "fresh"] == 3
    assert samples["refusals_total", "token_missing"] == 1
    assert samples["mints_total", "minted"] == 1
    assert samples["endpoint_tokens_total", "first"] == 1
    assert samples[("upstream_seconds_count",)] == 3
    assert samples["upstream_connections", "in_use"] == 0
    # `local` has no keys to fetch, and there is no warm pool.
    remote = {"jwks_age_seconds", "jwks_keys", "jwks_fetches_total", "unknown_kids_total", "pool_tokens"}
    exposed = {name.removesuffix("_count") for name, *_ in samples}
    assert {metric.name for metric in METRICS} - exposed == remote


def test_readiness_on_the_admin_port_has_its_reasons() -> None:
    with serving() as (_, said):
        answer = get(f"{said['admin']}/readyz").json()
        assert (answer["status"], answer["reasons"]) == ("ok", {})
        assert "reasons" not in get(f"{said['url']}/readyz").json()
        # A page whose name was made to point here; to the public port any name is as good.
        page = {"Host": "evil.example"}
        assert get(f"{said['admin']}/readyz", headers=page).status_code == 421
        assert get(f"{said['url']}/readyz", headers=page).status_code == 200


@pytest.fixture
def key(tmp_path: Path) -> str:
    file = tmp_path / "key.pem"
    subprocess.run(
        ["openssl", "genrsa", "-out", str(file), "2048"], check=True, capture_output=True, timeout=60
    )
    return str(file)


def test_any_worker_answers_for_all_and_a_killed_ones_counts_remain(key: str) -> None:
    with serving("--workers", "3", GUESTPASS_ISSUER__KEY_FILE=key) as (proxy, said):
        url, admin = said["url"], said["admin"]
        token = guest(url)
        until(lambda: scraped(admin)[("workers",)] == 3)
        for _ in range(60):
            assert get(f"{url}/orders", token).status_code == 200
        until(lambda: {scraped(admin)["requests_total", "fresh"] for _ in range(9)} == {60})
        kill(workers(proxy)[0], signal.SIGKILL)
        until(lambda: len(workers(proxy)) == 4)
        until(lambda: scraped(admin)[("workers",)] == 3)
        assert {scraped(admin)["requests_total", "fresh"] for _ in range(9)} == {60}
        assert proxy.stop() == 0


def until(condition: Any) -> None:
    """Ask again until it holds; each question is a request, so no time is slept away."""
    end = monotonic() + _PATIENCE
    while True:
        try:
            if condition():
                return
        except httpx.TransportError:
            pass  # a worker that was killed had the connection
        assert monotonic() < end, "it never came to hold"


def workers(proxy: Running) -> list[int]:
    """Every worker there has been, by the line in which it says so."""
    return [int(pid) for line in proxy.lines for pid in re.findall(r"Started server process \[(\d+)\]", line)]
