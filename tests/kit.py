"""What tests of the gate and its shells are made of: a held clock, an issuer that does as told, a driver."""

import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import anyio
from forge import published, rsa_key, sign
from starlette.types import ASGIApp, Message, Scope

from guestpass.adapters.memory_store import MemoryStore
from guestpass.adapters.static_jwks import StaticJwks
from guestpass.admission import Admitted, Refused, Request
from guestpass.core import strict_json
from guestpass.core.claims import ClaimRules
from guestpass.core.matching import Rule
from guestpass.core.model import Claims, Header, Identity, MonotonicTime, Policy, RawToken, UnixTime
from guestpass.core.surface import Surface
from guestpass.gate import Gate
from guestpass.pool import Reserve
from guestpass.ports import IssuerPause, KeySource, Limiter, RevocationLog, TokenStore
from guestpass.verifier import JwksVerifier

NOW = 1_800_000_000.0
ISSUER = "genesys-cloud-webchat"
ALGORITHMS = frozenset({"RS256"})
ADA = Identity(name="Ada", email="ada@example.org")
BOB = Identity(name="Bob", email="bob@example.org")


class HeldClock:
    """Both clocks stand still until told otherwise."""

    def __init__(self) -> None:
        self.wall = NOW
        self.steady = 5000.0

    def time(self) -> UnixTime:
        return UnixTime(self.wall)

    def monotonic(self) -> MonotonicTime:
        return MonotonicTime(self.steady)

    def advance(self, seconds: float) -> None:
        self.wall += seconds
        self.steady += seconds


def token(
    *,
    exp: float = NOW + 1800,
    lifetime: float = 1800,
    identity: Identity = ADA,
    key: str = "rsa",
    **claims: object,
) -> RawToken:
    """A genuine token; `exp` is absolute."""
    payload = {
        "iss": ISSUER,
        "sub": f"sub-of-{identity.name}",
        "name": identity.name,
        "email": identity.email,
        "iat": exp - lifetime,
        "exp": exp,
        "jti": f"{exp}",
    }
    return RawToken(sign(rsa_key(key), {"alg": "RS256", "kid": key, "typ": "JWT"}, {**payload, **claims}))


Answer = Callable[[Identity], Awaitable[RawToken] | RawToken]


class ScriptedIssuer:
    """Mints for half an hour from now, unless told otherwise; counts, and can be held up."""

    def __init__(self, clock: HeldClock) -> None:
        self.clock = clock
        self.calls: list[Identity] = []
        self.answer: Answer = lambda identity: token(exp=self.clock.wall + 1800, identity=identity)
        self.failure: Exception | None = None
        self.hold: anyio.Event | None = None
        self.asked = anyio.Event()
        self.closed = 0

    async def mint(self, identity: Identity) -> RawToken:
        self.calls.append(identity)
        self.asked.set()
        if self.hold is not None:
            await self.hold.wait()
        if self.failure is not None:
            raise self.failure
        answer = self.answer(identity)
        return answer if isinstance(answer, RawToken) else await answer

    async def rotate(self, token: RawToken, claims: Claims) -> RawToken:
        return await self.mint(claims.minted_for)

    async def aclose(self) -> None:
        self.closed += 1


@dataclass
class World:
    """A gate and everything around it, within reach."""

    clock: HeldClock
    issuer: ScriptedIssuer
    gate: Gate
    store: TokenStore

    async def admit(
        self, raw: RawToken | None = None, *headers: Header, **request: Any
    ) -> Admitted | Refused:
        """Ask the gate about a GET of /chat that carries `raw`."""
        fields = [(b"host", b"app"), *headers]
        if raw is not None:
            fields.append((b"x-guest-token", raw.compact))
        request = {"method": "GET", "path": "/chat", "raw_path": b"/chat", **request}
        return await self.gate.admit(Request(headers=fields, **request))


def world(
    *,
    policy: Policy | None = None,
    rules: Sequence[Rule] = (),
    surface: Surface | None = None,
    keys: KeySource | None = None,
    store: TokenStore | None = None,
    failed_verification: Limiter | None = None,
    budget: Limiter | None = None,
    revocations: RevocationLog | None = None,
    reserve: Reserve | None = None,
    pause: IssuerPause | None = None,
    clock: HeldClock | None = None,
) -> World:
    """A world in which all is well."""
    clock = clock or HeldClock()
    issuer = ScriptedIssuer(clock)
    store = store or MemoryStore(clock)
    keys = keys or StaticJwks(jwks("rsa"), algorithms=ALGORITHMS)
    policy = policy or Policy(spread=0)
    verifier = JwksVerifier(
        keys, ClaimRules(issuer=ISSUER, leeway=policy.leeway), algorithms=ALGORITHMS, clock=clock
    )
    gate = Gate(
        verifier=verifier,
        issuer=issuer,
        store=store,
        clock=clock,
        policy=policy,
        rules=rules,
        surface=surface,
        failed_verification=failed_verification,
        budget=budget,
        revocations=revocations,
        reserve=reserve,
        pause=pause,
    )
    return World(clock, issuer, gate, store)


def jwks(*kids: str) -> bytes:
    """A published set of the keys of these kids."""
    return json.dumps({"keys": [published(rsa_key(kid)) for kid in kids]}).encode()


@dataclass
class Sent:
    """What an app sent."""

    messages: list[Message] = field(default_factory=list)

    @property
    def status(self) -> int:
        return int(self.messages[0]["status"])

    @property
    def headers(self) -> list[Header]:
        return [(bytes(name), bytes(value)) for name, value in self.messages[0].get("headers", ())]

    def values(self, name: bytes) -> list[bytes]:
        return [value for field, value in self.headers if field.lower() == name]

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.messages)

    @property
    def json(self) -> dict[str, Any]:
        return strict_json.loads_object(self.body)


def http_scope(
    method: str = "GET", path: str = "/chat", headers: Sequence[Header] = (), **more: Any
) -> Scope:
    """An `http` scope as uvicorn makes it."""
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": list(headers),
        "client": ("192.0.2.1", 40_000),
        "server": ("127.0.0.1", 80),
        "state": {},
        **more,
    }


async def drive(app: ASGIApp, scope: Scope, *messages: Message) -> Sent:
    """Run an app on one scope: `messages` come in, then nothing more ever does."""
    sent = Sent()
    inbox = list(messages) or [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> Message:
        if inbox:
            return inbox.pop(0)
        await anyio.sleep_forever()
        raise AssertionError

    async def send(message: Message) -> None:
        sent.messages.append(message)

    await app(scope, receive, send)
    return sent
