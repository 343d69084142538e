"""Identifiers that look random and are not: the same seed gives the same ones, in the same order.

They are predictable on purpose, so nothing here may ever guard anything real.
"""

from base64 import urlsafe_b64encode
from collections import Counter
from hashlib import sha256
from typing import Final
from uuid import UUID

_WORD: Final = 8  # octets that one draw is made of


class Ids:
    """Everything that varies, derived from `seed`."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._counts: Counter[str] = Counter()

    def reset(self) -> None:
        """Start over: what follows is what followed at the beginning."""
        self._counts.clear()

    def uuid(self, kind: str) -> str:
        """The next UUID of its kind."""
        return _uuid(self._next(kind))

    def opaque(self, kind: str) -> str:
        """The next opaque string of its kind: 43 characters of base64url."""
        return urlsafe_b64encode(self._next(kind)).rstrip(b"=").decode()

    def draw(self, kind: str) -> float:
        """The next number of its kind, evenly spread over [0, 1)."""
        # 53 bits, as many as a float holds: with 64 the largest would round up to 1.
        return (int.from_bytes(self._next(kind)[:_WORD]) >> 11) / 2**53

    def stable(self, kind: str, text: str) -> str:
        """The one UUID of its kind that belongs to `text`, however often it is asked for."""
        return _uuid(self._digest(f"{kind}={text}"))

    def _next(self, kind: str) -> bytes:
        self._counts[kind] += 1
        return self._digest(f"{kind}#{self._counts[kind]}")

    def _digest(self, text: str) -> bytes:
        return sha256(f"{self._seed}:{text}".encode()).digest()


def _uuid(digest: bytes) -> str:
    return str(UUID(bytes=digest[:16], version=4))
