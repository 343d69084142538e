"""What does a question to guestpass cost behind each proxy? Against an nginx that asks nobody, in one run.

The proxy and guestpass share one core; wrk and the backend share the other. The files are those of
examples/forward-auth. Takes a minute with the defaults; a proxy that is not installed is left out.
"""

import getpass
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from _load import (
    LOAD_CORE,
    SERVER_CORE,
    Figures,
    free_port,
    guests,
    load,
    middle,
    options,
    preamble,
    require_wrk,
    row,
    running,
)

RECIPES = Path(__file__).parent.parent / "examples" / "forward-auth"
NGINX = ("nginx", "-p", "{here}", "-c", "nginx.conf", "-g", f"user {getpass.getuser()}; master_process off;")


def without(*starts: str) -> Callable[[str], str]:
    """Leave out the lines that start so."""
    return lambda text: "\n".join(line for line in text.split("\n") if not line.strip().startswith(starts))


@dataclass(frozen=True)
class Side:
    """A recipe, the command that starts it, and what is changed in its files."""

    recipe: str
    command: Sequence[str]
    change: Callable[[str], str] = str


BASELINE = "nginx, which asks nobody"
SIDES = {
    BASELINE: Side("nginx", NGINX, without("auth_request ")),
    "nginx, decisions cached": Side("nginx", NGINX),
    "nginx, every request asks": Side("nginx", NGINX, without("proxy_cache ", "proxy_cache_")),
    "HAProxy": Side("haproxy", ("haproxy", "-db", "-f", "{here}/haproxy.cfg")),
    "Envoy": Side("envoy", ("envoy", "-c", "{here}/envoy.yaml", "--concurrency", "1", "-l", "error")),
    "Caddy": Side("caddy", ("caddy", "run", "--config", "{here}/Caddyfile")),
    "Traefik": Side("traefik", ("traefik", "--configFile={here}/traefik.yml", "--log.level=FATAL")),
}


def program(name: str) -> str | None:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"], "/usr/sbin"])
    return shutil.which(name, path=path)


def lay_out(side: Side, here: Path, ports: Mapping[str, int]) -> None:
    for file in (RECIPES / side.recipe).iterdir():
        text = side.change(file.read_text())
        for known, free in ports.items():
            text = text.replace(f"127.0.0.1:{known}", f"127.0.0.1:{free}")
            text = text.replace(f"port_value: {known}", f"port_value: {free}")
        # So that paths in a file are found from any working folder.
        text = text.replace("lua-load ", f"lua-load {here}/").replace("filename: ", f"filename: {here}/")
        (here / file.name).write_text(text)


def main() -> None:
    arguments = options(__doc__, seconds=3, rounds=2).parse_args()
    require_wrk()
    preamble("guestpass", "uvicorn", "uvloop", "httptools")
    with guests() as crowd:
        folder, script = crowd.folder, crowd.script()
        env = {
            "GENESYS_CLIENT_ID": "nobody",
            "GENESYS_CLIENT_SECRET": "nothing",
            "GENESYS_ENVIRONMENT": "mypurecloud.com",
            "GUESTPASS_VERIFY__JWKS_FILE": str(crowd.jwks),
            "GUESTPASS_SERVER__LOG_LEVEL": "error",
        }
        site, guestpass, behind = free_port(), free_port(), free_port()
        ports = {"8000": site, "8080": guestpass, "9000": behind}
        asked = [sys.executable, "-m", "guestpass", "forward-auth", "--port", str(guestpass)]
        backend = [sys.executable, "_raw_backend.py", str(behind)]
        with running(backend, behind, core=LOAD_CORE), running(asked, guestpass, core=SERVER_CORE, env=env):
            runs: dict[str, list[Figures]] = {}
            for _ in range(arguments.rounds):
                for title, side in SIDES.items():
                    found = program(side.command[0])
                    if found is None:
                        print(f"  {title}: not installed")
                        continue
                    here = Path(tempfile.mkdtemp(dir=folder))
                    lay_out(side, here, ports)
                    words = [word.replace("{here}", str(here)) for word in side.command[1:]]
                    with running([found, *words], site, core=SERVER_CORE) as pid:
                        time.sleep(0.5)  # some listen before they know their routes
                        figures = load(
                            f"http://127.0.0.1:{site}/chat",
                            pid,
                            connections=32,
                            seconds=arguments.seconds,
                            script=script,
                        )
                    runs.setdefault(title, []).append(figures)
    for title, figures in ((title, middle(each)) for title, each in runs.items()):
        print(row(title, figures, middle(runs[BASELINE])))
    print("\n  cpu is the proxy's own, without guestpass's")


if __name__ == "__main__":
    main()
