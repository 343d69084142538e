"""What users' test suites get: a clock that stands still, issuers in process and over HTTP, tokens to order.

```python
clock = FrozenClock()
issuer = FakeIssuer(clock)
token = mint(now=clock.time(), key=issuer.key, name="Ada", email="ada@example.com")
```

`FakeVendor` is the whole vendor as an ASGI app; `serving` puts it, or any app, on a loopback port.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from time import time
from typing import Any, Final, Literal

import anyio
from anyio.lowlevel import checkpoint
from jwcrypto.jwk import JWK
from starlette.types import ASGIApp

from guestpass.core.model import Claims, Identity, MonotonicTime, RawToken, UnixTime
from guestpass.errors import GuestpassError
from guestpass.fake_vendor import FakeVendor
from guestpass.fake_vendor.ids import Ids
from guestpass.fake_vendor.jwt import sign
from guestpass.fake_vendor.keys import jwks_of, signing_key
from guestpass.ports import Clock

__all__ = ["ISSUER", "FakeIssuer", "FakeVendor", "FrozenClock", "jwks_of", "mint", "serving", "signing_key"]

ISSUER: Final = "genesys-cloud-webchat"
"""The "iss" of every token made here, unless told otherwise."""


class FrozenClock:
    """`ports.Clock` that only a test moves.

    Args:
        now: The wall clock's first instant; by default some Friday in 2027.
    """

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self._wall = now
        self._monotonic = 1_000.0

    def time(self) -> UnixTime:
        """Wall-clock seconds since the epoch."""
        return UnixTime(self._wall)

    def monotonic(self) -> MonotonicTime:
        """Seconds that never step."""
        return MonotonicTime(self._monotonic)

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass on both clocks.

        Raises:
            ValueError: `seconds` is negative: time does not run backwards, but `set` may step the wall clock.
        """
        if seconds < 0:
            raise ValueError("time does not run backwards")
        self._wall += seconds
        self._monotonic += seconds

    def set(self, now: float) -> None:
        """Step the wall clock to an instant, as an operator or NTP does; the monotonic one stays."""
        self._wall = now


def mint(
    claims: Mapping[str, Any] | None = None,
    *,
    name: str = "Guest",
    email: str = "guest@example.com",
    lifetime: float = 1800.0,
    now: float | None = None,
    key: JWK | None = None,
    header: Mapping[str, Any] | None = None,
) -> str:
    """Sign a guest token with RS256, as the vendor would; compact serialization.

    Args:
        claims: Over the usual iss, sub, name, email, iat, nbf, exp; None as a value removes the claim.
        name: The guest's name.
        email: The guest's e-mail address; "sub" is derived from it.
        lifetime: Seconds from `now` to "exp"; negative for a token that has expired.
        now: Wall-clock seconds since the epoch; the machine's time by default.
        key: A private RSA key; `signing_key()` by default.
        header: Over the usual alg, kid, typ.
    """
    issued_at = time() if now is None else now
    usual = {
        "iss": ISSUER,
        "sub": Ids(0).stable("subject", email),
        "name": name,
        "email": email,
        "iat": int(issued_at),
        "nbf": int(issued_at),
        "exp": int(issued_at + lifetime),
    }
    members = {name: value for name, value in {**usual, **(claims or {})}.items() if value is not None}
    return sign(key or signing_key(), members, header=header)


class FakeIssuer:
    """`ports.TokenIssuer` in process: mints at once, unless it is told to fail, to hang, or to mint garbage.

    Args:
        clock: Gives "iat"; a `FrozenClock` if None.
        lifetime: Seconds that a token lives.
        key: Its private RSA key.

    Attributes:
        clock: As given.
        lifetime: As given; may be changed.
        key: As given; `mint(key=issuer.key)` signs as this issuer.
        calls: The identities it was asked for, in order.
    """

    def __init__(
        self, clock: Clock | None = None, *, lifetime: float = 1800.0, key: JWK | None = None
    ) -> None:
        self.clock = clock or FrozenClock()
        self.lifetime = lifetime
        self.key = key or signing_key()
        self.calls: list[Identity] = []
        self._ids = Ids(0)
        self._fault: GuestpassError | None = None
        self._faults_left: int | None = None
        self._garbage: RawToken | None = None
        self._held: anyio.Event | None = None
        self._arrival = anyio.Event()

    def fail(self, error: GuestpassError, *, times: int | None = None) -> None:
        """Raise `error` from now on, or for so many calls."""
        self._fault, self._faults_left = error, times

    def hang(self) -> None:
        """Answer no call until `recover`."""
        self._held = anyio.Event()

    def garble(self, token: str = "not-a-token") -> None:  # noqa: S107  that is the point of it
        """Hand out `token` from now on, whoever asks."""
        self._garbage = RawToken(token.encode("latin-1"))

    def recover(self) -> None:
        """Behave from now on, and answer those who wait."""
        self._fault = self._garbage = None
        if self._held is not None:
            self._held.set()
            self._held = None

    async def asked(self, count: int = 1) -> None:
        """Wait until `count` calls have come in all, answered or not."""
        while len(self.calls) < count:
            await self._arrival.wait()

    def jwks(self) -> dict[str, Any]:
        """What verifies its tokens."""
        return jwks_of(self.key)

    async def mint(self, identity: Identity) -> RawToken:
        """Mint a token for `identity`; no two are the same.

        Raises:
            GuestpassError: What `fail` was given.
        """
        self.calls.append(identity)
        self._arrival.set()
        self._arrival = anyio.Event()
        # A cancelled caller must not leave a half-done call behind, so waiting comes first.
        if self._held is not None:
            await self._held.wait()
        else:
            await checkpoint()
        if (error := self._next_fault()) is not None:
            raise error
        if self._garbage is not None:
            return self._garbage
        token = mint(
            {"jti": self._ids.uuid("jti")},
            name=identity.name,
            email=identity.email,
            lifetime=self.lifetime,
            now=self.clock.time(),
            key=self.key,
        )
        return RawToken(token.encode())

    async def rotate(self, token: RawToken, claims: Claims) -> RawToken:  # noqa: ARG002  this issuer asks for no proof
        """Mint anew for the same identity."""
        return await self.mint(claims.minted_for)

    async def aclose(self) -> None:
        """Nothing to close."""

    def _next_fault(self) -> GuestpassError | None:
        if self._faults_left is None:
            return self._fault
        if self._faults_left == 0:
            return None
        self._faults_left -= 1
        return self._fault


@contextmanager
def serving(app: ASGIApp, *, http: Literal["auto", "h11", "httptools"] = "auto") -> Iterator[str]:
    """Serve `app` over real loopback HTTP in a thread; the value is its URL. Needs the extra `server`.

    A `FakeVendor` also knows its `url` meanwhile. Requests that still hang at the end are cancelled.

    Args:
        app: Any ASGI app. It runs in the thread's own event loop.
        http: Which of uvicorn's parsers reads the requests.
    """
    from guestpass.fake_vendor.serving import serving as over_http  # noqa: PLC0415  uvicorn is an extra

    with over_http(app, http=http) as url:
        yield url
