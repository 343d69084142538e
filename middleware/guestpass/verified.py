"""The verified-token cache: a token's digest -> everything that a request with this token needs.

A repeated token costs one hash and one look-up in place of a signature check. An entry goes with its
"exp", with its key, and with a revocation; the cache is bounded, whatever is thrown at it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from guestpass.core.decision import Genuine
from guestpass.core.model import Guest, Header, Successor, Thumbprint, TokenDigest, UnixTime, token_digest

_LATEST: Final = 1024
_OVERLOOKED: Final = 16 * _LATEST


@lru_cache(maxsize=64)
def _shared(names: tuple[bytes, ...]) -> tuple[bytes, ...]:
    """The first tuple that was equal to `names`: tokens differ in few ways in which claims they have."""
    return names


class Entry:
    """One verified token, prepared; what is known of its successor is added as it comes.

    Kept small, as there are many of them: the identity fields are one string of their values, a third of
    what tuples take, and their names are one tuple for all tokens.

    Attributes:
        genuine: The verifier's verdict; its claims are what the app behind is told about.
        fresh_until: Until this instant the decision is `Forward` and nothing else is to be done. Later, once
            the successor was minted ahead.
        dead_at: From this instant the token is refused, so the entry is of no more use.
        handover: What its requests get from then on, once the successor stands.
    """

    __slots__ = ("_names", "_values", "dead_at", "fresh_until", "genuine", "handover")

    def __init__(
        self, genuine: Genuine, headers: tuple[Header, ...], *, fresh_until: UnixTime, dead_at: UnixTime
    ) -> None:
        """Prepare a token; `headers` are as `core.identity` makes them, so no value holds a line feed."""
        self.genuine = genuine
        self._names = _shared(tuple(name for name, _ in headers))
        self._values = b"\n".join([value for _, value in headers])
        self.fresh_until = fresh_until
        self.dead_at = dead_at
        self.handover: Handover | None = None

    @property
    def headers(self) -> tuple[Header, ...]:
        """The identity fields that a backend gets, made anew at each call."""
        # Not strict, as the values of no names, b"", are one empty value; to say `strict=False` takes 0.2 us.
        return tuple(zip(self._names, self._values.split(b"\n")))  # noqa: B905


@dataclass(frozen=True, slots=True)
class Handover:
    """A genuine successor, prepared for every request that still carries the old token.

    Attributes:
        guest: Who the app is told about: the successor's claims.
        headers: The identity fields that a backend gets.
        successor: What the response delivers.
        until: From this instant it must be looked up again.
        generation: The cache's, then: when something was dropped since, it may have been one of the two.
    """

    guest: Guest
    headers: tuple[Header, ...]
    successor: Successor
    until: UnixTime
    generation: int


class VerifiedTokens:
    """At most `most` entries, the least recently used half of them replaced first.

    Two generations stand for an exact LRU order: a hit in the young one writes nothing, which an ordered
    dict would at every request. An entry that is used stays; one unused for a whole generation goes.

    In front of them stand the latest tokens under their own octets, with their identity fields ready to
    append: Python hashes octets in half the time that a digest takes. They are few, as each costs more than a
    kilobyte on top of its entry. They stay until many others were asked for: else of 10,000 tokens in turn
    each would be put there, for nothing, and a megabyte of memory gone cold with them.
    """

    def __init__(self, most: int) -> None:
        """Hold up to `most` entries, which must be at least 2."""
        self._half = max(1, most // 2)
        self._young: dict[TokenDigest, Entry] = {}
        self._old: dict[TokenDigest, Entry] = {}
        self._latest: dict[bytes, tuple[Entry, tuple[Header, ...]]] = {}
        self._overlooked = 0
        self.generation = 0
        self.hits = 0
        self.misses = 0

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def entries(self) -> Iterator[Entry]:
        """Every entry, dead ones included; looks at each, so it is for reports."""
        yield from self._young.values()
        yield from self._old.values()

    def recent(self, compact: bytes) -> tuple[Entry, tuple[Header, ...]] | None:
        """As `get`, but by the token itself, and with its `headers`.

        Counts nothing and sees the young generation only.
        """
        known = self._latest.get(compact)
        if known is None:
            entry = self._young.get(token_digest(compact))
            if entry is not None:
                known = (entry, entry.headers)
                if len(self._latest) < _LATEST:
                    self._latest[compact] = known
                elif self._overlooked < _OVERLOOKED:
                    self._overlooked += 1
                else:
                    self._overlooked = 0
                    self._latest.clear()
        return known

    def get(self, digest: TokenDigest) -> Entry | None:
        """The entry for a token, dead or alive; None if it was never verified, or was evicted."""
        entry = self._young.get(digest)
        if entry is None:
            entry = self._old.pop(digest, None)
            if entry is None:
                self.misses += 1
                return None
            self._keep(digest, entry)
        self.hits += 1
        return entry

    def stands(self, handover: Handover, now: UnixTime) -> bool:
        """Whether a handover still holds, so that nobody has to be asked."""
        return now < handover.until and handover.generation == self.generation

    def put(self, digest: TokenDigest, entry: Entry, *, generation: int) -> None:
        """Add or replace an entry, unless entries were evicted since `generation` was read.

        Between a verdict and this call a key may have been retired; such a verdict serves its one
        request and is not remembered.
        """
        if generation != self.generation:
            return
        self._old.pop(digest, None)
        self._keep(digest, entry)

    def _keep(self, digest: TokenDigest, entry: Entry) -> None:
        if len(self._young) >= self._half and digest not in self._young:
            self._old = self._young
            self._young = {}
            self._latest.clear()  # so that a use is seen in every generation
        self._young[digest] = entry

    def drop_keys(self, retired: frozenset[Thumbprint]) -> None:
        """Forget every token that one of these keys verified."""
        self.drop_where(lambda entry: entry.genuine.key in retired)

    def drop_where(self, condition: Callable[[Entry], bool]) -> None:
        """Forget every token for which `condition` holds; looks at each entry, so it is for rare events."""
        self.generation += 1
        self._latest.clear()
        self._young = {k: e for k, e in self._young.items() if not condition(e)}
        self._old = {k: e for k, e in self._old.items() if not condition(e)}
