"""`guestpass doctor` and `guestpass mint` against a vendor that has one fault at a time."""

import json
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from click.testing import CliRunner, Result
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from guestpass.cli.app import guestpass
from guestpass.testing import FakeVendor, serving

CREDENTIALS = {"GENESYS_CLIENT_ID": "fake-client", "GENESYS_CLIENT_SECRET": "fake-secret"}


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("GUESTPASS_", "GENESYS_"))]:
        monkeypatch.delenv(name)


class Backend:
    """Answers as told."""

    def __init__(self) -> None:
        self.response: Response = PlainTextResponse("hello", headers={"cache-control": "private"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self.response(scope, receive, send)


@pytest.fixture
def vendor() -> FakeVendor:
    return FakeVendor()


@pytest.fixture
def backend() -> Backend:
    return Backend()


@pytest.fixture
def served(vendor: FakeVendor, backend: Backend) -> Iterator[dict[str, str]]:
    """The environment in which both are had."""

    def over_http(app: ASGIApp) -> str:
        return stack.enter_context(serving(app))

    with ExitStack() as stack:
        yield {
            **CREDENTIALS,
            "GUESTPASS_ISSUER__GATEWAY": over_http(vendor),
            "GUESTPASS_UPSTREAM__URL": over_http(backend),
        }


def run(environ: dict[str, str], *arguments: str) -> Result:
    return CliRunner().invoke(guestpass, list(arguments), env=environ)


def diagnosed(environ: dict[str, str]) -> tuple[int, dict[str, dict[str, str]]]:
    """The exit code, and the worst finding of each step."""
    result = run(environ, "doctor", "--json")
    assert "Traceback" not in result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
    worst: dict[str, dict[str, str]] = {}
    rank = ["skipped", "ok", "warning", "failed"]
    for line in result.stdout.splitlines():
        finding = json.loads(line)
        known = worst.get(finding["step"])
        if known is None or rank.index(finding["status"]) > rank.index(known["status"]):
            worst[finding["step"]] = finding
    return result.exit_code, worst


def statuses(findings: dict[str, dict[str, str]]) -> dict[str, str]:
    return {step: finding["status"] for step, finding in findings.items()}


def test_a_sound_configuration_holds_at_every_step(served: dict[str, str]) -> None:
    code, found = diagnosed(served)
    assert code == 0
    well = ("hosts", "credentials", "permission", "keys", "token", "clock", "rotation", "backend", "caching")
    assert statuses(found) == {**dict.fromkeys(well, "ok"), "store": "skipped", "cors": "skipped"}


def test_a_person_gets_a_line_a_step_with_its_cure_and_a_summary(
    served: dict[str, str], vendor: FakeVendor
) -> None:
    vendor.guests.permitted = False
    result = run(served, "doctor")
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    [at] = [index for index, line in enumerate(lines) if line.startswith("failed")]
    assert "status 403" in lines[at]
    assert "-> In the vendor's admin pages" in lines[at + 1]
    assert lines[-1].endswith("skipped.")


@pytest.mark.parametrize("terminal", [True, False])
def test_progress_is_shown_on_a_terminal_and_wiped_before_each_finding(
    served: dict[str, str], monkeypatch: pytest.MonkeyPatch, *, terminal: bool
) -> None:
    monkeypatch.setattr("guestpass.cli.doctor._on_terminal", lambda: terminal)
    result = run(served, "doctor", "--json")
    assert [json.loads(line)["status"] for line in result.stdout.splitlines()]
    shown = [text.strip() for text in result.stderr.split("\r") if text.strip()]
    assert shown[:2] == (["checking hosts ...", "checking credentials ..."] if terminal else [])
    assert not result.stderr or result.stderr.endswith("\r" + " " * 32 + "\r")


LIMITED = {"action": "rate_limited", "seconds": 7}
DOWN = {"action": "server_error"}
FAULTS: list[tuple[dict[str, Any], str, str, str]] = [
    ({**LIMITED, "route": "login"}, "credentials", "Retry-After 7 s", "limit"),
    ({**DOWN, "route": "login"}, "credentials", "503", "status page"),
    ({"action": "html", "route": "login"}, "credentials", "no use", "token_path"),
    ({"action": "access_token_expired", "route": "mint"}, "permission", "401", "region"),
    ({"action": "forbidden"}, "permission", "403", "role"),
    ({**LIMITED, "route": "mint"}, "permission", "429", "limit"),
    ({"action": "reset_after", "route": "mint"}, "permission", "no answer", "correlation"),
    ({"action": "token_missing", "route": "mint"}, "permission", "no use", "token_member"),
    ({**DOWN, "route": "jwks"}, "keys", "status", "jwks_path"),
    ({"action": "html", "route": "jwks"}, "keys", "unusable", "algorithms"),
    ({"action": "huge", "route": "jwks"}, "keys", "too_large", "jwks_url"),
    ({"action": "token_unpublished_key"}, "token", "key_unknown", "environment"),
    ({"action": "token_unsigned"}, "token", "malformed", "token_member"),
    ({"action": "token_other_issuer"}, "token", "claim_iss", "verify.issuer"),
    ({"action": "token_without_exp"}, "token", "claim_exp", "max_lifetime"),
    ({"action": "token_expired"}, "token", "expired", "clocks"),
    ({"action": "skew", "stamp": "date", "seconds": -300}, "clock", "ahead of", "NTP"),
]


def named(fault: dict[str, Any]) -> str:
    return "-".join(map(str, (fault["action"], fault.get("route", ""))))


@pytest.mark.parametrize("fault", FAULTS, ids=[named(fault) for fault, *_ in FAULTS])
def test_each_fault_is_found_at_its_step_with_its_cure(
    fault: tuple[dict[str, Any], str, str, str], served: dict[str, str], vendor: FakeVendor
) -> None:
    rule, step, seen, cure = fault
    vendor.faults.add(**rule)
    code, found = diagnosed(served)
    assert code == 1
    assert [name for name, finding in found.items() if finding["status"] == "failed"] == [step]
    assert seen in found[step]["seen"]
    assert cure in found[step]["cure"]


def test_an_unknown_client_is_told_from_a_wrong_secret(served: dict[str, str]) -> None:
    _, found = diagnosed({**served, "GENESYS_CLIENT_ID": "unknown"})
    assert "status 400" in found["credentials"]["seen"]
    assert "GENESYS_CLIENT_ID" in found["credentials"]["cure"]


def test_a_wrong_secret_is_told_and_not_shown(served: dict[str, str]) -> None:
    result = run({**served, "GENESYS_CLIENT_SECRET": "wrong-and-private"}, "doctor")
    assert result.exit_code == 1
    assert "refuses the client secret" in result.output
    assert "wrong-and-private" not in result.output


def test_a_small_difference_of_clocks_is_a_warning(served: dict[str, str], vendor: FakeVendor) -> None:
    vendor.faults.add("skew", stamp="date", seconds=15)
    code, found = diagnosed(served)
    assert (code, found["clock"]["status"]) == (0, "warning")


@pytest.mark.parametrize(
    ("lifetime", "rotate_before", "status"),
    [(1800, "1800", "failed"), (1800, "1000", "warning"), (90, "10", "warning"), (1800, "300", "ok")],
)
def test_the_rotation_window_is_held_against_the_tokens_life(
    lifetime: int, rotate_before: str, status: str, served: dict[str, str], vendor: FakeVendor
) -> None:
    vendor.guests.lifetime = lifetime
    _, found = diagnosed({**served, "GUESTPASS_POLICY__ROTATE_BEFORE": rotate_before})
    assert found["rotation"]["status"] == status


def test_hosts_that_do_not_exist_or_refuse_are_told_apart(served: dict[str, str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]  # free again, once it is closed
    _, found = diagnosed({**served, "GUESTPASS_ISSUER__GATEWAY": f"http://127.0.0.1:{port}"})
    assert "cannot be reached" in found["hosts"]["seen"]
    _, found = diagnosed({**served, "GUESTPASS_ISSUER__GATEWAY": "https://vendor.invalid"})
    assert found["hosts"]["seen"] == "the name vendor.invalid is not known"
    assert "GENESYS_ENVIRONMENT" in found["hosts"]["cure"]


def test_a_backend_that_is_down_is_told(served: dict[str, str]) -> None:
    code, found = diagnosed({**served, "GUESTPASS_UPSTREAM__URL": "http://127.0.0.1:9"})
    assert (code, found["backend"]["status"]) == (1, "failed")
    assert "502" in found["backend"]["seen"]


@pytest.mark.parametrize("status", [401, 403, 500])
def test_a_backend_that_refuses_or_fails_by_itself_is_a_warning(
    status: int, served: dict[str, str], backend: Backend
) -> None:
    backend.response = PlainTextResponse("no", status)
    assert diagnosed(served)[1]["backend"]["status"] == "warning"


@pytest.mark.parametrize("caching", ["public, max-age=60", "s-maxage=60"])
def test_a_response_that_shared_caches_may_keep_is_a_warning(
    caching: str, served: dict[str, str], backend: Backend
) -> None:
    backend.response = PlainTextResponse("hello", headers={"cache-control": caching})
    assert diagnosed(served)[1]["caching"]["status"] == "warning"


@pytest.mark.parametrize(("allowed", "status"), [(None, "warning"), ("https://shop.example", "ok")])
def test_pages_of_other_origins_are_looked_after(
    allowed: str | None, status: str, served: dict[str, str], backend: Backend
) -> None:
    if allowed is not None:
        backend.response.headers["access-control-allow-origin"] = allowed
    _, found = diagnosed({**served, "GUESTPASS_HEADERS__CORS_ORIGINS": "https://shop.example"})
    assert found["cors"]["status"] == status


def test_without_a_vendor_the_tokens_are_signed_and_examined_here(served: dict[str, str]) -> None:
    environ = {
        "GUESTPASS_ISSUER__KIND": "local",
        "GUESTPASS_UPSTREAM__URL": served["GUESTPASS_UPSTREAM__URL"],
    }
    code, found = diagnosed(environ)
    assert code == 0
    assert (found["credentials"]["status"], found["token"]["status"]) == ("skipped", "ok")


def test_a_store_that_cannot_be_reached_is_told(served: dict[str, str]) -> None:
    shared = {"GUESTPASS_STORE__URL": "redis://127.0.0.1:9/0", "GUESTPASS_STORE__SECRET": "s" * 32}
    code, found = diagnosed({**served, **shared})
    assert (code, found["store"]["status"]) == (1, "failed")


def test_workers_without_a_shared_store_are_a_warning(served: dict[str, str]) -> None:
    assert diagnosed({**served, "GUESTPASS_SERVER__WORKERS": "2"})[1]["store"]["status"] == "warning"


ADA = ("mint", "--name", "Ada", "--email", "ada@example.org")


def test_mint_puts_the_token_alone_on_standard_output(served: dict[str, str]) -> None:
    result = run(served, *ADA)
    assert result.exit_code == 0
    [token] = result.stdout.splitlines()
    assert token.count(".") == 2
    assert token not in result.stderr
    assert "expires" in result.stderr


@pytest.mark.parametrize(
    ("action", "said"),
    [
        ("forbidden", "refuses our credentials or their permission"),
        ("token_other_issuer", "not genuine: claim_iss"),
        ("token_missing", "no token"),
    ],
)
def test_mint_says_why_there_is_none(
    action: str, said: str, served: dict[str, str], vendor: FakeVendor
) -> None:
    vendor.faults.add(action)
    result = run(served, *ADA)
    assert (result.exit_code, result.stdout) == (1, "")
    assert said in result.stderr
    assert "Traceback" not in result.output


def test_mint_says_that_the_issuer_does_not_take_the_name(served: dict[str, str]) -> None:
    result = run(served, "mint", "--name", "Ada", "--email", "none")
    assert result.exit_code == 1
    assert "refuses this name or e-mail address" in result.stderr


def test_no_secret_is_ever_printed(served: dict[str, str]) -> None:
    for arguments in (ADA, ("doctor",)):
        assert "fake-secret" not in run(served, *arguments).output
