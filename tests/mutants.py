"""Weakens each rule of the core in turn and says which nobody notices: `python tests/mutants.py [MODULE...]`.

A mutant runs in a forked process that has every library loaded and imports guestpass anew, the one module
from memory: no file is written, and no bytecode is shared. Its judge is the unit test file of the same name.
"""

import argparse
import gc
import hashlib
import importlib
import importlib.abc
import importlib.machinery
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from types import CodeType, ModuleType

ROOT = Path(__file__).resolve().parent.parent
CORE = ROOT / "middleware" / "guestpass" / "core"
sys.path.insert(0, str(ROOT / "tests"))

import forge  # noqa: E402  the import below needs the path above
import pytest  # noqa: E402
from equivalent_mutants import EQUIVALENT  # noqa: E402
from mutation import Mutant, mutants_of  # noqa: E402

MODULES = ("jws", "jwk", "claims", "paths", "bearer", "inject", "forwarded", "hop_by_hop")
PATIENCE = 60
"""Seconds after which a mutant that does not come to an end counts as noticed."""


class Fate(Enum):
    """What became of a mutant."""

    KILLED = "killed"
    SURVIVED = "survived"
    EQUIVALENT = "equivalent"


@dataclass
class Report:
    """The mutants of one module by what became of them."""

    module: str
    fates: dict[str, Fate] = field(default_factory=dict)

    def count(self, fate: Fate) -> int:
        return list(self.fates.values()).count(fate)

    @property
    def survivors(self) -> list[str]:
        return [name for name, fate in self.fates.items() if fate is Fate.SURVIVED]


class _FromMemory(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Gives one module as the code of a mutant; every other comes from where it always does."""

    def __init__(self, name: str, code: CodeType, path: Path) -> None:
        self.name, self.code, self.path = name, code, path

    def find_spec(
        self, fullname: str, path: object, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != self.name:
            return None
        return importlib.machinery.ModuleSpec(fullname, self, origin=str(self.path))

    def exec_module(self, module: ModuleType) -> None:
        exec(self.code, module.__dict__)


def source_of(module: str) -> str:
    return (CORE / f"{module}.py").read_text("utf-8")


def all_mutants(module: str) -> list[Mutant]:
    return list(mutants_of(source_of(module), str(CORE / f"{module}.py")))


def sample_of(module: str, most: int) -> list[Mutant]:
    """The same few each time, spread over the module: those whose names have the least digests."""
    found = [mutant for mutant in all_mutants(module) if mutant.name not in EQUIVALENT.get(module, {})]
    return sorted(found, key=lambda mutant: hashlib.sha256(mutant.name.encode()).digest())[:most]


def judge(module: str, mutants: Sequence[Mutant], *, jobs: int) -> Report:
    """Run the module's unit tests on each mutant, `jobs` at once."""
    report, waiting, running = Report(module), list(mutants), dict[int, Mutant]()
    while waiting or running:
        while waiting and len(running) < jobs:
            mutant = waiting.pop(0)
            if mutant.name in EQUIVALENT.get(module, {}):
                report.fates[mutant.name] = Fate.EQUIVALENT
            else:
                running[_start(module, mutant.code)] = mutant
        if running:
            process, status = os.wait()
            # A signal: it hung or crashed. An exit code other than 0: a test noticed.
            report.fates[running.pop(process).name] = Fate.SURVIVED if status == 0 else Fate.KILLED
    return report


def passes_unharmed(module: str) -> bool:
    """Whether the tests pass on the module as it is; if not, they would notice anything."""
    code = compile(source_of(module), str(CORE / f"{module}.py"), "exec")
    return os.waitpid(_start(module, code), 0)[1] == 0


def _start(module: str, code: CodeType) -> int:
    """Fork a process that runs the tests against `code`; its id."""
    process = os.fork()
    if process:
        return process
    signal.alarm(PATIENCE)
    failed = 1
    try:
        for name in [name for name in sys.modules if name.partition(".")[0] == "guestpass"]:
            del sys.modules[name]
        sys.meta_path.insert(0, _FromMemory(f"guestpass.core.{module}", code, CORE / f"{module}.py"))
        # Now, as pytest will put a finder of its own before ours.
        importlib.import_module(f"guestpass.core.{module}")
        options = ("-x", "-q", "--hypothesis-profile=mutants", "-Wignore::pytest.PytestAssertRewriteWarning")
        with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
            failed = pytest.main([*options, str(ROOT / "tests" / "unit" / f"test_{module}.py")])
    finally:
        os._exit(int(failed))


def _warm() -> None:
    """Load what every child needs, and make the keys that take longest, before there are children."""
    import guestpass.gate  # noqa: PLC0415
    import guestpass.pytest_plugin  # noqa: F401, PLC0415

    for kid, bits in (("rsa", 2048), ("stranger", 2048), ("second", 2048), ("odd", 2052), ("weak", 1024)):
        forge.rsa_key(kid) if bits == 2048 else forge.rsa_key(kid, bits)
    gc.collect()
    gc.freeze()


def reports(modules: Sequence[str], *, most: int | None, jobs: int) -> Iterator[Report]:
    _warm()
    for module in modules:
        assert passes_unharmed(module), f"the tests of {module} fail on {module} as it is"
        mutants = all_mutants(module) if most is None else sample_of(module, most)
        yield judge(module, mutants, jobs=jobs)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("modules", nargs="*", default=MODULES, metavar="MODULE", help=", ".join(MODULES))
    parser.add_argument("--sample", type=int, metavar="N", help="only N of each module, the same each time")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    chosen = parser.parse_args()
    os.chdir(ROOT)
    survived = 0
    print(f"{'module':<12}{'mutants':>8}{'killed':>8}{'survived':>10}{'equivalent':>12}{'seconds':>9}")
    began = time.monotonic()
    for report in reports(chosen.modules, most=chosen.sample, jobs=chosen.jobs):
        counts = [report.count(fate) for fate in Fate]
        seconds, began = time.monotonic() - began, time.monotonic()
        print(
            f"{report.module:<12}{sum(counts):>8}{counts[0]:>8}{counts[1]:>10}{counts[2]:>12}{seconds:>9.0f}"
        )
        for name in report.survivors:
            print(f"  survived  {name}")
        sys.stdout.flush()
        survived += counts[1]
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main())
