"""WWW-Authenticate values: what a refused client is told of why (RFC 9110 §11.6.1, RFC 6750 §3)."""

import re

from guestpass.errors import ConfigError, TokenError

_PRINTABLE = re.compile(r"[ -~]+")


def challenge(error: TokenError, *, realm: str) -> bytes:
    r"""Write the `Bearer` challenge for `error`.

    It says no more than the error's class does: a description would tell an attacker which check failed.

    Args:
        error: Why the request is refused; one without a `challenge` gets no "error" (RFC 6750 §3.1).
        realm: Printable ASCII; `"` and `\` are escaped. Try it once at start-up, so that it fails there.

    Raises:
        ConfigError: `realm` is empty or cannot stand in a quoted string.
    """
    if not _PRINTABLE.fullmatch(realm):
        raise ConfigError("server.realm", "must be printable ASCII, and not empty")
    quoted = realm.replace("\\", "\\\\").replace('"', '\\"')
    attributes = f'Bearer realm="{quoted}"'
    if error.challenge is not None:
        attributes += f', error="{error.challenge}"'
    return attributes.encode("ascii")
