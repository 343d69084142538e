"""README.md runs as written: its commands, its app, its table of settings and its links."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from running import GUESTPASS, ROOT, VENDOR, running

from guestpass.config import describe

README = (ROOT / "README.md").read_text("utf-8")
BLOCKS = dict(re.findall(r"<!-- run: (\S+) -->\n```\w+\n(.*?)```", README, re.DOTALL))
# As a reader has it who installed the package: `guestpass` is a command.
PATH = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"


def commands(name: str) -> list[str]:
    return [line.partition("  #")[0].strip() for line in BLOCKS[name].splitlines()]


def test_every_block_of_code_is_marked_and_so_tested() -> None:
    assert README.count("```") == 2 * len(BLOCKS)
    assert BLOCKS.keys() == {"make", "app.py", "vendor", "backend", "serve", "ask"}


@pytest.mark.parametrize("command", commands("make"))
def test_the_two_commands_are_targets_of_the_makefile(command: str) -> None:
    done = subprocess.run(
        [*command.split(), "--dry-run"], cwd=ROOT, check=False, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr


def test_make_demo_once_ends_after_the_story() -> None:
    """In the environment that runs this test, which is up to date by being the one that does."""
    assert "`make demo ARGS=--once`" in README
    venv = sys.prefix
    made = ("make", f"VENV={venv}", f"--old-file={venv}/.installed", "demo", "ARGS=--once")
    with running(*made) as demo:
        assert demo.wait() == 0, "\n".join(demo.lines)
    assert "Every step went as told." in demo.lines


def test_the_app_runs_and_knows_its_guest(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(BLOCKS["app.py"], "utf-8")
    uvicorn = (sys.executable, "-m", "uvicorn", "app:app", "--port", "0")
    with running(*GUESTPASS, "fake-vendor", "--port", "0") as vendor:
        env = {**VENDOR, "GUESTPASS_ISSUER__GATEWAY": vendor.url()}
        with running(*uvicorn, cwd=tmp_path, env=env) as app:
            url = app.url("running on")
            assert httpx.get(f"{url}/hello", trust_env=False).status_code == 401
            visitor = {"name": "Ada", "email": "ada@example.org"}
            token = httpx.post(f"{url}/guestpass/token", json=visitor, trust_env=False).json()["token"]
            answer = httpx.get(f"{url}/hello", headers={"X-Guest-Token": token}, trust_env=False)
    assert answer.json() == "Hello, Ada."


def test_the_proxy_runs_before_a_legacy_backend(tmp_path: Path) -> None:
    """As written but for the ports, which others may be using."""
    [vendor_command] = commands("vendor")
    serve = re.sub(r"^guestpass", "exec guestpass", BLOCKS["serve"], flags=re.MULTILINE)
    [backend_command] = commands("backend")
    with (
        running(*vendor_command.split(), "--port", "0", env={"PATH": PATH}) as vendor,
        running(*backend_command.split(), "0") as backend,
    ):
        for written, real in (
            ("http://127.0.0.1:9100", vendor.url()),
            ("http://127.0.0.1:9000", backend.url()),
        ):
            assert written in serve
            serve = serve.replace(written, real)
        # What the vendor prints to export is what the README says to export; this line comes last.
        vendor.said("GUESTPASS_ISSUER__GATEWAY")
        exports = [line for line in vendor.lines if line.startswith("export ")]
        assert exports == [line for line in serve.splitlines() if line.startswith("export ")]
        env = {"PATH": PATH, "GUESTPASS_SERVER__PORT": "0"}
        with running("bash", "-euc", serve, env=env) as proxy:
            ask = BLOCKS["ask"].replace("http://127.0.0.1:8080", proxy.url())
            with running("bash", "-euo", "pipefail", "-c", ask, cwd=tmp_path) as asked:
                assert asked.wait() == 0, "\n".join(asked.lines)
    said = "\n".join(asked.lines)
    assert "HTTP/1.1 200 OK" in said
    assert "Hello, Ada." in said


def test_the_settings_are_those_of_the_reference() -> None:
    rows = re.findall(r"^\| `(\w+)\.(\w+)` \| `(\w+)` \| (?:`(.*?)`)? ?\|", README, re.MULTILINE)
    assert len(rows) == 12
    known = {(setting.section, setting.name): setting for setting in describe()}
    for section, name, variable, default in rows:
        assert (section, name) in known
        assert variable in {f"GUESTPASS_{section}__{name}".upper(), f"GENESYS_{name}".upper()}
        assert default in {"", known[section, name].default.strip('"')}


def test_every_link_leads_somewhere() -> None:
    links = re.findall(r"\]\(([^)]+)\)", README)
    assert links
    for link in links:
        assert (ROOT / link).exists(), link


def test_the_programs_that_these_tests_start_are_there() -> None:
    """`scripts/system-packages` installs them; without them the commands above would fail obscurely."""
    assert [name for name in ("bash", "curl", "make", "sed", "tee") if shutil.which(name) is None] == []
