"""What the commands that serve have in common: their options, their ports, and what the workers are told."""

import logging
import logging.config
import os
import socket
import sys
from collections.abc import Callable, Mapping, MutableMapping
from contextlib import ExitStack
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, Literal, get_args

import click

from guestpass import events
from guestpass.cli.app import Misuse
from guestpass.cli.listening import BACKLOG, listen
from guestpass.cli.options import config_option
from guestpass.config import Settings, load
from guestpass.config.environment import CONFIG_FILE
from guestpass.config.shapes import variable
from guestpass.errors import ConfigError
from guestpass.logs import logging_config
from guestpass.wiring.logins import require_shared_record

Parser = Literal["auto", "h11", "httptools"]
Server = Literal["uvicorn", "granian"]
Overrides = dict[str, dict[str, object]]
"""What the command line sets: section -> name -> value, None where nothing was given."""

_LIBRARIES: Final = ("uvicorn", "httptools", "h11")
_PORT: Final = click.IntRange(0, 65_535)

_OPTIONS: Final = (
    click.option("--host", help="The address to listen on.  [default: 127.0.0.1]"),
    click.option("--port", type=_PORT, help="The port to listen on; 0: a free one.  [default: 8080]"),
    click.option("--workers", type=click.IntRange(1), help="How many processes serve.  [default: 1]"),
    click.option("--admin-port", type=_PORT, help="Serve /status, /metrics and health on this port; 0: any."),
    click.option(
        "--server",
        "under",
        default="uvicorn",
        show_default=True,
        type=click.Choice(get_args(Server)),
        help="The ASGI server; granian has neither --http nor --admin-port.",
    ),
    click.option(
        "--http",
        "parser",
        default="auto",
        show_default=True,
        type=click.Choice(get_args(Parser)),
        help="What reads requests; httptools where it is left open.",
    ),
    config_option,
)


def server_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --host, --port, --workers, --admin-port, --server (`under`), --http (`parser`) and --config."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def launch(
    factory: str,
    overrides: Overrides,
    check: Callable[[Settings], object],
    *,
    under: Server,
    parser: Parser,
    config: Path | None,
) -> None:
    """Check every setting, open the ports, and hand both to the workers; returns when they have ended.

    Args:
        factory: Which function of `cli.worker` makes a worker's app.
        overrides: What the command line sets.
        check: Finds what only this command can find wrong; it raises `ConfigError`.
        under: The ASGI server.
        parser: uvicorn's HTTP implementation.
        config: The settings' file, if one is given.

    Raises:
        Failure: A port cannot be opened, or a worker could not start.
        Misuse: A library is missing, or no vendor is configured.
        ConfigError: A setting is missing, or two do not go together.
    """
    if missing := [name for name in _LIBRARIES if find_spec(name) is None]:
        raise Misuse(f'{missing[0]} is not installed; this command needs: pip install "guestpass[server]"')
    settings = load(config, os.environ, overrides)
    _check(settings)
    if under == "granian":
        _check_granian(settings, parser)
    check(settings)
    style = settings.server.log_format
    if style == "auto":
        style = "text" if sys.stderr.isatty() else "json"
    log_config = logging_config(style, settings.server.log_level)
    logging.config.dictConfig(log_config)
    from guestpass.cli import hangups, worker  # noqa: PLC0415  a library may be missing until asked for above

    with ExitStack() as opened:
        server = settings.server
        public = opened.enter_context(listen(server.host, server.port))
        listeners = [public]
        if server.admin_port is not None:
            admin = listen(server.admin_host, server.admin_port, option="--admin-port")
            listeners.append(opened.enter_context(admin))
            overrides["server"]["admin_port"] = _port(listeners[1])
            if server.workers > 1:
                from guestpass.monitoring.fleet import BOARD  # noqa: PLC0415  its libraries are checked above

                os.environ[BOARD] = opened.enter_context(TemporaryDirectory(prefix="guestpass-"))
                opened.callback(os.environ.pop, BOARD, None)
        export(overrides, config, os.environ)
        hangups.hold()
        if under == "granian" or server.workers > 1:
            hangups.pass_on()
        _announce_stores(settings)
        announce = partial(_announce, server.workers, *map(_url, listeners))
        if under == "granian":
            from guestpass.cli import under_granian  # noqa: PLC0415  an extra

            under_granian.run(
                factory, server, public, log_config=log_config, backlog=BACKLOG, announce=announce
            )
        else:
            worker.run(
                factory,
                server,
                listeners,
                backlog=BACKLOG,
                parser=parser,
                log_config=log_config,
                announce=announce,
            )


def _check(settings: Settings) -> None:
    issuer, server = settings.issuer, settings.server
    if issuer.kind == "guesttoken" and issuer.client_id is None and issuer.client_secret is None:
        raise Misuse(
            "no vendor is configured: set GENESYS_CLIENT_ID, GENESYS_CLIENT_SECRET and GENESYS_ENVIRONMENT"
            " (or GUESTPASS_ISSUER__KIND=local to sign tokens here)."
        )
    require_shared_record(settings)
    if server.admin_port is not None and server.admin_port == server.port != 0:
        raise ConfigError("server.admin_port", "must differ from server.port")
    if issuer.kind == "local" and issuer.key_file is None and server.workers > 1:
        raise ConfigError("issuer.key_file", "must be set for several workers: each would make its own key")
    asserts = settings.assertion.audience is not None
    if asserts and settings.assertion.key_file is None and server.workers > 1:
        raise ConfigError(
            "assertion.key_file", "must be set for several workers: each would make its own key"
        )


def _check_granian(settings: Settings, parser: Parser) -> None:
    """What does not go together with `--server granian`, which has one parser and serves one address."""
    if find_spec("granian") is None:
        raise Misuse('granian is not installed; --server granian needs: pip install "guestpass[granian]"')
    if parser != "auto":
        raise Misuse("--http chooses uvicorn's parser and does not apply to --server granian.")
    if settings.server.admin_port is not None:
        raise ConfigError(
            "server.admin_port", "must be off with --server granian, which serves one port only"
        )
    if settings.server.drain_delay:
        raise ConfigError("server.drain_delay", "must be 0 with --server granian, which stops at a signal")


def export(
    overrides: Mapping[str, Mapping[str, object]], config: Path | None, environ: MutableMapping[str, str]
) -> None:
    """Put the command line's settings where the workers read theirs, in place of every other spelling."""
    if config is not None:
        environ[CONFIG_FILE] = str(config)
    for section, values in overrides.items():
        for name, value in values.items():
            if value is None:
                continue
            ours = variable(section, name)
            for spelled in [known for known in environ if known.upper() in (ours, f"{ours}_FILE")]:
                del environ[spelled]
            environ[ours] = str(value)


def _announce_stores(settings: Settings) -> None:
    workers = settings.server.workers
    if workers > 1 and not settings.store.shared:
        events.emit(events.STORE_NOT_SHARED, level=logging.WARNING, workers=workers)


def _announce(workers: int, public: str, admin: str | None = None) -> None:
    events.emit(events.SERVER_LISTENING, url=public, admin=admin, workers=workers)


def _port(listener: socket.socket) -> int:
    port: int = listener.getsockname()[1]
    return port


def _url(listener: socket.socket) -> str:
    host = listener.getsockname()[0]
    return f"http://[{host}]:{_port(listener)}" if ":" in host else f"http://{host}:{_port(listener)}"
