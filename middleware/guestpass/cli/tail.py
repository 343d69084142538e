"""`guestpass tail`: follows the events of a running instance over its admin port."""

import json
import logging
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import click
import httpx

from guestpass.cli.app import Failure, Misuse
from guestpass.cli.options import config_option
from guestpass.config import load
from guestpass.logs import printable

_SILENCE: Final = 5.0
"""Seconds without a word after which the instance counts as gone: it says something every second."""

_COLOURS: Final = {"warning": "yellow", "error": "red", "critical": "red"}


@click.command("tail")
@click.option("--admin", metavar="URL", help="The admin port, such as http://127.0.0.1:9090.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object an event, as in the log.")
@click.option("--once", is_flag=True, help="Print what is remembered, then end.")
@config_option
def command(*, admin: str | None, as_json: bool, once: bool, config: Path | None) -> None:
    """Follow the events of a running instance over its admin port.

    Prints what it remembers, then each event within a second, from all of its workers; Ctrl-C ends it.
    """
    if admin is not None and not _is_url(admin):
        raise Misuse("--admin must be a URL, such as http://127.0.0.1:9090")
    url = f"{(admin or _configured(config)).removesuffix('/')}/events"
    logging.getLogger("httpx").setLevel(logging.WARNING)  # its lines would stand between the events
    seen = ""
    with suppress(KeyboardInterrupt), httpx.Client(trust_env=False, timeout=_SILENCE) as client:
        while True:
            try:
                for at, line in _events(client, url, seen, once=once):
                    seen = at
                    click.echo(json.dumps(line) if as_json else _text(line))
            except httpx.HTTPError as exc:
                advice = "Is it running, and with --admin-port?"
                raise Failure(f"{url} gives no events ({type(exc).__name__})", advice=advice) from exc
            if once:
                return


def _is_url(text: str) -> bool:
    try:
        return httpx.URL(text).scheme in ("http", "https")
    except httpx.InvalidURL:
        return False


def _configured(config: Path | None) -> str:
    server = load(config, os.environ).server
    if not server.admin_port:
        raise Misuse("no admin port is known: give --admin URL, or set server.admin_port")
    host = f"[{server.admin_host}]" if ":" in server.admin_host else server.admin_host
    return f"http://{host}:{server.admin_port}"


def _events(client: httpx.Client, url: str, seen: str, *, once: bool) -> Iterator[tuple[str, dict[str, Any]]]:
    """The events of one stream, each with the id from which the next stream goes on."""
    headers = {"last-event-id": seen} if seen else {}
    with client.stream("GET", url, headers=headers) as answer:
        answer.raise_for_status()
        if not answer.headers.get("content-type", "").startswith("text/event-stream"):
            raise Failure(f"{url} answers, but not with events", advice="Is that the admin port?")
        for text in answer.iter_lines():
            name, _, value = text.partition(": ")
            if name == "id":
                seen = value
            elif name == "data":
                yield seen, json.loads(value)
            elif once and text == ":":  # a round without news: all that is remembered has been told
                return


def _text(line: dict[str, Any]) -> str:
    """One event for a person: all that is not printable is escaped."""
    known = ("time", "level", "logger", "event")
    fields = " ".join(f"{name}={value}" for name, value in line.items() if name not in known)
    level = click.style(f"{line['level']:<7}", fg=_COLOURS.get(line["level"]))
    said = f"{line['event']} {fields}".rstrip()
    return f"{line['time']} {level} {printable(said)}"
