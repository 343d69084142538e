"""Starts the command line, or says which extra it needs: `guestpass` and `python -m guestpass`."""

import io
import sys


def main() -> None:
    """Run the command that the process's arguments name."""
    try:
        from guestpass.cli.app import guestpass  # noqa: PLC0415  its libraries are an extra
    except ModuleNotFoundError as exc:
        if exc.name != "click":
            raise
        sys.stderr.write('guestpass: the command line needs an extra: pip install "guestpass[server]"\n')
        sys.exit(2)
    for stream in (sys.stdout, sys.stderr):  # None where they are closed
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a curve or a tick that a Latin-1 terminal lacks
    guestpass(prog_name="guestpass")


if __name__ == "__main__":
    main()
