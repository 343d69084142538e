"""`guestpass revoke`: what it takes, what it refuses, and what it says."""

import os
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest
from click.testing import CliRunner, Result
from redis_server import RedisServer

from guestpass.adapters.system_clock import SystemClock
from guestpass.cli.app import guestpass
from guestpass.config import Secret, StoreSettings
from guestpass.core.model import RawToken, Successor, UnixTime
from guestpass.ports import Lease, Revocation
from guestpass.wiring.state import build_state

SECRET = "a secret of at least thirty-two bytes"
TOKEN = "eyJhbGciOiJSUzI1NiJ9.e30.c2ln"


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("GUESTPASS_", "GENESYS_"))]:
        monkeypatch.delenv(name)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path) as running:
        anyio.run(running.ready)
        yield running


def revoke(*arguments: str, url: str = "redis://127.0.0.1:1", stdin: str = "") -> Result:
    environ = {"GUESTPASS_STORE__URL": url, "GUESTPASS_STORE__SECRET": SECRET}
    return CliRunner().invoke(guestpass, ["revoke", *arguments], env=environ, input=stdin)


def revoked(url: str) -> list[Revocation]:
    async def read() -> list[Revocation]:
        state = build_state(StoreSettings(url=Secret(url), secret=Secret(SECRET)), SystemClock())
        found, _ = await state.revocations.since("")
        await state.store.aclose()
        return found

    return anyio.run(read)


@pytest.mark.parametrize(
    ("arguments", "stdin"),
    [
        ((), ""),
        (("--subject", "x", "--token", "-"), TOKEN),
        (("--token", TOKEN), ""),
        (("--token", "-"), ""),
        (("--token", "-"), "no token"),
        (("--token-id", "abc"), ""),
        (("--token-id", "zz" * 32), ""),
        (("--token-id", "ab " * 32), ""),
        (("--subject", "x", "--for", "0"), ""),
    ],
)
def test_what_is_not_clear_is_refused(arguments: tuple[str, ...], stdin: str) -> None:
    result = revoke(*arguments, stdin=stdin)
    assert result.exit_code == 2, result.output
    assert TOKEN not in result.output


def test_an_empty_subject_is_what_is_wrong() -> None:
    """As of a script whose variable is not set."""
    assert "--subject must not be empty" in revoke("--subject", "").stderr


def test_a_store_that_nobody_shares_is_refused() -> None:
    result = revoke("--subject", "ada", url="memory://")
    assert result.exit_code == 2
    assert "not shared" in result.stderr


def test_without_redis_it_fails_in_one_line() -> None:
    result = revoke("--subject", "ada")
    assert result.exit_code == 1
    assert result.stderr.startswith("guestpass: Temporarily unavailable")


def test_a_subject_is_revoked_for_a_day_and_not_repeated(server: RedisServer) -> None:
    result = revoke("--subject", "ada", url=server.url)
    assert result.exit_code == 0, result.output
    assert "ada" not in result.stdout
    (found,) = revoked(server.url)
    assert found.name == "ada"
    assert found.until == pytest.approx(SystemClock().time() + 86_400, abs=60)


@pytest.mark.parametrize("by_id", [True, False])
def test_a_token_is_revoked_with_its_successor(server: RedisServer, by_id: bool) -> None:
    old, new = RawToken(TOKEN.encode()), RawToken(b"e30.e30.bmV3")

    async def rotate() -> None:
        state = build_state(StoreSettings(url=Secret(server.url), secret=Secret(SECRET)), SystemClock())
        now = SystemClock().time()
        successor = Successor(new, UnixTime(now + 1800), now)
        await state.store.remember(Lease(old.id, ""), successor, until=UnixTime(now + 600))
        await state.store.aclose()

    anyio.run(rotate)
    which = ("--token-id", old.id.hex()) if by_id else ("--token", "-")
    result = revoke(*which, "--for", "600", url=server.url, stdin=TOKEN + "\n")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith(f"Token {old.id.hex()[:12]} and its successors (1): refused until ")
    assert [found.name for found in revoked(server.url)] == [old.id, new.id]
