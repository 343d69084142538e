"""Short-lived JWTs of ours that tell a backend who the guest is, in a way that it can check."""

import json
from typing import Final

from guestpass.core.identity import ASSERTION
from guestpass.core.model import Guest, Header, UnixTime
from guestpass.ports import Clock, Signer

LIFETIME: Final = 60
"""Seconds from "iat" to "exp"."""

TYPE: Final = "guest-assertion+jwt"
"""Its "typ" (RFC 8725 §3.11): no reader of guest tokens, our own included, takes an assertion for one."""

_USED_FOR: Final = LIFETIME / 2
"""Seconds for which one is sent again: what a backend gets always has half its life before it."""

_NAME: Final = ASSERTION.lower().encode("ascii")


class Assertions:
    """Signs one assertion for each guest and half minute: a signature costs 60 us, a look-up less than one.

    Two generations stand for an order by age, as in `verified`: each is at most half a minute and half of
    `most` guests wide, so that memory is bounded in time and in number, and nothing has to be swept.
    """

    def __init__(
        self, *, signer: Signer, issuer: str, audience: str, clock: Clock, most: int = 20_000
    ) -> None:
        """Sign with `signer`.

        Args:
            signer: Signs, with a key that backends can find.
            issuer: "iss"; not that of guest tokens.
            audience: "aud": the backend.
            clock: Ours.
            most: Of how many guests an assertion is remembered.
        """
        self._signer = signer
        self._issuer = issuer
        self._audience = audience
        self._clock = clock
        self._half = max(1, most // 2)
        self._since = clock.time()
        self._young: dict[tuple[str, str, str], tuple[UnixTime, Header]] = {}
        self._old: dict[tuple[str, str, str], tuple[UnixTime, Header]] = {}

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    async def field(self, guest: Guest) -> Header:
        """The field line that asserts who a guest is; its "exp" is 30 to 60 seconds away."""
        now = self._clock.time()
        # A clock that stepped back has made them all too young to say when they were signed.
        if len(self._young) >= self._half or not 0 <= now - self._since < _USED_FOR:
            self._old, self._young, self._since = self._young, {}, now
        who = (guest.subject, guest.name, guest.email)
        known = self._young.get(who) or self._old.get(who)
        if known is not None and 0 <= now - known[0] < _USED_FOR:
            return known[1]
        signed = (_NAME, await self._signer.sign(self._claims(guest, int(now)), typ=TYPE))
        self._young[who] = (UnixTime(int(now)), signed)
        return signed

    def _claims(self, guest: Guest, now: int) -> bytes:
        told = {"sub": guest.subject, "name": guest.name, "email": guest.email}
        claims = {
            "iss": self._issuer,
            "aud": self._audience,
            **{name: value for name, value in told.items() if value},
            "iat": now,
            "exp": now + LIFETIME,
        }
        return json.dumps(claims, separators=(",", ":")).encode()
