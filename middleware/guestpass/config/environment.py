"""Environment variables and the secret files they point at, as the nested values that a TOML file gives."""

from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Final

from guestpass.config.shapes import PREFIX, SECTIONS, hints, variable
from guestpass.errors import ConfigError

CONFIG_FILE: Final = "GUESTPASS_CONFIG"
"""Names the file to read where none is named otherwise."""

VENDOR_VARIABLES: Final[Mapping[str, tuple[str, str]]] = {
    "GENESYS_CLIENT_ID": ("issuer", "client_id"),
    "GENESYS_CLIENT_SECRET": ("issuer", "client_secret"),
    "GENESYS_ENVIRONMENT": ("issuer", "environment"),
}
"""The vendor's own names, which work alone; ours win where both are set."""

_FILE: Final = "_FILE"
_MOST: Final = 65_536  # bytes of a secret file: a mistaken path should not read a disk


def read_environment(environ: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Every setting that `environ` holds, by section and name; empty variables count as unset.

    `GUESTPASS_SECTION__NAME_FILE` names a file that holds the value, as Docker and Kubernetes mount secrets.

    Raises:
        ConfigError: A variable with our prefix is none of ours, is given twice, or its file is unreadable.
    """
    known = {
        variable(section, name): (section, name) for section, cls in SECTIONS.items() for name in hints(cls)
    }
    values: dict[str, dict[str, str]] = {}
    # The vendor's names first, so that ours overwrite them.
    for names, prefix in ((VENDOR_VARIABLES, "GENESYS_"), (known, PREFIX)):
        given: dict[tuple[str, str], str] = {}
        for spelled, value in environ.items():
            name = spelled.upper()
            if not name.startswith(prefix) or not value or name == CONFIG_FILE:
                continue
            is_file = name not in names and name.endswith(_FILE)
            setting = names.get(name.removesuffix(_FILE) if is_file else name)
            if setting is None:
                if prefix == PREFIX:
                    raise ConfigError(spelled, f"is no setting{suggestion(name, known)}")
                continue  # the vendor's tools have variables of their own
            if setting in given:
                raise ConfigError(spelled, "must be given once: itself or as a file")
            given[setting] = _read(spelled, value) if is_file else value
        for (section, name), value in given.items():
            values.setdefault(section, {})[name] = value
    return values


def spelling(section: str, name: str, environ: Mapping[str, str]) -> str:
    """The variable that set `section.name`, as it stands in `environ`."""
    vendor = next((v for v, setting in VENDOR_VARIABLES.items() if setting == (section, name)), "")
    ours = variable(section, name)
    wanted = (ours, ours + _FILE, vendor, vendor + _FILE)
    found = [spelled for spelled, value in environ.items() if value and spelled.upper() in wanted]
    return min(found, key=lambda spelled: wanted.index(spelled.upper()), default=ours)


def suggestion(unknown: str, known: Mapping[str, object] | list[str]) -> str:
    """`; did you mean X?` for the closest known name, or nothing."""
    close = get_close_matches(unknown, list(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""


def _read(spelled: str, path: str) -> str:
    try:
        with Path(path).open("rb") as file:
            content = file.read(_MOST + 1)
        text = content.decode()
    except (OSError, ValueError):
        raise ConfigError(spelled, "must name a readable UTF-8 file") from None
    if len(content) > _MOST:
        raise ConfigError(spelled, f"must name a file of at most {_MOST} bytes")
    return text.rstrip("\r\n")  # editors and `echo` end the line
