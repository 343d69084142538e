"""`ports.RevocationLog` for a single process."""

from guestpass.ports import Revocation


class MemoryRevocations:
    """Every revocation of this process; gone when it ends."""

    def __init__(self) -> None:
        self._log: list[Revocation] = []

    async def add(self, revocation: Revocation) -> None:
        """As the port says."""
        self._log.append(revocation)

    async def since(self, cursor: str) -> tuple[list[Revocation], str]:
        """As the port says; the cursor is a count."""
        return self._log[int(cursor or 0) :], str(len(self._log))
