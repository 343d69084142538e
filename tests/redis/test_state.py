"""What a fleet shares beside successors: revocations, limits, the pool; over real processes."""

import subprocess
from collections import Counter

import anyio
import httpx
import pytest
from fleet import SECRET, Fleet, Outcomes, burst, fleet, visit
from kit import ADA, NOW, HeldClock
from redis_server import RedisServer
from running import GUESTPASS

from guestpass.adapters.redis_link import RedisLink
from guestpass.adapters.redis_revocations import RedisRevocations
from guestpass.adapters.sealing import Sealing
from guestpass.adapters.system_clock import SystemClock
from guestpass.config import load
from guestpass.core.model import RawToken, UnixTime
from guestpass.doctor.examination import examine
from guestpass.errors import Unavailable
from guestpass.ports import Revocation
from guestpass.wiring.state import SharedState

pytestmark = pytest.mark.anyio


def revoke(server: RedisServer, *arguments: str, stdin: str = "") -> str:
    """Run the command; what it said."""
    done = subprocess.run(
        [*GUESTPASS, "revoke", *arguments],
        input=stdin,
        env={"GUESTPASS_STORE__URL": server.url, "GUESTPASS_STORE__SECRET": SECRET},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


async def statuses(running: Fleet, token: str) -> Counter[int]:
    return (await burst(running.urls, [token] * 20)).statuses


async def test_a_second_after_the_command_every_worker_refuses(server: RedisServer) -> None:
    with fleet(server.url, workers=2) as running:
        tokens = {name: running.token(name, left=1500) for name in ("Ada", "Bob", "Cyd", "Dan")}
        for token in tokens.values():
            assert await statuses(running, token) == {200: 20}  # remembered as good by every worker
        subject = running.vendor.guests.claims("Ada", "ada@example.com")["sub"]
        assert subject not in revoke(server, "--subject", subject)
        revoke(server, "--token-id", RawToken(tokens["Bob"].encode()).id.hex(), "--for", "600")
        revoke(server, "--token", "-", stdin=tokens["Cyd"] + "\n")
        await anyio.sleep(1)
        refused = {name: await statuses(running, token) for name, token in tokens.items()}
        assert refused == {"Ada": {401: 20}, "Bob": {401: 20}, "Cyd": {401: 20}, "Dan": {200: 20}}
        assert await statuses(running, running.token("Ada", left=1400)) == {401: 20}
        async with httpx.AsyncClient() as client:
            answer = await client.get(running.url, headers={"X-Guest-Token": tokens["Ada"]})
        assert answer.json()["code"] == "token_revoked"


async def test_revocations_survive_in_workers_what_redis_forgets(server: RedisServer) -> None:
    with fleet(server.url) as running:
        token = running.token(left=1500)
        revoke(server, "--token", "-", stdin=token)
        await anyio.sleep(1)
        assert await statuses(running, token) == {401: 20}
        server.stop()
        assert await statuses(running, token) == {401: 20}
        server.start()
        await server.ready()
        other = running.token("Bob", left=1500)
        revoke(server, "--token", "-", stdin=other)
        await anyio.sleep(2)
        assert await statuses(running, token) == {401: 20}
        assert await statuses(running, other) == {401: 20}


async def test_the_list_is_sealed_is_read_once_and_ends(server: RedisServer) -> None:
    clock = HeldClock()
    link = RedisLink(server.url, clock)
    log = RedisRevocations(link, Sealing([SECRET]), clock)
    ada = Revocation("ada@example.org", UnixTime(NOW + 60))
    bob = Revocation(RawToken(b"b.o.b").id, UnixTime(NOW + 600))
    await log.add(ada)
    added, cursor = await log.since("")
    assert added == [ada]
    await log.add(bob)
    assert (await log.since(cursor))[0] == [bob]
    (key,) = await server.keys()
    assert b"ada" not in await server.command("DUMP", key)
    assert await server.command("PTTL", key) == pytest.approx(600_000, abs=5000)
    await server.command("XADD", key, "*", "r", "forged")
    await server.command("XADD", key, "*", "other", "field")
    everything, _ = await RedisRevocations(link, Sealing([SECRET]), clock).since("")
    assert everything == [ada, bob]
    server.stop()
    with pytest.raises(Unavailable):
        await log.add(ada)
    await link.aclose()


async def test_a_limit_is_one_for_all_workers(server: RedisServer) -> None:
    """L2: 4 workers and a limit of 20 let 20 pass, not 80."""
    env = {"GUESTPASS_LIMITS__TOKEN_ENDPOINT": "20/minute"}
    with fleet(server.url, workers=4, env=env) as running:
        outcomes = Outcomes()
        async with anyio.create_task_group() as tasks:
            for _ in range(60):
                tasks.start_soon(visit, running.url, {"name": "Ada", "email": "ada@example.com"}, outcomes)
        assert outcomes.statuses == {200: 20, 429: 40}


async def test_a_pool_is_filled_once_for_all_hosts_and_hands_out_each_token_once(
    server: RedisServer,
) -> None:
    guest = {"name": "Guest", "email": "guest@example.com"}
    env = {"GUESTPASS_POOL__SIZE": "10", "GUESTPASS_LIMITS__TOKEN_ENDPOINT": "off"}
    env |= {"GUESTPASS_POOL__NAME": guest["name"], "GUESTPASS_POOL__EMAIL": guest["email"]}
    with fleet(server.url, hosts=2, env=env) as running:
        with anyio.fail_after(10):
            while running.mints < 10:  # noqa: ASYNC110  the vendor runs in a thread
                await anyio.sleep(0.02)
        tokens = []
        async with httpx.AsyncClient() as client:
            for number in range(8):
                url = running.urls[number % 2]
                answer = await client.post(f"{url}/guestpass/token", json=guest)
                tokens.append(answer.json()["token"])
        assert len(set(tokens)) == 8
        with anyio.fail_after(10):
            while running.mints < 18:  # noqa: ASYNC110  as above
                await anyio.sleep(0.02)
        await anyio.sleep(1)
        assert running.mints == 18


async def test_doctor_takes_a_lease_and_tells_the_version(server: RedisServer) -> None:
    version = (await server.command("INFO", "server"))["redis_version"]
    assert await store_finding(server) == ("ok", f"version {version}")


@pytest.mark.parametrize(("version", "status"), [("6.0.20", "warning"), ("6.2.0", "ok"), ("10.0.1", "ok")])
async def test_doctor_warns_of_a_redis_that_is_older_than_our_commands(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch, version: str, status: str
) -> None:
    async def told(_: SharedState) -> str:
        return version

    monkeypatch.setattr(SharedState, "version", told)
    assert await store_finding(server) == (status, f"version {version}")


async def test_doctor_is_content_with_a_redis_that_tells_no_version(server: RedisServer) -> None:
    """Whoever runs it may deny INFO to us."""
    await server.command("ACL", "SETUSER", "default", "-info")
    assert await store_finding(server) == ("ok", "it does not tell its version")


async def store_finding(server: RedisServer) -> tuple[str, str]:
    """What `guestpass doctor` finds of the store: the status, and the last part of what was seen."""
    environ = {
        "GUESTPASS_ISSUER__KIND": "local",
        "GUESTPASS_STORE__URL": server.url,
        "GUESTPASS_STORE__SECRET": SECRET,
    }
    findings = examine(load(None, environ), SystemClock(), identity=ADA, path="/")
    [found] = [finding async for finding in findings if finding.step == "store"]
    return found.status, found.seen.rpartition("; ")[2]
