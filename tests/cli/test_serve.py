"""`guestpass serve`: refuses before it starts, and serves as real processes."""

import json
import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner, Result
from forge import rsa_key
from running import GUESTPASS, VENDOR, Running, running

from guestpass.cli import serving as module
from guestpass.cli.app import Failure, guestpass
from guestpass.cli.listening import listen
from guestpass.cli.serving import export
from guestpass.config import load

UPSTREAM = "http://127.0.0.1:9"
LOCAL = {"GUESTPASS_ISSUER__KIND": "local"}
VISITOR = {"name": "Ada", "email": "ada@example.org"}


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("GUESTPASS_", "GENESYS_"))]:
        monkeypatch.delenv(name)


@pytest.fixture
def no_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """A refusal must come before a port is opened, let alone a worker started."""
    monkeypatch.setattr(module, "listen", lambda *_: pytest.fail("a port was opened"))


def refused(*arguments: str, **environ: str) -> Result:
    result = CliRunner().invoke(guestpass, ["serve", *arguments], env=environ)
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    return result


def test_no_answer_waits_for_the_acknowledgement_of_its_first_part() -> None:
    """Nagle's algorithm and a client's delayed ACK together cost 40 ms an answer (RFC 9293 §3.7.4)."""
    with listen("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname()):
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@pytest.mark.usefixtures("no_worker")
def test_without_a_vendor_one_sentence_says_what_to_set() -> None:
    [line] = refused("--upstream", UPSTREAM).stderr.splitlines()
    assert line.startswith("guestpass: no vendor is configured: set GENESYS_CLIENT_ID, ")
    assert "GENESYS_CLIENT_SECRET" in line


@pytest.mark.usefixtures("no_worker")
@pytest.mark.parametrize(
    ("arguments", "environ", "named"),
    [
        ((), VENDOR, "upstream.url"),
        (("--upstream", "127.0.0.1:9000"), VENDOR, "upstream.url"),
        (("--upstream", UPSTREAM), {"GENESYS_CLIENT_ID": "x"}, "GENESYS_CLIENT_SECRET"),
        (("--upstream", UPSTREAM), {**VENDOR, "GUESTPASS_SERVER__PROT": "1"}, "GUESTPASS_SERVER__PORT"),
        (("--upstream", UPSTREAM, "--config", "none.toml"), VENDOR, "none.toml"),
        (("--upstream", UPSTREAM, "--admin-port", "8080"), VENDOR, "server.admin_port"),
        (("--upstream", UPSTREAM, "--workers", "2"), LOCAL, "issuer.key_file"),
        (("--upstream", UPSTREAM, "--server", "granian", "--http", "h11"), VENDOR, "--http"),
        (("--upstream", UPSTREAM, "--server", "granian", "--admin-port", "0"), VENDOR, "server.admin_port"),
        (
            ("--upstream", UPSTREAM, "--server", "granian"),
            {**VENDOR, "GUESTPASS_SERVER__DRAIN_DELAY": "5"},
            "server.drain_delay",
        ),
        (("--upstream", UPSTREAM), {**LOCAL, "GUESTPASS_ISSUER__KEY_FILE": "none"}, "issuer.key_file"),
        (("--upstream", UPSTREAM, "--port", "65536"), VENDOR, "--port"),
        (("--upstream", UPSTREAM, "--workers", "0"), VENDOR, "--workers"),
    ],
)
def test_a_mistake_is_named_before_anything_starts(
    arguments: tuple[str, ...], environ: dict[str, str], named: str
) -> None:
    assert named in refused(*arguments, **environ).stderr


@pytest.mark.usefixtures("no_worker")
def test_a_missing_library_is_named_with_the_extra_that_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_spec", lambda name: None if name == "httptools" else object())
    [line] = refused("--upstream", UPSTREAM, **VENDOR).stderr.splitlines()
    assert line.startswith("guestpass: httptools is not installed")
    assert 'pip install "guestpass[server]"' in line


@pytest.mark.usefixtures("no_worker")
def test_a_missing_server_is_named_with_the_extra_that_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_spec", lambda name: None if name == "granian" else object())
    [line] = refused("--upstream", UPSTREAM, "--server", "granian", **VENDOR).stderr.splitlines()
    assert line.startswith("guestpass: granian is not installed")
    assert 'pip install "guestpass[granian]"' in line


def failing(*options: str) -> subprocess.CompletedProcess[str]:
    """`serve` with options that it cannot serve with."""
    done = subprocess.run(
        [*GUESTPASS, "serve", "--upstream", UPSTREAM, *options],
        env={**os.environ, **LOCAL},
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    return done


@pytest.mark.parametrize("server", ["uvicorn", "granian"])
def test_a_port_that_is_taken_is_a_failure_of_one_line(server: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = failing("--port", port, "--server", server)
    assert (
        done.stderr.splitlines()[0]
        == f"guestpass: cannot listen on 127.0.0.1 port {port}: Address already in use"
    )


def test_the_option_that_chose_a_taken_port_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = failing("--port", "0", "--admin-port", port)
    assert done.stderr.splitlines()[1] == "  Choose another port with --admin-port; 0 takes a free one."


def test_an_address_of_another_machine_is_told_from_a_taken_port() -> None:
    with pytest.raises(Failure, match=r"cannot listen on 192\.0\.2\.1 port 0: ") as refusal:
        listen("192.0.2.1", 0)
    assert refusal.value.advice == "The host must be an address of this machine, such as 127.0.0.1."


def test_workers_read_what_the_command_line_said_however_it_was_spelled_before(tmp_path: Path) -> None:
    """A worker reads the environment anew, where one setting given twice is an error."""
    file = tmp_path / "url"
    file.write_text("http://127.0.0.1:1", "utf-8")
    environ = {"guestpass_server__port": "1", "GUESTPASS_UPSTREAM__URL_FILE": str(file), "HOME": "/"}
    export({"server": {"port": 2, "host": None}, "upstream": {"url": UPSTREAM}}, None, environ)
    settings = load(None, environ)
    assert (settings.server.port, settings.server.host) == (2, "127.0.0.1")
    assert settings.upstream.url == (UPSTREAM,)
    assert environ["HOME"] == "/"


def test_workers_read_the_file_that_the_command_line_named(tmp_path: Path) -> None:
    file = tmp_path / "guestpass.toml"
    file.write_text("[server]\nport = 81", "utf-8")
    environ: dict[str, str] = {"GUESTPASS_CONFIG": "another"}
    export({}, file, environ)
    assert load(None, environ).server.port == 81


@contextmanager
def serving(*arguments: str, **environ: str) -> Iterator[tuple[Running, dict[str, Any]]]:
    """The proxy before a backend, both real, and the line in which it says where it listens."""
    with (
        running(GUESTPASS[0], "-m", "guestpass.demo.backend", "0") as backend,
        running(
            *(*GUESTPASS, "serve", "--upstream", backend.url(), "--port", "0", *arguments),
            env={**LOCAL, **environ},
        ) as proxy,
    ):
        yield proxy, json.loads(proxy.said("server.listening"))


def guest(url: str) -> dict[str, str]:
    answer = httpx.post(f"{url}/guestpass/token", json=VISITOR, trust_env=False)
    assert answer.status_code == 200, answer.text
    return {"X-Guest-Token": answer.json()["token"]}


@pytest.mark.parametrize("parser", ["h11", "httptools", "auto"])
def test_a_guest_is_verified_and_told_to_the_backend_under_either_parser(parser: str) -> None:
    with serving("--http", parser) as (proxy, said):
        url = said["url"]
        assert httpx.get(f"{url}/orders", trust_env=False).status_code == 401
        answer = httpx.get(f"{url}/orders", headers=guest(url), trust_env=False)
        assert answer.json()["identity"]["HTTP_X_GUEST_NAME"] == "Ada"
        assert proxy.stop() == 0


def test_every_response_has_one_date_and_no_server_of_ours() -> None:
    """wsgiref sends its own Date and Server, and a second Date would be a malformed response."""
    with serving() as (_, said):
        url = said["url"]
        proxied = httpx.get(f"{url}/orders", headers=guest(url), trust_env=False)
        own = httpx.get(f"{url}/livez", trust_env=False)
    assert len(proxied.headers.get_list("date")) == len(own.headers.get_list("date")) == 1
    assert "wsgi" in proxied.headers["server"].lower()
    assert "server" not in own.headers


def test_every_log_line_is_one_json_object_whatever_a_client_sends() -> None:
    """P33: CRLF, ANSI and quotes in path and fields, and no token in any line (P32)."""
    with serving(GUESTPASS_SERVER__LOG_LEVEL="debug") as (proxy, said):
        url = said["url"]
        token = guest(url)
        hostile = {"X-Guest-Token": 'e30.e30."\x1b[2J', "X-Forwarded-For": '1.2.3.4"\x1b[31m'}
        for headers in (hostile, token):
            httpx.get(f'{url}/%0d%0a%1b[2J"{{', headers=headers, trust_env=False)
        assert proxy.stop() == 0
    for line in proxy.lines:
        assert isinstance(json.loads(line), dict)
        assert token["X-Guest-Token"].rpartition(".")[2] not in line


def test_the_admin_port_answers_health_and_nothing_else() -> None:
    with serving("--admin-port", "0") as (_, said):
        admin = said["admin"]
        assert httpx.get(f"{admin}/livez", trust_env=False).status_code == 200
        assert httpx.get(f"{admin}/readyz", trust_env=False).status_code == 200
        assert httpx.get(f"{admin}/orders", trust_env=False).status_code == 404
        assert httpx.post(f"{admin}/guestpass/token", json=VISITOR, trust_env=False).status_code == 404
        # The Host field is the client's to choose, so it decides nothing.
        host = {"Host": admin.removeprefix("http://")}
        assert httpx.get(f"{said['url']}/orders", headers=host, trust_env=False).status_code == 401


def test_workers_serve_by_the_command_lines_settings_and_share_the_ports(tmp_path: Path) -> None:
    key = tmp_path / "key.pem"
    key.write_bytes(rsa_key().export_to_pem(private_key=True, password=None))
    arguments = ("--workers", "2", "--admin-port", "0")
    with serving(*arguments, GUESTPASS_ISSUER__KEY_FILE=str(key)) as (proxy, said):
        url = said["url"]
        token = guest(url)
        answers = {httpx.get(f"{url}/orders", headers=token, trust_env=False).status_code for _ in range(8)}
        assert answers == {200}
        assert httpx.get(f"{said['admin']}/livez", trust_env=False).status_code == 200
        assert httpx.get(f"{said['admin']}/orders", trust_env=False).status_code == 404
        assert proxy.stop() == 0
    assert len([line for line in proxy.lines if '"store.not_shared"' in line]) == 1


def test_one_worker_is_not_warned_of_the_memory_store() -> None:
    with serving() as (proxy, _):
        assert proxy.stop() == 0
    assert not [line for line in proxy.lines if "store.not_shared" in line]


def test_the_log_is_text_where_that_is_asked_for() -> None:
    with running(
        *(*GUESTPASS, "serve", "--upstream", UPSTREAM, "--port", "0"),
        env={**LOCAL, "GUESTPASS_SERVER__LOG_FORMAT": "text"},
    ) as proxy:
        line = proxy.said("server.listening")
        assert not line.startswith("{")
        assert " info    server.listening url=http://127.0.0.1:" in line
        assert proxy.stop() == 0
