"""Fuzzes every parser by coverage where atheris is installed: `python tests/fuzz.py [SECONDS [PARSER...]]`.

What breaks a law goes to `tests/corpus/`, from where every test run tries it: commit the file. atheris is no
dependency, as it has no wheel for every Python: `make fuzz` leaves this out where it is missing.
"""

import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).resolve().parent))

import atheris

with atheris.instrument_imports(include=["guestpass"]):
    from parsers import CORPUS, PARSERS, keep

SECONDS = 30
MOST = 20_000
"""Bytes of an input: more than a token or a body may have."""


def fuzz(name: str, *options: str) -> None:
    """Fuzz one parser in this process, which ends with it."""

    def run(octets: bytes) -> None:
        try:
            PARSERS[name](octets)
        except Exception:
            keep(name, octets)
            raise

    atheris.Setup([sys.argv[0], *options], run)
    atheris.Fuzz()


def main(seconds: int, names: list[str]) -> int:
    """Fuzz each parser in a process of its own; how many of them broke."""
    broken = 0
    for name in names:
        with TemporaryDirectory() as found:
            # New inputs of interest are the machine's; only what breaks a law is kept.
            options = [found, str(CORPUS / name), f"-max_total_time={seconds}", f"-max_len={MOST}"]
            options.append(f"-artifact_prefix={found}/")
            print(f"== {name}", flush=True)
            broken += (
                subprocess.run([sys.executable, __file__, "-", name, *options], check=False).returncode != 0
            )
    return broken


if __name__ == "__main__":
    if sys.argv[1:2] == ["-"]:
        fuzz(*sys.argv[2:])
    else:
        sys.exit(main(int(sys.argv[1]) if sys.argv[1:] else SECONDS, sys.argv[2:] or list(PARSERS)))
