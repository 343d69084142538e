"""The commands where guests log in: what they prove, with a code and without, and what they refuse."""

import json
import os
import re
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from click.testing import CliRunner, Result
from redis_server import RedisServer
from running import GUESTPASS, ROOT, running
from starlette.responses import PlainTextResponse

from guestpass.cli.app import guestpass
from guestpass.testing import FakeVendor, serving

HERE = "https://shop.example/back"
LOGIN = json.dumps({"code": "c0de-of-a-guest", "redirectUri": HERE, "codeVerifier": "v" * 43})
JWT = "eyJhbGciOiJSUzI1NiJ9.e30.c2ln"
REVOKE = "/api/v2/webdeployments/token/revoke"
JSON: Final = {"content-type": "application/json"}
AWAY = {"GUESTPASS_STORE__URL": "redis://127.0.0.1:9/0", "GUESTPASS_STORE__SECRET": "s" * 32}


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("GUESTPASS_", "GENESYS_"))]:
        monkeypatch.delenv(name)


@pytest.fixture
def vendor() -> FakeVendor:
    return FakeVendor()


@pytest.fixture
def environ(vendor: FakeVendor) -> Iterator[dict[str, str]]:
    """What an operator sets; no client and no secret is needed."""
    with ExitStack() as stack:
        yield {
            "GUESTPASS_ISSUER__KIND": "webdeployments",
            "GUESTPASS_ISSUER__DEPLOYMENT_ID": "fake-deployment",
            "GUESTPASS_ISSUER__GATEWAY": stack.enter_context(serving(vendor)),
            "GUESTPASS_UPSTREAM__URL": stack.enter_context(serving(PlainTextResponse("hello"))),
        }


@pytest.fixture
def shared(environ: dict[str, str], tmp_path: Path) -> Iterator[dict[str, str]]:
    """The same over a Redis."""
    with RedisServer(tmp_path) as server:
        yield {**environ, "GUESTPASS_STORE__URL": server.url, "GUESTPASS_STORE__SECRET": "s" * 32}


def run(environ: dict[str, str], *arguments: str, stdin: str | None = None) -> Result:
    result = CliRunner().invoke(guestpass, list(arguments), env=environ, input=stdin)
    assert "Traceback" not in result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result


def diagnosed(environ: dict[str, str], login: str | None = None) -> tuple[int, dict[str, dict[str, str]]]:
    """The exit code, and the last finding of each step."""
    options = () if login is None else ("--login", "-")
    result = run(environ, "doctor", "--json", *options, stdin=login)
    findings = [json.loads(line) for line in result.stdout.splitlines()]
    return result.exit_code, {finding["step"]: finding for finding in findings}


def statuses(found: dict[str, dict[str, str]], status: str) -> set[str]:
    return {step for step, finding in found.items() if finding["status"] == status}


# --- doctor -----------------------------------------------------------------------------------------------


def test_with_a_code_the_whole_path_is_proven_to_the_end_of_the_session(
    environ: dict[str, str], vendor: FakeVendor
) -> None:
    vendor.web.single_use = True
    code, found = diagnosed(environ, LOGIN)
    assert code == 0
    assert statuses(found, "ok") == {
        "hosts", "deployment", "login", "clock", "rotation", "refresh", "backend", "caching", "logout",
    }  # fmt: skip
    assert statuses(found, "failed") == set()
    assert (vendor.web.exchanges, vendor.web.refreshes) == (1, 1)
    assert vendor.journal.outcomes(REVOKE) == ["ok"]


def test_over_a_shared_record_the_same_holds_and_nothing_of_it_stays(shared: dict[str, str]) -> None:
    code, found = diagnosed(shared, LOGIN)
    assert code == 0
    assert {"store", "login", "refresh", "backend", "logout"} <= statuses(found, "ok")


def test_without_a_code_what_can_be_proven_is_and_nothing_is_spent(
    environ: dict[str, str], vendor: FakeVendor
) -> None:
    code, found = diagnosed(environ)
    assert code == 0
    assert statuses(found, "ok") == {"hosts", "deployment", "clock"}
    assert "--login" in found["login"]["seen"]
    assert (vendor.web.exchanges, vendor.web.refreshes) == (0, 0)


@pytest.mark.parametrize(
    ("fault", "step", "cure"),
    [
        ({"action": "server_error", "route": "refresh"}, "deployment", "status page"),
        ({"action": "rate_limited", "route": "refresh", "seconds": 7}, "deployment", "limit"),
        ({"action": "rate_limited", "route": "exchange", "seconds": 60}, "login", "deployment"),
        ({"action": "reset_before", "route": "refresh"}, "deployment", "hosts"),
        ({"action": "token_missing", "route": "exchange"}, "login", "deployment"),
    ],
)
def test_each_fault_is_found_at_its_step_with_its_cure(
    fault: dict[str, Any], step: str, cure: str, environ: dict[str, str], vendor: FakeVendor
) -> None:
    vendor.faults.add(**fault, first=1 if fault["action"] == "rate_limited" else None)
    code, found = diagnosed(environ, LOGIN)
    assert code == 1
    assert step in statuses(found, "failed")
    assert cure in found[step]["cure"]


def test_an_unknown_deployment_is_told_by_its_setting(environ: dict[str, str]) -> None:
    code, found = diagnosed({**environ, "GUESTPASS_ISSUER__DEPLOYMENT_ID": "another"}, LOGIN)
    assert (code, statuses(found, "failed")) == (1, {"deployment", "login"})
    assert "issuer.deployment_id" in found["deployment"]["cure"]
    assert "authentication" in found["login"]["cure"]


def test_a_code_that_was_used_is_told_and_not_shown(environ: dict[str, str]) -> None:
    diagnosed(environ, LOGIN)
    code, found = diagnosed(environ, LOGIN)
    assert (code, statuses(found, "failed")) == (1, {"login"})
    assert "works once" in found["login"]["cure"]
    assert "c0de" not in json.dumps(found)


def test_a_refresh_token_that_dies_at_once_is_found(environ: dict[str, str], vendor: FakeVendor) -> None:
    vendor.web.refresh_lifetime = 0
    code, found = diagnosed(environ, LOGIN)
    assert (code, statuses(found, "failed")) == (1, {"refresh"})
    assert "live longer" in found["refresh"]["cure"]
    assert found["logout"]["status"] == "ok"


def test_a_gateway_that_takes_everything_is_no_vendor(environ: dict[str, str]) -> None:
    """A login page of some proxy on the way, for example."""
    backend = environ["GUESTPASS_UPSTREAM__URL"]
    code, found = diagnosed({**environ, "GUESTPASS_ISSUER__GATEWAY": backend}, LOGIN)
    assert (code, statuses(found, "failed")) == (1, {"deployment", "login"})
    assert "issuer.gateway" in found["deployment"]["cure"]


def test_a_vendor_that_cannot_be_told_of_the_end_is_a_warning(
    environ: dict[str, str], vendor: FakeVendor
) -> None:
    vendor.faults.add("server_error", route="revoke")
    code, found = diagnosed(environ, LOGIN)
    assert (code, found["logout"]["status"]) == (0, "warning")


def test_a_shared_record_that_is_away_is_told_and_spends_no_code(
    environ: dict[str, str], vendor: FakeVendor
) -> None:
    code, found = diagnosed({**environ, **AWAY}, LOGIN)
    assert code == 1
    assert statuses(found, "failed") == {"store", "login"}
    assert "nobody can log in" in found["store"]["cure"]
    assert vendor.web.exchanges == 0


@pytest.mark.parametrize("body", ["", "code", "[]", "{}", '{"code": 1}', '{"code": "c"}'])
def test_a_login_that_is_none_is_misuse(body: str, environ: dict[str, str]) -> None:
    result = run(environ, "doctor", "--login", "-", stdin=body)
    assert (result.exit_code, "--login" in result.stderr) == (2, True)


def test_a_login_is_for_those_who_log_in() -> None:
    result = run({"GUESTPASS_ISSUER__KIND": "local"}, "doctor", "--login", "-", stdin=LOGIN)
    assert (result.exit_code, "webdeployments" in result.stderr) == (2, True)


# --- the documentation ------------------------------------------------------------------------------------

DOCS = (ROOT / "docs" / "logins.md").read_text("utf-8")
BLOCKS = dict(re.findall(r"<!-- run: (\S+) -->\n```sh\n(.*?)```", DOCS, re.DOTALL))
# As a reader has it who installed the package: `guestpass` is a command.
PATH = {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


def test_each_file_of_settings_is_valid(tmp_path: Path) -> None:
    blocks = re.findall(r"```toml\n(.*?)```", DOCS, re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        file = tmp_path / "guestpass.toml"
        file.write_text(block, "utf-8")
        assert run({}, "check-config", "--config", str(file)).exit_code == 0


def test_each_command_runs_as_written(environ: dict[str, str], tmp_path: Path) -> None:
    """But for the ports, which others may be using."""
    assert BLOCKS.keys() == {"serve", "ask", "doctor"}
    serve = BLOCKS["serve"].replace("guestpass serve", "exec guestpass serve")
    serve = serve.replace("http://127.0.0.1:9100", environ["GUESTPASS_ISSUER__GATEWAY"])
    serve = serve.replace("http://127.0.0.1:9000", environ["GUESTPASS_UPSTREAM__URL"])
    with running("bash", "-euc", serve, env={**PATH, "GUESTPASS_SERVER__PORT": "0"}) as proxy:
        ask = BLOCKS["ask"].replace("http://127.0.0.1:8080", proxy.url())
        with running("bash", "-euo", "pipefail", "-c", ask, cwd=tmp_path) as asked:
            assert asked.wait() == 0, "\n".join(asked.lines)
    said = "\n".join(asked.lines)
    assert said.count('"expires_in"') == 2
    assert ("HTTP/1.1 200 OK" in said, "HTTP/1.1 204" in said) == (True, True)
    doctor = ("bash", "-euo", "pipefail", "-c", BLOCKS["doctor"])
    with running(*doctor, env={**environ, **PATH}) as diagnosis:
        assert diagnosis.wait() == 0, "\n".join(diagnosis.lines)
    assert [line for line in diagnosis.lines if line.startswith("ok       logout")]


# --- the other commands -----------------------------------------------------------------------------------


def test_several_workers_without_a_shared_record_are_no_valid_settings(environ: dict[str, str]) -> None:
    several = {**environ, "GUESTPASS_SERVER__WORKERS": "2"}
    for command in ("check-config", "serve"):
        result = run(several, command)
        assert (result.exit_code, "store.url" in result.stderr) == (2, True)
    assert run({**several, **AWAY}, "check-config").exit_code == 0
    assert run(environ, "check-config").stderr == ""


def test_without_a_deployment_the_settings_are_not_valid() -> None:
    result = run({"GUESTPASS_ISSUER__KIND": "webdeployments"}, "check-config")
    assert (result.exit_code, "GUESTPASS_ISSUER__DEPLOYMENT_ID" in result.stderr) == (2, True)


def test_nobody_mints_for_a_guest_who_has_to_log_in(environ: dict[str, str]) -> None:
    result = run(environ, "mint", "--name", "Ada", "--email", "ada@example.org")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "doctor --login" in result.stderr


def test_a_token_is_not_called_anything_where_one_process_alone_knows_it(environ: dict[str, str]) -> None:
    result = run(environ, "inspect", JWT)
    assert result.exit_code == 0
    assert "not verified" in result.stdout
    assert "genuine" not in result.stdout


def test_a_record_that_is_away_is_a_failure_and_no_verdict(environ: dict[str, str]) -> None:
    result = run({**environ, **AWAY}, "inspect", JWT)
    assert (result.exit_code, "Temporarily unavailable" in result.stderr) == (1, True)
    assert "refused" not in result.stdout


def test_a_token_is_looked_up_in_the_shared_record(shared: dict[str, str]) -> None:
    serve = (*GUESTPASS, "serve", "--port", "0")
    with running(*serve, env=shared) as proxy, httpx.Client(base_url=proxy.url(), trust_env=False) as client:
        token = client.post("/api/webchat/session", content=LOGIN, headers=JSON).json()["token"]
        known = run(shared, "inspect", token)
        client.delete("/api/webchat/session", headers={"X-Guest-Token": token})
        gone = run(shared, "inspect", token)
    assert (known.exit_code, gone.exit_code) == (0, 1)
    assert "genuine, by our own record" in known.stdout
    assert "ends in 15 min" in known.stdout
    assert "its session is over" in gone.stdout


def test_a_token_past_its_end_is_told_so(shared: dict[str, str], vendor: FakeVendor) -> None:
    with running(*GUESTPASS, "serve", "--port", "0", env=shared) as proxy:
        vendor.clock.set_skew({"exp": -899})
        answer = httpx.post(
            f"{proxy.url()}/api/webchat/session", content=LOGIN, headers=JSON, trust_env=False
        )
    strict, ends = {**shared, "GUESTPASS_POLICY__LEEWAY": "0"}, time.monotonic() + 5
    result = run(strict, "inspect", answer.json()["token"])
    while result.exit_code == 0 and time.monotonic() < ends:
        result = run(strict, "inspect", answer.json()["token"])
    assert "it has expired, but can still be rotated" in result.stdout
