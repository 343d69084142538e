"""Every setting in one list, and the reference page that is made of it."""

import types
from collections.abc import Mapping
from dataclasses import MISSING, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, Literal, get_args, get_origin

from guestpass.config.shapes import SECTIONS, TABLES, default_of, documentation, hints, variable
from guestpass.config.values import Rate, Secret


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting, described.

    Attributes:
        section: Its section.
        name: Its name in the section.
        type: Its type in words.
        default: Its default as a file would have it; "" if there is none.
        variable: Its environment variable; "" if it has none.
        doc: What it does.
    """

    section: str
    name: str
    type: str
    default: str
    variable: str
    doc: str


def describe() -> list[Setting]:
    """Describe every setting, section by section in the order of the code."""
    found: list[Setting] = []
    for section, cls in {**SECTIONS, **TABLES}.items():
        docs = documentation(cls)
        for name, hint in hints(cls).items():
            shown = "" if (default := default_of(cls, name)) is MISSING else _in_toml(default)
            environment = "" if section in TABLES else variable(section, name)
            found.append(Setting(section, name, _in_words(hint), shown, environment, docs[name]))
    return found


def reference() -> str:
    """The reference page of all settings, as Markdown: how they are read, and a table for each section."""
    lines = [_PREFACE.rstrip()]
    section = ""
    for setting in describe():
        if setting.section != section:
            section = setting.section
            heading = f"[[{section}]]" if section in TABLES else f"[{section}]"
            lines += [
                "",
                f"## `{heading}`",
                "",
                "| name | type | default | what it does |",
                "|---|---|---|---|",
            ]
        default = f"`{setting.default}`" if setting.default else ""
        lines.append(
            f"| `{setting.name}` | {setting.type} | {default} | {setting.doc.replace('None:', '`off`:')} |"
        )
    return "\n".join(lines) + "\n"


_PREFACE: Final = """\
# Settings

<!-- Written by `make docs` from the docstrings in guestpass.config; edit those. -->

A setting is taken from the command line, else from the environment, else from the TOML file that `--config`
or `GUESTPASS_CONFIG` names, else from its default. What is no setting is refused, with the one that was
probably meant.

- **In the file**: `name` in section `[section]`. `[[rules]]` and `[[routes]]` are tables, any number of
  each, in their order and in the file only.
- **In the environment**: `GUESTPASS_SECTION__NAME`, such as `GUESTPASS_SERVER__PORT`. An empty variable
  counts as unset.
- **In a secret file**: `GUESTPASS_SECTION__NAME_FILE` names a file that holds the value, such as
  `GUESTPASS_STORE__SECRET_FILE=/run/secrets/store`. A line end after the value is dropped.
- `GENESYS_CLIENT_ID`, `GENESYS_CLIENT_SECRET` and `GENESYS_ENVIRONMENT` (or the same with `_FILE`) work too;
  our own names win over them.

A **duration** is seconds, or text with a unit: `300`, `"500ms"`, `"5m"`, `"24h"`. A **rate** is hits per
second, minute, hour or day: `"100/minute"`. **Lists** and **pairs** are separated by commas where they are
text: `RS256,ES256`, `sub=X-User,email=X-Mail`; a TOML file may use an array or a table. What can be **off**
is turned off with `"off"`.
"""

_WORDS: Mapping[object, str] = {
    str: "text",
    int: "whole number",
    float: "duration",
    bool: "true or false",
    Path: "path",
    Secret: "secret",
    Rate: "rate",
}


def _in_words(hint: Any) -> str:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is types.UnionType:
        return ", ".join([_in_words(a) for a in arguments if a is not types.NoneType] + ["`off`"])
    if origin is Literal:
        return ", ".join(f"`{word}`" for word in arguments)
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return ", ".join(f"`{word}`" for word in hint)
    if origin in (tuple, frozenset):
        return "list"
    return _WORDS.get(hint, "pairs")


def _in_toml(value: object) -> str:
    match value:
        case None:
            return "off"
        case bool():
            return str(value).lower()
        case float():
            return f"{value:g}" if value < 1e6 else str(value)  # noqa: PLR2004
        case Secret():
            return value.reveal()  # a default is no secret
        case tuple():
            return ", ".join(map(str, value))
        case Mapping():
            return ", ".join(f"{key}={item}" for key, item in value.items())
        case _:
            return str(value)
