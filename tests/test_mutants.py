"""The tests of the core notice when a rule is weakened; `python tests/mutants.py` weakens every one."""

import subprocess
import sys

import pytest
from equivalent_mutants import EQUIVALENT
from mutants import MODULES, ROOT, all_mutants
from mutation import mutants_of

SAMPLE = 1
"""Mutants of each module that every run looks at: the same ones, until a name changes."""


@pytest.mark.slow
def test_a_sample_of_weakened_rules_is_noticed() -> None:
    """As a program of its own, as it forks: a measured or threaded process is no good parent."""
    command = [sys.executable, str(ROOT / "tests" / "mutants.py"), "--sample", str(SAMPLE), "--jobs", "2"]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(done.stdout.splitlines()) == 1 + len(MODULES)


@pytest.mark.parametrize("module", MODULES)
def test_every_mutant_that_is_called_equivalent_still_exists(module: str) -> None:
    names = {mutant.name for mutant in all_mutants(module)}
    assert set(EQUIVALENT.get(module, {})) - names == set()
    assert len(names) > 80, "rules that nobody weakens are rules that nobody tests"


@pytest.mark.parametrize(
    ("source", "weakened"),
    [
        ("a < b", {"a < b -> a <= b", "a < b -> a >= b"}),
        ("x = not a", {"not a -> a"}),
        ("x = a and b", {"a and b -> a or b", "a left out", "b left out"}),
        ("if a:\n    raise X", {"if a -> if False", "if a -> if True", "raise X -> pass"}),
        ("x = frozenset({'ab', 'cd'})", {"'ab' left out", "'cd' left out"}),
        ("x = y[:3]", {"3 -> 2", "3 -> 4", "y[:3] -> y"}),
        ("x = p.fullmatch(y)", {"p.fullmatch -> p.match"}),
        ("x = r'[a-f]+'", {"'[a-f]+' -> '[a-f]'"}),
    ],
)
def test_a_rule_is_weakened_in_each_of_these_ways(source: str, weakened: set[str]) -> None:
    found = {mutant.name.partition(": ")[2] for mutant in mutants_of(source, "source")}
    assert weakened <= found


def test_neither_a_message_nor_a_docstring_nor_an_annotation_is_a_rule() -> None:
    source = '"""Prose."""\nx: "int"\ndef f(a: 1) -> 2:\n    """Prose."""\n'
    assert list(mutants_of(source, "source")) == []
    assert [m.name for m in mutants_of("raise X('message', 5)", "source")] == [
        "module: raise X('message', 5) -> pass"
    ]
