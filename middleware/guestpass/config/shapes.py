"""What the sections' dataclasses say of themselves: names, types, defaults and documentation."""

import inspect
import re
from collections.abc import Mapping
from dataclasses import MISSING, fields
from functools import cache
from typing import Any, Final, get_type_hints

from guestpass.config.sections import Settings
from guestpass.config.upstream_sections import RouteSettings
from guestpass.core.matching import Protection, Rule

PREFIX: Final = "GUESTPASS_"
SECTIONS: Final[Mapping[str, type]] = {
    name: hint for name, hint in get_type_hints(Settings).items() if name not in ("rules", "routes")
}
TABLES: Final[Mapping[str, type]] = {"rules": Rule, "routes": RouteSettings}
"""What a file may hold any number of, each under its own `[[name]]`."""
RULE_DEFAULTS: Final[Mapping[str, object]] = {"methods": None, "protection": Protection.REQUIRED}
"""What a `[[rules]]` table may leave out; by hand, a `Rule` is written in full."""

_ATTRIBUTE: Final = re.compile(r"^    (\w+): ((?:.|\n        )*)", re.MULTILINE)


@cache
def hints(section: type) -> Mapping[str, Any]:
    """The type of every setting of a section."""
    names = {field.name for field in fields(section) if field.init}
    return {name: hint for name, hint in get_type_hints(section).items() if name in names}


def default_of(section: type, name: str) -> object:
    """The default of one setting; `MISSING` if it has none."""
    if section is Rule and name in RULE_DEFAULTS:
        return RULE_DEFAULTS[name]
    field = next(field for field in fields(section) if field.name == name)
    if field.default_factory is not MISSING:
        return field.default_factory()
    return field.default


def variable(section: str, name: str) -> str:
    """The environment variable of one setting."""
    return f"{PREFIX}{section}__{name}".upper()


def documentation(section: type) -> Mapping[str, str]:
    """What the `Attributes:` of a section's docstring, and of those it extends, say of each setting."""
    found: dict[str, str] = {}
    for cls in reversed(section.__mro__[:-1]):
        _, _, attributes = (inspect.getdoc(cls) or "").partition("Attributes:\n")
        found |= {match[1]: " ".join(match[2].split()) for match in _ATTRIBUTE.finditer(attributes)}
    return found
