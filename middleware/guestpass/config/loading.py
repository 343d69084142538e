"""Reads settings: overrides before environment, before file, before defaults; every error says where."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from guestpass.config.environment import CONFIG_FILE, read_environment, spelling, suggestion
from guestpass.config.sections import Settings
from guestpass.config.shapes import SECTIONS, TABLES, hints
from guestpass.errors import ConfigError

Layer = Mapping[str, Any]
_NOTHING: Final[Layer] = {}


def load(
    path: Path | None, environ: Mapping[str, str], overrides: Mapping[str, Mapping[str, object]] = _NOTHING
) -> Settings:
    """Read the settings of a process.

    Args:
        path: The TOML file; None: the one that GUESTPASS_CONFIG names, if any.
        environ: The environment, usually `os.environ`.
        overrides: Values by section and name that win over all else; None stands for not given.

    Raises:
        ConfigError: Something cannot be read, is no setting, or breaks its rule.
    """
    if path is None and environ.get(CONFIG_FILE):
        path = Path(environ[CONFIG_FILE])
    file = _NOTHING if path is None else _read_file(path)
    environment = read_environment(environ)
    given = {
        section: {name: value for name, value in values.items() if value is not None}
        for section, values in overrides.items()
    }
    try:
        from guestpass.config.layers import merge  # noqa: PLC0415  its library is an extra
    except ImportError as exc:
        raise ConfigError("settings", 'need an extra: pip install "guestpass[settings]"') from exc
    try:
        return merge(given, environment, file)
    except ConfigError as exc:
        section, _, name = exc.field.partition(".")
        name = name.partition(".")[0]
        if name in given.get(section, {}):
            source = "the command line"
        elif name in environment.get(section, {}):
            source = spelling(section, name, environ)
        elif name in file.get(section, {}) or section in TABLES:
            source = str(path)
        else:
            raise  # a default and another section's value do not go together
        raise ConfigError(exc.field, f"{exc.rule} (set by {source})") from exc.__cause__


def _read_file(path: Path) -> Layer:
    try:
        # Editors on Windows may put a byte order mark first, which is no TOML.
        values = tomllib.loads(path.read_text("utf-8-sig"))
    except tomllib.TOMLDecodeError as exc:
        raise ConfigError(str(path), f"must be TOML: {exc}") from None
    except (OSError, ValueError):
        raise ConfigError(str(path), "must be a readable UTF-8 file") from None
    for section, content in values.items():
        if section in TABLES:
            _check_tables(path, section, content)
        elif section not in SECTIONS:
            raise ConfigError(
                f"{path}: [{section}]", f"is no section{suggestion(section, [*SECTIONS, *TABLES])}"
            )
        elif not isinstance(content, dict):
            raise ConfigError(f"{path}: {section}", "must be a section, such as [server]")
        else:
            _check_names(f"{path}: [{section}]", content, hints(SECTIONS[section]))
    return values


def _check_tables(path: Path, name: str, content: object) -> None:
    if not isinstance(content, list) or not all(isinstance(table, dict) for table in content):
        raise ConfigError(f"{path}: {name}", f"must be tables, each under its own [[{name}]]")
    for table in content:
        _check_names(f"{path}: [[{name}]]", table, hints(TABLES[name]))


def _check_names(where: str, content: Layer, known: Mapping[str, object]) -> None:
    for name in content:
        if name not in known:
            raise ConfigError(f"{where} {name}", f"is no setting{suggestion(name, known)}")
