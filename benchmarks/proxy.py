"""What does a guarded hop cost? guestpass beside the proxies that people run, on one core, in one run.

Every side forwards to the same nginx, which shares the other core with wrk. `haproxy-jwt` and `node` verify
each token, guestpass each that it does not know yet; the rest verify nothing. A side that is not installed is
left out, with a sentence. The defaults take a quarter of an hour; a minute is enough for this:

    python benchmarks/proxy.py --sides nginx,haproxy-jwt,guestpass --cases 32/small/repeated
"""

import getpass
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from _load import (
    LOAD_CORE,
    SERVER_CORE,
    Figures,
    Guests,
    free_port,
    guests,
    load,
    middle,
    options,
    preamble,
    require_wrk,
    row,
    running,
    uvicorn,
)

HERE = Path(__file__).parent
BASELINE = "nginx"
LARGE = 65_536
COUNTS = {"repeated": 100, "distinct": 10_000}
WARMING = 2  # seconds, in which every one of the tokens is verified
CASES = "32/small/repeated,256/small/repeated,32/large/repeated,256/large/repeated,32/small/distinct"

NGINX = """
daemon off; master_process off; worker_processes 1; pid {folder}/{name}.pid; error_log stderr crit;
events {{ worker_connections 4096; }}
http {{
  access_log off; keepalive_requests 1000000000; client_body_temp_path {folder}/{name}-body;
  proxy_temp_path {folder}/{name}-proxy; fastcgi_temp_path {folder}/{name}-fastcgi;
  uwsgi_temp_path {folder}/{name}-uwsgi; scgi_temp_path {folder}/{name}-scgi;
  {http}
}}
"""
BACKEND = """
  default_type application/json; sendfile on;
  server {{
    listen 127.0.0.1:{port} backlog=2048;
    location = /small {{ return 200 '{{"id":12345,"text":"{text}"}}'; }}
    location = /large {{ root {folder}; }}
  }}
"""
PROXY = """
  upstream backend {{ server 127.0.0.1:{behind}; keepalive 256; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=2048;
    location / {{ proxy_pass http://backend; proxy_http_version 1.1; proxy_set_header Connection ""; }}
  }}
"""
HAPROXY = """
global
  nbthread 1
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  http-reuse always
frontend in
  bind 127.0.0.1:{port} backlog 2048
  {guard}
  default_backend out
backend out
  server one 127.0.0.1:{behind} pool-max-conn 256
"""
GUARD = """
  http-request set-var(txn.token) req.hdr(x-guest-token)
  http-request deny deny_status 401 unless {{ var(txn.token),jwt_header_query('$.alg') -m str RS256 }}
  http-request set-var(txn.genuine) var(txn.token),jwt_verify("RS256","{folder}/key.pem")
  http-request deny deny_status 401 unless {{ var(txn.genuine) -m int 1 }}
  http-request set-var(txn.exp) var(txn.token),jwt_payload_query('$.exp','int')
  http-request set-var(txn.now) date()
  http-request deny deny_status 401 if {{ var(txn.exp),sub(txn.now) -m int lt 0 }}
"""


@dataclass(frozen=True)
class Site:
    """Where everything is: the guests' keys and tokens, and the port of the backend."""

    crowd: Guests
    behind: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.behind}"

    def environ(self) -> dict[str, str]:
        return {
            "BENCH_BACKEND": self.url,
            "GENESYS_CLIENT_ID": "nobody",
            "GENESYS_CLIENT_SECRET": "nothing",
            "GENESYS_ENVIRONMENT": "mypurecloud.com",
            "GUESTPASS_VERIFY__JWKS_FILE": str(self.crowd.jwks),
            "GUESTPASS_SERVER__LOG_LEVEL": "error",
        }


class Missing(Exception):  # noqa: N818  nobody is at fault
    """A side cannot run here; its text says why."""


def program(name: str) -> str:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"], "/usr/sbin"])
    found = shutil.which(name, path=path)
    if found is None:
        raise Missing(f"{name} is not installed")
    return found


def nginx(site: Site, port: int, *, name: str = "nginx", http: str = PROXY) -> list[str]:
    folder = site.crowd.folder
    inside = http.format(port=port, behind=site.behind, folder=folder, text="a" * 160)
    file = folder / f"{name}.conf"
    file.write_text(NGINX.format(folder=folder, name=name, http=inside))
    return [program("nginx"), "-p", str(folder), "-c", str(file), "-g", f"user {getpass.getuser()};"]


def haproxy(site: Site, port: int, *, guard: str = "") -> list[str]:
    folder = site.crowd.folder
    (folder / "key.pem").write_bytes(site.crowd.key.export_to_pem())
    file = folder / f"haproxy-{port}.cfg"  # with and without a guard, in one run
    file.write_text(HAPROXY.format(port=port, behind=site.behind, guard=guard.format(folder=folder).strip()))
    return [program("haproxy"), "-db", "-q", "-f", str(file)]


def guestpass(site: Site, port: int, *, server: str = "uvicorn") -> list[str]:
    if find_spec(server) is None:
        raise Missing(f"{server} is not installed")
    options = ["--upstream", site.url, "--port", str(port), "--server", server]
    return [sys.executable, "-m", "guestpass", "serve", *options]


def node(site: Site, port: int) -> list[str]:
    folder = site.crowd.folder / "node"
    if not folder.exists():
        npm = program("npm")
        folder.mkdir()
        shutil.copy(HERE / "_node_proxy.mjs", folder / "proxy.mjs")
        packages = ["http-proxy@1", "jose@5"]
        command = [npm, "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(folder), *packages]
        if subprocess.run(command, cwd=folder, capture_output=True, timeout=120, check=False).returncode:
            shutil.rmtree(folder)
            raise Missing("npm cannot install http-proxy and jose")
    return [program("node"), str(folder / "proxy.mjs"), str(port), site.url, str(site.crowd.jwks)]


def python(app: str, *packages: str) -> Callable[[Site, int], list[str]]:
    def command(_: Site, port: int) -> list[str]:
        for package in packages:
            if find_spec(package) is None:
                raise Missing(f"{package} is not installed")
        # wrk hangs up when its time is over, which some log as an error.
        return [*uvicorn(f"_proxy_apps:{app}", port), "--log-level", "critical"]

    return command


SIDES: dict[str, Callable[[Site, int], list[str]]] = {
    BASELINE: nginx,
    "haproxy": haproxy,
    "haproxy-jwt": lambda site, port: haproxy(site, port, guard=GUARD),
    "guestpass": guestpass,
    "guestpass-granian": lambda site, port: guestpass(site, port, server="granian"),
    "unguarded": python("unguarded", "aiohttp"),
    "bare-app": lambda _, port: uvicorn("_middleware_apps:bare", port),
    "node": node,
    "aiohttp": python("by_aiohttp", "aiohttp"),
    "httpx": python("by_httpx", "aiohttp"),
}


def one_round(
    commands: dict[str, tuple[int, list[str]]],
    site: Site,
    cases: Sequence[str],
    seconds: int,
    runs: dict[str, dict[str, list[Figures]]],
) -> None:
    """Start all sides, and give each in turn a second of every kind of load; the first ones warm.

    Cases take turns as well as sides, so that repeated and distinct tokens are measured at the same time.
    """
    with ExitStack() as servers:
        pids = {
            side: servers.enter_context(running(command, port, core=SERVER_CORE, env=site.environ()))
            for side, (port, command) in commands.items()
        }
        scripts = {tokens: site.crowd.script(count) for tokens, count in COUNTS.items()}
        for second in range(WARMING + seconds):
            for case in cases:
                connections, size, tokens = case.split("/")
                for side, (port, _) in commands.items():
                    url = f"http://127.0.0.1:{port}/{size}"
                    script, crowd = scripts[tokens], int(connections)
                    figures = load(url, pids[side], connections=crowd, seconds=1, script=script)
                    if second >= WARMING:
                        runs[case].setdefault(side, []).append(figures)


def main() -> None:
    parser = options(__doc__, seconds=3, rounds=3)
    parser.add_argument("--sides", default=",".join(SIDES), help=f"which of {', '.join(SIDES)}")
    parser.add_argument("--cases", default=CASES, help=f"connections/size/tokens, of {CASES}")
    arguments = parser.parse_args()
    sides, cases = arguments.sides.split(","), arguments.cases.split(",")
    if unknown := [side for side in sides if side not in SIDES]:
        parser.error(f"no side: {', '.join(unknown)}")
    require_wrk()
    preamble("guestpass", "uvicorn", "uvloop", "httptools", "starlette", "httpx")
    runs: dict[str, dict[str, list[Figures]]] = {case: {} for case in cases}
    with guests(max(COUNTS[case.split("/")[2]] for case in cases)) as crowd, ExitStack() as stack:
        (crowd.folder / "large").write_bytes(b"x" * LARGE)
        crowd.folder.chmod(0o755)
        site = Site(crowd, free_port())
        command = nginx(site, site.behind, name="backend", http=BACKEND)
        stack.enter_context(running(command, site.behind, core=LOAD_CORE))
        commands: dict[str, tuple[int, list[str]]] = {}
        left_out: dict[str, str] = {}
        for side in sides:
            port = free_port()
            try:
                commands[side] = port, SIDES[side](site, port)
            except Missing as missing:
                left_out[side] = str(missing)
        for _ in range(arguments.rounds):
            one_round(commands, site, cases, arguments.seconds, runs)
    for side, why in left_out.items():
        print(f"  {side} is left out: {why}")
    for case, found in runs.items():
        baseline = middle(found[BASELINE if BASELINE in found else sides[0]])
        print(f"{case}, median of {arguments.rounds * arguments.seconds} seconds of each:")
        for side, figures in found.items():
            print(row(side, middle(figures), baseline))


if __name__ == "__main__":
    main()
