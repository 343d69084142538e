"""`guestpass tail`: the events of a real instance, in order, once each."""

import json
import os
import signal
import sys
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from click.testing import CliRunner
from running import GUESTPASS, running

from guestpass.cli.app import guestpass
from guestpass.cli.tail import _events, _text


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("GUESTPASS_", "GENESYS_"))]:
        monkeypatch.delenv(name)


@pytest.fixture
def said() -> Iterator[dict[str, Any]]:
    """A proxy with an admin port, and the line in which it says where it listens."""
    command = (*GUESTPASS, "serve", "--upstream", "http://127.0.0.1:9", "--port", "0", "--admin-port", "0")
    with running(*command, env={"GUESTPASS_ISSUER__KIND": "local"}) as proxy:
        yield json.loads(proxy.said("server.listening"))


def test_what_is_remembered_is_told_once_and_what_comes_then_follows(said: dict[str, Any]) -> None:
    admin, refused = said["admin"], f"{said['url']}/orders"
    assert httpx.get(refused, trust_env=False).status_code == 401
    result = CliRunner().invoke(guestpass, ["tail", "--admin", admin, "--json", "--once"])
    assert result.exit_code == 0, result.output
    [line] = [json.loads(text) for text in result.stdout.splitlines()]
    assert (line["event"], line["reason"], line["path"]) == ("token.refused", "token_missing", "/orders")
    with httpx.Client(trust_env=False, timeout=5) as client:
        [(seen, _)] = _events(client, f"{admin}/events", "", once=True)
        assert httpx.get(f"{refused}/2", trust_env=False).status_code == 401
        [(_, line)] = _events(client, f"{admin}/events", seen, once=True)
    assert line["path"] == "/orders/2"


def test_ctrl_c_ends_it_without_a_word(said: dict[str, Any]) -> None:
    assert httpx.get(f"{said['url']}/orders", trust_env=False).status_code == 401
    with running(*GUESTPASS, "tail", "--admin", said["admin"]) as tail:
        tail.said("token.refused")
        tail.process.send_signal(signal.SIGINT)
        assert tail.wait() == 0
    assert all(" info " in line for line in tail.lines), tail.lines


def test_where_nothing_runs_one_line_says_so() -> None:
    result = CliRunner().invoke(guestpass, ["tail", "--admin", "http://127.0.0.1:9"])
    assert result.exit_code == 1
    assert result.stderr.startswith("guestpass: http://127.0.0.1:9/events gives no events (ConnectError)")


@pytest.mark.parametrize("address", ["127.0.0.1:9090", "foo", "", "http://[::1", "http://127.0.0.1:port"])
def test_what_is_no_url_is_misuse(address: str) -> None:
    result = CliRunner().invoke(guestpass, ["tail", "--admin", address])
    assert result.exit_code == 2
    assert result.stderr == "guestpass: --admin must be a URL, such as http://127.0.0.1:9090\n"


def test_without_an_admin_port_it_says_what_to_set() -> None:
    result = CliRunner().invoke(guestpass, ["tail"])
    assert result.exit_code == 2
    assert "server.admin_port" in result.stderr


def test_the_configured_admin_port_is_followed() -> None:
    environ = {"GUESTPASS_SERVER__ADMIN_PORT": "9", "GUESTPASS_SERVER__ADMIN_HOST": "::1"}
    result = CliRunner().invoke(guestpass, ["tail"], env=environ)
    assert "http://[::1]:9/events" in result.stderr


def test_no_event_moves_the_cursor_of_whoever_looks_at_it() -> None:
    line = {"time": "t", "level": "warning", "logger": "guestpass", "event": "x", "path": "a\x1b[2J\r\nb"}
    assert _text(line).endswith(" x path=a\\x1b[2J\\r\\nb")


def test_whoever_answers_without_events_is_no_admin_port() -> None:
    """Asked again and again, it would keep both sides busy."""
    with (
        running(sys.executable, "-m", "guestpass.demo.backend", "0") as backend,
        running(*GUESTPASS, "tail", "--admin", backend.url()) as tail,
    ):
        assert tail.wait() != 0
        assert "answers, but not with events" in "\n".join(tail.lines)
