"""Every snippet of docs/ runs as written: each block of code has a mark, and each mark a test."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner
from running import ROOT, VENDOR
from starlette.types import ASGIApp

from guestpass.cli.app import guestpass
from guestpass.config import load
from guestpass.testing import FakeVendor, serving

DOCS = sorted((ROOT / "docs").glob("*.md"))
FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)
MARKED = re.compile(r"^<!-- run: (\S+) -->\n```\w+\n(.*?)```", re.DOTALL | re.MULTILINE)
PICTURES = {"mermaid", "text"}

# Who runs which block; what has no test here is run by the file that stands beside it.
HERE = "test_docs.py"
RUN = {
    ("browser.md", "page.html"): "browser/test_docs_pages.py",
    ("browser.md", "login.html"): "browser/test_sessions.py",
    ("browser.md", "shop.html"): "browser/test_docs_pages.py",
    ("browser.md", "socket.js"): "browser/test_docs_pages.py",
    ("capacity.md", "simulate"): HERE,
    ("command-line.md", "completion"): "cli/test_completion.py",
    ("command-line.md", "script"): HERE,
    ("logins.md", "ask"): "cli/test_logins.py",
    ("logins.md", "doctor"): "cli/test_logins.py",
    ("logins.md", "fleet.toml"): "cli/test_logins.py",
    ("logins.md", "one.toml"): "cli/test_logins.py",
    ("logins.md", "serve"): "cli/test_logins.py",
    ("migrating.md", "before.py"): HERE,
    ("migrating.md", "guestpass.toml"): HERE,
    ("migrating.md", "step1.py"): HERE,
    ("migrating.md", "step2.py"): HERE,
    ("operations.md", "traces"): "server/test_tracing.py",
    ("shared-state.md", "fleet.toml"): HERE,
    ("shared-state.md", "pool.toml"): HERE,
}
# As a reader has it who installed the package: `guestpass` is a command.
PATH = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
ADA = {"name": "Ada", "email": "ada@example.org"}


def block(page: str, name: str) -> str:
    blocks: dict[str, str] = dict(MARKED.findall((ROOT / "docs" / page).read_text("utf-8")))
    return blocks[name]


def test_every_block_of_code_has_a_mark_and_a_test() -> None:
    """Another block fails here until it is run by a test, which its line in `RUN` names."""
    marked = {(page.name, name) for page in DOCS for name, _ in MARKED.findall(page.read_text("utf-8"))}
    assert marked == RUN.keys()


@pytest.mark.parametrize("page", DOCS, ids=lambda page: page.name)
def test_what_has_no_mark_is_a_picture(page: Path) -> None:
    text = page.read_text("utf-8")
    unmarked = [kind for kind, _ in FENCE.findall(text) if kind not in PICTURES]
    assert len(unmarked) == len(MARKED.findall(text)), unmarked


@pytest.mark.parametrize(("page", "runner"), sorted({(page, runner) for (page, _), runner in RUN.items()}))
def test_the_test_that_is_named_reads_the_page(page: str, runner: str) -> None:
    """Or, where it is one line, holds it."""
    text = (ROOT / "tests" / runner).read_text("utf-8")
    assert page in text or block(page, "completion").strip() in text


@pytest.mark.parametrize("page", DOCS, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)]+)\)", page.read_text("utf-8")):
        target, _, anchor = link.partition("#")
        if target.startswith("https://"):
            continue
        there = page.parent / target if target else page
        assert there.exists(), link
        if anchor:
            titles = re.findall(r"^#+ (.+)$", there.read_text("utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_the_settings_of_a_fleet_are_taken(tmp_path: Path) -> None:
    file = tmp_path / "guestpass.toml"
    file.write_text(block("shared-state.md", "fleet.toml"), "utf-8")
    assert load(file, {}).store.shared


def test_the_settings_of_a_pool_are_taken(tmp_path: Path) -> None:
    file = tmp_path / "guestpass.toml"
    file.write_text(block("shared-state.md", "pool.toml"), "utf-8")
    assert load(file, {}).pool.size == 50


def test_the_simulation_prints_what_is_shown() -> None:
    """With fewer guests, for the time that it takes; the rows are the same, if not their figures."""
    shown = block("capacity.md", "simulate")
    command, *lines = shown.splitlines()
    words = command.removeprefix("$ guestpass ").replace("100000", "1000").split()
    printed = CliRunner().invoke(guestpass, [*words, "--quiet"], env={}).stdout
    rows = [re.split(r"  +", line.strip())[0] for line in lines if re.search(r"\d  +\d|\d%  +\d", line)]
    assert len(rows) == 17
    for row in rows:
        assert row in printed


@pytest.fixture
def vendor(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The fake one, as the environment names it."""
    for name in [name for name in os.environ if name.startswith(("GUESTPASS_", "GENESYS_"))]:
        monkeypatch.delenv(name)
    with serving(FakeVendor()) as url:
        for name, value in {**VENDOR, "LOGIN_URL": url, "API_URL": url}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("GUESTPASS_ISSUER__GATEWAY", url)
        yield url


def app(name: str) -> ASGIApp:
    """What a block of migrating.md makes."""
    namespace: dict[str, Any] = {"__name__": "app"}
    exec(compile(block("migrating.md", name), name, "exec", dont_inherit=True), namespace)
    made: ASGIApp = namespace["app"]
    return made


@pytest.mark.usefixtures("vendor")
def test_the_token_route_answers_as_the_one_by_hand_did() -> None:
    answers = []
    for name in ("before.py", "step1.py"):
        with serving(app(name)) as url:
            answers.append(httpx.post(f"{url}/token", json=ADA, trust_env=False).json())
    before, after = answers
    assert before.keys() == {"token", "expires_at"}
    assert after.keys() == {"token", "expires_at", "expires_in", "rotated"}
    assert [type(after[name]) for name in before] == [type(value) for value in before.values()]


@pytest.mark.usefixtures("vendor")
def test_the_guarded_app_refuses_nobody_but_bad_tokens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = block("migrating.md", "guestpass.toml")
    (tmp_path / "guestpass.toml").write_text(rules, "utf-8")
    monkeypatch.setenv("GUESTPASS_CONFIG", str(tmp_path / "guestpass.toml"))
    with serving(app("step2.py")) as url, httpx.Client(base_url=url, trust_env=False) as client:
        token = client.post("/token", json=ADA).json()["token"]
        assert client.get("/hello").json() == "Hello, stranger."
        assert client.get("/hello", headers={"X-Guest-Token": token}).json() == "Hello, Ada."
        assert client.get("/hello", headers={"X-Guest-Token": token[:-8]}).status_code == 401
        # Step 3: without the second rule.
        first = "[[rules]]".join(rules.split("[[rules]]")[:2])
        (tmp_path / "guestpass.toml").write_text(first, "utf-8")
        with serving(app("step2.py")) as strict:
            assert httpx.get(f"{strict}/hello", trust_env=False).status_code == 401
            assert httpx.post(f"{strict}/token", json=ADA, trust_env=False).status_code == 200


def test_the_script_runs_and_its_exit_codes_are_those_of_the_table(vendor: str, tmp_path: Path) -> None:
    environ = {"PATH": PATH, **VENDOR, "GUESTPASS_ISSUER__GATEWAY": vendor}

    def run(script: str, **more: str) -> subprocess.CompletedProcess[str]:
        words = ("bash", "-euo", "pipefail", "-c", script)
        return subprocess.run(
            words, env=environ | more, cwd=tmp_path, check=False, capture_output=True, text=True, timeout=60
        )

    done = run(block("command-line.md", "script"))
    assert (done.returncode, "guests may be hurt" in done.stderr) == (0, False), done.stderr
    assert "genuine" in done.stdout
    assert run("guestpass doctor", GENESYS_CLIENT_SECRET="wrong").returncode == 1
    assert run("guestpass inspect - <<< e30.e30.e30").returncode == 1
    assert run("guestpass mint --name Ada").returncode == 2
    refused = run("guestpass check-config", GUESTPASS_SERVER__PORT="http")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert len(refused.stderr.splitlines()) == 2
    assert "\x1b[" not in done.stdout + refused.stderr
