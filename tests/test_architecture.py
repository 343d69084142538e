"""Who may import whom: every import of the package, wherever it stands, points the right way."""

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "middleware"
PACKAGE = SOURCE / "guestpass"

GATE_ROOM = {
    "admission", "gate", "metering", "refusals", "rotation", "exchange", "backoff",
    "entries", "verifier", "verified", "revocation",
    "prefetch", "assertions",
    "budget", "minting", "pool", "ports",
    "recorded", "sessions", "traced_gate",
}  # fmt: skip
BASE = {"errors", "core"}

# What each room may import of ours; a room may always import itself.
OURS: dict[str, set[str]] = {
    "errors": set(),
    "core": {"errors"},
    "events": {"errors"},
    "metrics": set(),
    "spans": BASE,
    "gate room": BASE | {"events", "metrics", "spans"},
    "adapters": BASE | {"events", "metrics", "ports", "spans"},
    "upstream": BASE | {"metrics"},
    "asgi": BASE | {"events", "metrics", "ports", "gate room", "spans"},
    "config": BASE,
    "fake_vendor": BASE,
    "simulation": BASE,
    "logs": set(),
    "demo": {"*"},
    "doctor": {"*"},
    "testing": {"*"},
    "wiring": {"*"},
    "monitoring": {"*"},
    "cli": {"*"},
    "public": {"*"},
}

# What each room may import of others; the standard library is free but for FORBIDDEN.
THEIRS: dict[str, set[str]] = {
    "errors": set(),
    "core": set(),
    "events": set(),
    "metrics": set(),
    "spans": {"opentelemetry"},
    "gate room": {"anyio"},
    "adapters": {"anyio"},
    "upstream": {"httptools", "websockets"},
    "asgi": {"anyio", "starlette"},
    "config": {"pydantic", "pydantic_settings"},
    "simulation": set(),
    "fake_vendor": {"starlette", "jwcrypto", "cryptography", "anyio"},
    "logs": set(),
    "demo": {"*"},
    "doctor": {"*"},
    "testing": {"*"},
    "wiring": {"*"},
    "monitoring": {"*"},
    "cli": {"*"},
    "public": set(),
}

# One third-party library per adapter, so that a change in it is felt in one file; and what a single module of
# another room has beyond its room.
LIBRARIES: dict[str, set[str]] = {
    "adapters.http_client": {"httpx"},
    "adapters.issuers.http_client": {"httpx"},
    "adapters.jwks_endpoint": {"httpx"},
    "adapters.remote_jwks": {"httpx"},
    "adapters.issuers.local": {"jwcrypto"},
    "adapters.issuers.local_keys": {"jwcrypto"},
    "adapters.issuers.signing_key": {"jwcrypto"},
    "adapters.prometheus": {"prometheus_client"},
    "adapters.ratelimit": {"limits"},
    "adapters.redis_client": {"redis"},
    "adapters.redis_link": {"redis"},
    "adapters.sealing": {"jwcrypto", "cryptography"},
    "core.jws": {"jwcrypto"},
    "core.jwk": {"jwcrypto"},
    "fake_vendor.serving": {"uvicorn"},
    "fastapi": {"fastapi"},
}

# An adapter stands alone, but for the parts that two of them share.
SHARED_LEAVES = {
    "adapters.aging",
    "adapters.http_client",
    "adapters.jwks_endpoint",
    "adapters.jwks_document",
    "adapters.sealing",
    "adapters.breaker",
    "adapters.patience",
    "adapters.single_flight",
    "adapters.redis_client",
    "adapters.redis_link",
}

FORBIDDEN: dict[str, set[str]] = {
    "core": {"time", "os", "logging", "asyncio", "random", "secrets", "socket", "threading"},
    "errors": {"time", "os", "logging", "asyncio", "random"},
    "gate room": {"os", "asyncio", "time"},
    "adapters": {"asyncio"},
    "asgi": {"os", "asyncio", "time"},
    "config": {"asyncio", "time", "logging"},
    "simulation": {"time", "os", "logging", "asyncio", "secrets"},
}

# The exceptions, each with its reason.
EXCEPTIONS = {
    ("gate", "wiring"): "Gate.from_env builds itself from the environment; imported inside the method",
    ("asgi.proxy", "upstream"): "the reverse proxy is the shell over the client side",
    ("asgi.routes", "upstream"): "several of them as one, and what each has to show for it",
    ("asgi.proxy", "asyncio"): "the client side is asyncio only, and so is what drives it",
    ("adapters.patience", "asyncio"): "it counts turns of the loop; used by what is asyncio only",
    ("adapters.redis_link", "asyncio"): "redis-py is asyncio only; elsewhere it says so in plain words",
}

AGREED = {
    ".ci", ".gitattributes", ".gitignore", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "Makefile",
    "README.md", "SECURITY.md",
    "benchmarks", "docs", "examples", "middleware", "pyproject.toml", "scripts", "tests",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Import:
    """One import: by which module, of what, on which line."""

    module: str
    target: str
    line: int

    def __str__(self) -> str:
        return f"{self.module}:{self.line} imports {self.target}"


@cache
def modules() -> dict[str, ast.Module]:
    """Every module of the package by its name below `guestpass`, parsed."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = ast.parse(path.read_text("utf-8"))
    return found


def room(module: str) -> str:
    """The room of a module, given by its name below `guestpass`."""
    top = module.partition(".")[0]
    if module in ("", "__main__"):
        return "public" if not module else "cli"
    if top == "fastapi":  # a shell, under the name that its users look for
        return "asgi"
    if top in ("testing", "pytest_plugin"):
        return "testing"
    return "gate room" if top in GATE_ROOM else top


def imports(module: str, tree: ast.Module | None = None) -> Iterator[Import]:
    """Every import in a module, at any depth, with relative names made absolute."""
    is_package = not module or (PACKAGE / Path(*module.split("."))).is_dir()
    for node in ast.walk(tree or modules()[module]):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(module, alias.name, node.lineno)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                here = ["guestpass", *(module.split(".") if module else [])]
                up = here[: len(here) - node.level + (1 if is_package else 0)]
                base = ".".join([*up, *filter(None, [base])])
            for alias in node.names:
                # `from guestpass.core import jws` names a module; `from x import y` mostly does not.
                deeper = f"{base}.{alias.name}".removeprefix("guestpass.")
                yield Import(module, f"guestpass.{deeper}" if deeper in modules() else base, node.lineno)


def ours(module: str) -> Iterator[tuple[Import, str]]:
    """Imports of the package's own modules, with the target's name below `guestpass`."""
    for found in imports(module):
        if found.target == "guestpass" or found.target.startswith("guestpass."):
            yield found, found.target.removeprefix("guestpass").removeprefix(".")


def theirs(module: str) -> Iterator[tuple[Import, str]]:
    """Imports of other packages, with the name of the distribution's top module."""
    for found in imports(module):
        top = found.target.partition(".")[0]
        if top != "guestpass":
            yield found, top


NAMES = sorted(modules())


def test_an_import_is_seen_wherever_it_stands() -> None:
    """What the rules below rest on: a cycle is often hidden in a function, or in dots."""
    tree = ast.parse("""
import guestpass.wiring
from guestpass import gate
from guestpass.core.model import Policy
def late():
    from ..asgi import middleware
    if True:
        from . import jws
        from .model import Claims
        import os.path as anything
""")
    assert [found.target for found in imports("core.sample", tree)] == [
        "guestpass.wiring",
        "guestpass.gate",
        "guestpass.core.model",
        "guestpass.asgi.middleware",
        "guestpass.core.jws",
        "guestpass.core.model",
        "os.path",
    ]


def test_no_exception_is_left_over() -> None:
    """An exception that nothing needs any more is a hole."""
    needed = {(module, room(target)) for module in NAMES for _, target in ours(module)}
    needed |= {(module, top) for module in NAMES for _, top in theirs(module)}
    assert EXCEPTIONS.keys() <= needed


@pytest.mark.parametrize("module", NAMES)
def test_every_module_lives_in_a_known_room(module: str) -> None:
    assert room(module) in OURS


@pytest.mark.parametrize("module", NAMES)
def test_imports_of_our_own_point_the_right_way(module: str) -> None:
    mine = room(module)
    wrong = [
        str(found)
        for found, target in ours(module)
        if room(target) not in {mine, *OURS[mine]}
        and target not in OURS[mine]
        and "*" not in OURS[mine]
        and (module, room(target)) not in EXCEPTIONS
    ]
    assert not wrong


@pytest.mark.parametrize("module", NAMES)
def test_imports_of_others_are_those_of_the_room(module: str) -> None:
    allowed = THEIRS[room(module)] | LIBRARIES.get(module, set())
    wrong = [
        str(found)
        for found, top in theirs(module)
        if top not in sys.stdlib_module_names and top not in allowed and "*" not in allowed
    ]
    assert not wrong


@pytest.mark.parametrize("module", NAMES)
def test_no_room_imports_what_would_let_the_world_in(module: str) -> None:
    forbidden = FORBIDDEN.get(room(module), set())
    assert not [str(f) for f, top in theirs(module) if top in forbidden and (module, top) not in EXCEPTIONS]


@pytest.mark.parametrize("module", [name for name in NAMES if room(name) == "adapters"])
def test_an_adapter_imports_no_other_adapter(module: str) -> None:
    siblings = "adapters.issuers." if module.startswith("adapters.issuers.") else module
    wrong = [
        str(found)
        for found, target in ours(module)
        if room(target) == "adapters" and target not in SHARED_LEAVES and not target.startswith(siblings)
    ]
    assert not wrong


def test_the_composition_root_is_imported_inside_functions_only_where_it_is_below() -> None:
    """`Gate.from_env` may reach up, but importing `guestpass.gate` must not."""
    top_level = [
        node
        for node in modules()["gate"].body
        if isinstance(node, ast.ImportFrom) and node.module == "guestpass.wiring.gates"
    ]
    assert not top_level


@pytest.mark.parametrize("module", [name for name in NAMES if room(name) in ("core", "errors")])
def test_the_core_is_pure(module: str) -> None:
    """No await, and no clock: time is a value that comes in."""
    asynchronous = (ast.AsyncFunctionDef, ast.Await, ast.AsyncFor, ast.AsyncWith)
    clocks = {"now", "utcnow", "today", "monotonic", "perf_counter"}
    impure = [
        f"{module}:{node.lineno}"
        for node in ast.walk(modules()[module])
        if isinstance(node, asynchronous)
        or (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in clocks)
    ]
    assert not impure


@pytest.mark.parametrize("module", NAMES)
def test_every_module_names_its_job(module: str) -> None:
    assert ast.get_docstring(modules()[module])


@pytest.mark.parametrize("module", [name for name in NAMES if room(name) != "cli"])
def test_only_the_command_line_prints(module: str) -> None:
    calls = [node for node in ast.walk(modules()[module]) if isinstance(node, ast.Call)]
    assert not [c.lineno for c in calls if isinstance(c.func, ast.Name) and c.func.id == "print"]


def test_the_source_root_holds_the_package_alone() -> None:
    assert [path.name for path in SOURCE.iterdir() if path.name != "__pycache__"] == ["guestpass"]


def test_the_top_level_holds_only_what_was_agreed() -> None:
    """What git ignores (environments, caches) may lie about; anything else has a place of its own."""
    ignored = {line.strip().rstrip("/") for line in (ROOT / ".gitignore").read_text("utf-8").splitlines()}
    present = {
        path.name
        for path in ROOT.iterdir()
        if path.name != ".git" and not any(path.match(pattern) for pattern in ignored if pattern)
    }
    assert present <= AGREED
