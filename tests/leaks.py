"""Looks at all that guestpass logs in the tests' own processes, at every level, for what must never be there.

What the servers say that tests start is looked at by tests/server/test_secrets.py.
"""

import logging
import re
from typing import Final

_EVERYTHING: Final = 1
_SIGNED: Final = re.compile(r"eyJ[\w-]+\.[\w-]+\.[\w-]{40,}")
"""A compact token with its signature: whatever else a test calls secret differs from test to test."""


class Watch(logging.Filter):
    """Sees each event before its level is judged, and lets on only what would have been let on without it."""

    def __init__(self) -> None:
        super().__init__()
        self.leaks: list[str] = []
        self.logger = logging.getLogger("guestpass")
        self.logger.setLevel(_EVERYTHING)
        self.logger.addFilter(self)

    def filter(self, record: logging.LogRecord) -> bool:
        """Look for a token."""
        if _SIGNED.search(f"{record.getMessage()} {record.exc_info}"):
            self.leaks.append(str(getattr(record, "event", record.name)))
        # A test that asked for a level of its own is past it already.
        return self.logger.level != _EVERYTHING or record.levelno >= logging.getLogger().level

    def require_none(self) -> None:
        """Fail if a token was logged since the last look."""
        leaks, self.leaks = self.leaks, []
        assert not leaks, f"logged a token: {leaks}"
