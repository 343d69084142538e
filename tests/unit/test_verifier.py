from collections.abc import Sequence

import anyio
import pytest
from forge import compact, ec_key, published, rsa_key, sign
from hostile_tokens import Case, Keys, hostile, legal

from guestpass.core.claims import ClaimRules
from guestpass.core.decision import Forward, Genuine, Invalid, Reject, decide
from guestpass.core.jwk import ALGORITHMS, Jwk, fitting, read_key
from guestpass.core.model import MonotonicTime, Policy, RawToken, UnixTime
from guestpass.errors import ConfigError, KeyUnknown, SignatureInvalid, TokenMalformed, Unavailable
from guestpass.ports import Clock, KeySource, Retired, Verifier
from guestpass.verifier import JwksVerifier

pytestmark = pytest.mark.anyio

NOW = 1_800_000_000
KEYS = Keys(rsa=rsa_key(), ec=ec_key(), issuer="https://issuer.example", audience="web", now=NOW)
RULES = ClaimRules(issuer=KEYS.issuer, audience=frozenset({KEYS.audience}))
RING = tuple(read_key(published(key), algorithms=ALGORITHMS) for key in (rsa_key(), ec_key()))


class StoppedClock:
    def time(self) -> UnixTime:
        return UnixTime(NOW)

    def monotonic(self) -> MonotonicTime:
        return MonotonicTime(0)


class Ring:
    """A key source that has its keys, or has none and says so; it notes what it was asked."""

    def __init__(self, *keys: Jwk, down: bool = False) -> None:
        self.keys = keys
        self.down = down
        self.asked: list[tuple[str | None, str]] = []
        self.calls: list[object] = []

    @property
    def recheck_at(self) -> MonotonicTime:
        return MonotonicTime(17)

    async def recheck(self) -> None:
        self.calls.append("recheck")

    async def find(self, kid: str | None, algorithm: str) -> Sequence[Jwk]:
        self.asked.append((kid, algorithm))
        if self.down:
            raise Unavailable
        return fitting(self.keys, kid, algorithm)

    def on_retired(self, callback: Retired) -> None:
        self.calls.append(callback)

    async def run(self) -> None:
        self.calls.append("run")


def verifier(
    source: KeySource, *, algorithms: frozenset[str] = frozenset({"RS256", "ES256"})
) -> JwksVerifier:
    clock: Clock = StoppedClock()
    return JwksVerifier(source, RULES, algorithms=algorithms, clock=clock)


async def verdict_on(token: bytes, source: KeySource | None = None) -> Genuine | Invalid:
    port: Verifier = verifier(source or Ring(*RING))
    with anyio.fail_after(5):
        return await port.verify(RawToken(token))


@pytest.mark.parametrize("anyio_backend", ["asyncio"])  # 365 tokens; nothing in them depends on the loop
@pytest.mark.parametrize("case", hostile(KEYS), ids=str)
async def test_a_hostile_token_is_rejected(case: Case, anyio_backend: str) -> None:
    verdict = await verdict_on(case.token)
    decision = decide(verdict, Policy(), anonymous=False, now=UnixTime(NOW))
    assert isinstance(decision, Reject)
    assert decision.error.status == 401
    assert decision.error.code in {"invalid_token", "token_expired"}


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("case", legal(KEYS), ids=str)
async def test_a_legal_oddity_is_forwarded(case: Case, anyio_backend: str) -> None:
    verdict = await verdict_on(case.token)
    assert isinstance(decide(verdict, Policy(), anonymous=False, now=UnixTime(NOW)), Forward)


async def test_a_genuine_token_says_who_it_is_and_which_key_says_so() -> None:
    token = KEYS.good()
    verdict = await verdict_on(token)
    assert isinstance(verdict, Genuine)
    assert verdict.claims.subject == "guest-1"
    assert verdict.token_id == RawToken(token).id
    assert verdict.key == rsa_key().thumbprint()


async def test_an_expired_token_is_still_genuine() -> None:
    verdict = await verdict_on(sign(rsa_key(), KEYS.header, {**KEYS.claims, "exp": NOW - 10_000}))
    assert isinstance(verdict, Genuine)


async def test_the_start_of_a_token_is_judged_by_the_clock() -> None:
    for ahead, verdict in ((30, Genuine), (31, Invalid)):
        token = sign(rsa_key(), KEYS.header, {**KEYS.claims, "nbf": NOW + ahead})
        assert isinstance(await verdict_on(token), verdict)


async def test_no_key_is_asked_for_until_the_syntax_holds() -> None:
    """Junk must cause no fetch of keys, however much of it there is."""
    source = Ring(*RING)
    for case in hostile(KEYS):
        if case.id in {"J1", "J2", "J20", "J22", "J23", "J24", "J26"} and case.name not in SYNTAX_HOLDS:
            await verifier(source).verify(RawToken(case.token))
    assert source.asked == []
    await verifier(source).verify(RawToken(KEYS.good()))
    assert source.asked == [("rsa", "RS256")]


SYNTAX_HOLDS = {"an empty payload", "a token inside, cty not set"}


async def test_an_unknown_key_is_the_tokens_fault() -> None:
    verdict = await verdict_on(KEYS.good(), Ring())
    assert isinstance(verdict, Invalid)
    assert isinstance(verdict.error, KeyUnknown)


async def test_no_keys_at_hand_is_a_fault_and_no_verdict() -> None:
    source = Ring(down=True)
    with pytest.raises(Unavailable):
        await verdict_on(KEYS.good(), source)
    assert isinstance(await verdict_on(b"junk", source), Invalid)


async def test_a_key_source_that_offers_another_kind_of_key_changes_nothing() -> None:
    class Careless(Ring):
        async def find(self, kid: str | None, algorithm: str) -> Sequence[Jwk]:
            return self.keys

    assert isinstance(await verdict_on(KEYS.good(), Careless(RING[1])), Invalid)


async def test_every_key_that_shares_the_kid_is_tried() -> None:
    twins = [
        read_key(published(rsa_key(name), kid="rsa"), algorithms=ALGORITHMS) for name in ("twin", "rsa", "b")
    ]
    verdict = await verdict_on(KEYS.good(), Ring(*twins))
    assert isinstance(verdict, Genuine)
    assert verdict.key == rsa_key().thumbprint()
    last = await verdict_on(KEYS.good(), Ring(twins[0], twins[1]))
    assert isinstance(last, Genuine)
    neither = await verdict_on(KEYS.good(), Ring(twins[0], twins[2]))
    assert isinstance(neither, Invalid)
    assert isinstance(neither.error, SignatureInvalid)


async def test_a_broken_payload_under_a_true_signature_is_not_tried_again() -> None:
    twins = [read_key(published(rsa_key(name), kid="rsa"), algorithms=ALGORITHMS) for name in ("rsa", "twin")]
    verdict = await verdict_on(sign(rsa_key(), KEYS.header, b"[]"), Ring(*twins))
    assert isinstance(verdict, Invalid)
    assert isinstance(verdict.error, TokenMalformed)


async def test_the_age_of_keys_is_the_sources_business() -> None:
    source = Ring(*RING)
    port: Verifier = verifier(source)
    assert port.recheck_at == source.recheck_at
    await port.recheck()
    await port.run()
    port.on_retired(print)
    assert source.calls == ["recheck", "run", print]


@pytest.mark.parametrize(
    "names", [[], ["none"], ["HS256"], ["RS256", "HS512"], ["ES256K"], ["rs256"], ["RSA-OAEP"]]
)
def test_an_unsafe_allow_list_is_a_configuration_error(names: list[str]) -> None:
    with pytest.raises(ConfigError):
        verifier(Ring(), algorithms=frozenset(names))


async def test_types_are_named_as_in_a_header() -> None:
    source, clock = Ring(*RING), StoppedClock()
    token = RawToken(sign(rsa_key(), {**KEYS.header, "typ": "Guest+JWT"}, KEYS.claims))
    types = frozenset({"application/guest+JWT"})
    port = JwksVerifier(source, RULES, algorithms=frozenset({"RS256"}), types=types, clock=clock)
    assert isinstance(await port.verify(token), Genuine)
    with pytest.raises(ConfigError):
        JwksVerifier(source, RULES, algorithms=frozenset({"RS256"}), types=frozenset(), clock=clock)


async def test_a_forged_signature_is_told_from_an_unknown_key_in_logs_only() -> None:
    forged = await verdict_on(compact(KEYS.header, KEYS.claims, bytes(256)))
    stranger = await verdict_on(sign(rsa_key("x"), {**KEYS.header, "kid": "x"}, KEYS.claims))
    assert isinstance(forged, Invalid)
    assert isinstance(stranger, Invalid)
    assert (forged.error.reason, stranger.error.reason) == ("signature", "key_unknown")
    assert (forged.error.code, forged.error.status) == (stranger.error.code, stranger.error.status)
