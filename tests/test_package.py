"""The wheel: it builds, holds the package and nothing else, and works where it is installed."""

import os
import subprocess
import sys
from collections.abc import Mapping
from configparser import ConfigParser
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "middleware"


def run(*command: str, cwd: Path, env: Mapping[str, str] | None = None) -> str:
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, **(env or {})},
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built by the backend itself: without isolation, and so without a network."""
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder), cwd=ROOT)
    [built] = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def names(wheel: Path) -> set[str]:
    with ZipFile(wheel) as archive:
        return set(archive.namelist())


def metadata(wheel: Path, file: str) -> str:
    with ZipFile(wheel) as archive:
        [name] = [name for name in archive.namelist() if name.endswith(f".dist-info/{file}")]
        return archive.read(name).decode()


def test_every_file_of_the_package_is_in_the_wheel_and_no_other(names: set[str]) -> None:
    """Scripts for Redis and the browser are files beside the code, and are easily forgotten."""
    wanted = {
        str(path.relative_to(SOURCE))
        for path in (SOURCE / "guestpass").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {name for name in names if ".dist-info/" not in name} == wanted


def test_only_code_and_what_it_reads_is_in_the_package(names: set[str]) -> None:
    allowed = {".py", ".typed", ".lua", ".js", ".ts", ".html", ".css", ".svg"}
    strays = {name for name in names if ".dist-info/" not in name and not name.endswith(tuple(allowed))}
    assert not strays


def test_it_says_that_it_is_typed(names: set[str]) -> None:
    assert "guestpass/py.typed" in names


def test_it_brings_the_command_and_the_pytest_plugin(wheel: Path) -> None:
    entries = ConfigParser()
    entries.read_string(metadata(wheel, "entry_points.txt"))
    assert dict(entries["console_scripts"]) == {"guestpass": "guestpass.__main__:main"}
    assert dict(entries["pytest11"]) == {"guestpass": "guestpass.pytest_plugin"}


def test_it_brings_its_licence(wheel: Path) -> None:
    assert "MIT License" in metadata(wheel, "licenses/LICENSE")
    assert "License-Expression: MIT" in metadata(wheel, "METADATA")


def test_it_works_where_it_is_installed(wheel: Path, tmp_path: Path) -> None:
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-compile")
    run(*pip, "--target", str(tmp_path), str(wheel), cwd=tmp_path)
    code = "import guestpass as g; print(g.__file__); [getattr(g, name) for name in g.__all__]"
    # Before the editable install, which stands in site-packages.
    shown = run(sys.executable, "-c", code, cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)})
    assert shown.splitlines()[0] == str(tmp_path / "guestpass" / "__init__.py")
    version = run(
        sys.executable, "-m", "guestpass", "--version", cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)}
    )
    assert version.startswith("guestpass 0.")
