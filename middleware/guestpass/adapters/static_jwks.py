"""Keys from configuration: a `KeySource` that never changes and never fails."""

from collections.abc import Sequence

import anyio

from guestpass.core.jwk import Jwk, fitting, read_set
from guestpass.core.model import MonotonicTime
from guestpass.errors import ConfigError
from guestpass.ports import Retired


class StaticJwks:
    """The keys of one JWKS document (RFC 7517 §5), inline or read from a file by the caller.

    Raises:
        ConfigError: It is no JWKS, or none of its keys is usable. At start-up that is the operator's
            mistake, where from a URL it would be an outage.
    """

    def __init__(self, document: bytes, *, algorithms: frozenset[str], setting: str = "verify.jwks") -> None:
        """Read `document`; `setting` is what an error names."""
        try:
            self._keys = read_set(document, algorithms=algorithms).keys
        except ValueError as exc:
            raise ConfigError(setting, "must be a JWKS with a usable key (RFC 7517 §5)") from exc

    @property
    def recheck_at(self) -> MonotonicTime:
        """Never: what has been said once stays true."""
        return MonotonicTime(float("inf"))

    async def recheck(self) -> None:
        """Do nothing, as nothing is ever due."""

    async def find(self, kid: str | None, algorithm: str) -> Sequence[Jwk]:
        """The keys that fit; an unknown kid stays unknown."""
        return fitting(self._keys, kid, algorithm)

    def on_retired(self, callback: Retired) -> None:
        """Drop `callback`: no key ever leaves."""

    async def run(self) -> None:
        """Wait for ever."""
        await anyio.sleep_forever()
