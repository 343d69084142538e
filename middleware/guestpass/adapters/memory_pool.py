"""`ports.TokenPool` for a single process."""

from guestpass.core.model import RawToken, UnixTime


class MemoryPool:
    """Tokens in order of their "exp"."""

    def __init__(self) -> None:
        self._tokens: list[tuple[UnixTime, RawToken]] = []

    async def pop(self, least_exp: UnixTime) -> RawToken | None:
        """As the port says; the one that expires first goes first."""
        self._drop(least_exp)
        return self._tokens.pop(0)[1] if self._tokens else None

    async def push(self, token: RawToken, *, expires_at: UnixTime) -> None:
        """As the port says."""
        self._tokens.append((expires_at, token))
        self._tokens.sort(key=lambda entry: entry[0])

    async def count(self, least_exp: UnixTime) -> int:
        """As the port says."""
        self._drop(least_exp)
        return len(self._tokens)

    async def may_fill(self, *, lease: float) -> bool:
        """Always: there is no one else."""
        del lease
        return True

    def _drop(self, least_exp: UnixTime) -> None:
        self._tokens = [entry for entry in self._tokens if entry[0] > least_exp]
