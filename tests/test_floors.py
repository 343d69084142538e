"""Dependency floors: no release with a known advisory can be installed, and none is."""

import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

PYPROJECT = Path(__file__).parent.parent / "pyproject.toml"

# The first release without the advisory.
SAFE = [
    ("starlette", "1.0.1", "CVE-2026-48710: Host taken for a path"),
    ("h11", "0.16.0", "CVE-2025-43859: lenient chunk ends, request smuggling"),
    ("jwcrypto", "1.5.8", "CVE-2024-28102, CVE-2022-3102: unbounded decompression, type confusion"),
    ("redis", "4.5.5", "CVE-2023-28858, -28859: one user's answer for another after a cancel"),
    ("cryptography", "44.0.1", "CVE-2024-12797: OpenSSL in the wheels"),
    ("httpx", "0.23.0", "CVE-2021-41945: URLs read in two ways"),
    ("uvicorn", "0.11.7", "CVE-2020-7694, -7695: log and response splitting"),
    ("websockets", "9.1", "CVE-2021-33880: timing of a password"),
]

# Brought along by the above: not ours to declare, but what runs here must be safe too.
SAFE_INSTALLED = [
    ("idna", "3.7", "CVE-2024-3651: quadratic time"),
    ("certifi", "2024.7.4", "CVE-2024-39689: a distrusted root"),
    ("pydantic", "2.4.0", "CVE-2024-3772: quadratic e-mail pattern"),
]


def declared() -> list[Requirement]:
    project = tomllib.loads(PYPROJECT.read_text("utf-8"))["project"]
    extras = project["optional-dependencies"].values()
    lines = [*project["dependencies"], *(line for extra in extras for line in extra)]
    return [requirement for requirement in map(Requirement, lines) if requirement.name != "guestpass"]


@pytest.mark.parametrize(("name", "safe", "advisory"), SAFE)
def test_the_declared_floor_excludes_the_advisory(name: str, safe: str, advisory: str) -> None:
    found = [requirement for requirement in declared() if requirement.name == name]
    assert found, f"{name} is no dependency any more"
    for requirement in found:
        floors = [Version(s.version) for s in requirement.specifier if s.operator in (">=", "==", "~=")]
        assert floors, f"{requirement} has no floor"
        assert max(floors) >= Version(safe), advisory


@pytest.mark.parametrize(("name", "safe", "advisory"), [*SAFE, *SAFE_INSTALLED])
def test_the_installed_release_is_without_the_advisory(name: str, safe: str, advisory: str) -> None:
    assert Version(version(name)) >= Version(safe), advisory


@pytest.mark.parametrize("requirement", declared(), ids=str)
def test_what_is_installed_is_what_is_declared(requirement: Requirement) -> None:
    """The suite speaks for the declared range only if it runs inside it."""
    try:
        installed = version(requirement.name)
    except PackageNotFoundError:
        # A marker may exclude it here, such as an operating system.
        assert requirement.marker is not None
        assert not requirement.marker.evaluate()
    else:
        assert installed in requirement.specifier


@pytest.mark.parametrize("requirement", declared(), ids=str)
def test_every_dependency_has_a_floor_and_no_cap(requirement: Requirement) -> None:
    """A cap makes a library uninstallable beside others; a known fault of a release is excluded by name."""
    assert {specifier.operator for specifier in requirement.specifier} <= {">=", "!="}
    assert any(specifier.operator == ">=" for specifier in requirement.specifier)
