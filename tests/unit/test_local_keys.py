"""The local issuer's keys: which sign, which are published, and that neither ever leaves a gap."""

import json
from typing import Any

import anyio
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given, settings
from hypothesis import strategies as st
from issuer_stub import HeldClock
from jwcrypto.jwk import JWK
from jwcrypto.jws import JWS

from guestpass.adapters.issuers.local import LocalIssuer, LocalSettings
from guestpass.adapters.issuers.local_keys import KeySchedule, LocalKeys
from guestpass.adapters.issuers.signing_key import ALGORITHMS, SigningKey
from guestpass.core.jwk import Jwk
from guestpass.core.model import Claims, Identity, RawToken, Thumbprint, UnixTime
from guestpass.errors import ConfigError

ALICE = Identity(name="Alice", email="alice@example.org")
PRIVATE_MEMBERS = {"d", "p", "q", "dp", "dq", "qi", "k", "oth"}
# Half a day a key, published 15 minutes ahead, 1800 s lifetime and 120 s beyond.
SCHEDULE = KeySchedule(algorithm="EdDSA", period=43_200, publish_ahead=900, outlast=1920)


def published(keys: LocalKeys | LocalIssuer) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(keys.jwks())["keys"]
    return found


def kids(keys: LocalKeys | LocalIssuer) -> set[str]:
    return {key["kid"] for key in published(keys)}


def header(token: RawToken) -> dict[str, Any]:
    signed = JWS()
    signed.deserialize(token.compact.decode())
    members: dict[str, Any] = signed.jose_header
    return members


def verified(token: RawToken, document: bytes) -> dict[str, Any]:
    """What another implementation reads with the published keys alone."""
    kid = header(token)["kid"]
    (key,) = [key for key in json.loads(document)["keys"] if key["kid"] == kid]
    signed = JWS()
    signed.deserialize(token.compact.decode(), JWK(**key))
    claims: dict[str, Any] = json.loads(signed.payload)
    return claims


# --- one key ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", sorted(ALGORITHMS))
@pytest.mark.anyio
async def test_the_published_key_verifies_what_the_issuer_signs(algorithm: str) -> None:
    issuer = LocalIssuer(
        LocalSettings(issuer="https://guests.example", audience="chat", algorithm=algorithm),
        clock=HeldClock(),
    )
    token = await issuer.mint(ALICE)
    claims = verified(token, issuer.jwks())
    assert header(token) == {"alg": algorithm, "kid": published(issuer)[0]["kid"], "typ": "JWT"}
    assert claims.keys() == {"iss", "aud", "sub", "name", "email", "iat", "nbf", "exp", "jti"}
    assert (claims["iss"], claims["aud"], claims["name"], claims["email"]) == (
        "https://guests.example",
        "chat",
        "Alice",
        "alice@example.org",
    )
    assert claims["exp"] - claims["iat"] == 1800
    assert claims["nbf"] == claims["iat"]


@pytest.mark.parametrize("algorithm", sorted(ALGORITHMS))
def test_no_private_member_is_ever_published(algorithm: str) -> None:
    keys = LocalKeys(clock=HeldClock(), schedule=KeySchedule(algorithm=algorithm))
    (key,) = published(keys)
    assert not key.keys() & PRIVATE_MEMBERS
    assert (key["use"], key["alg"]) == ("sig", algorithm)


def test_a_key_is_named_by_its_thumbprint_so_that_every_worker_names_it_alike() -> None:
    pem = JWK.generate(kty="EC", crv="P-256").export_to_pem(private_key=True, password=None)
    first, second = SigningKey.from_pem(pem), SigningKey.from_pem(pem)
    assert first.kid == second.kid == first.public.thumbprint


@pytest.mark.anyio
async def test_guests_without_a_subject_get_a_random_one_each_and_keep_it() -> None:
    issuer = LocalIssuer(LocalSettings(issuer="i", algorithm="EdDSA"), clock=HeldClock())
    tokens = [await issuer.mint(ALICE) for _ in range(3)]
    subjects = [verified(token, issuer.jwks())["sub"] for token in tokens]
    assert len(set(subjects)) == 3
    claims = Claims(
        issuer="i",
        subject=subjects[0],
        expires_at=UnixTime(0),
        issued_at=None,
        name="Alice",
        email="alice@example.org",
        payload=b"{}",
    )
    assert verified(await issuer.rotate(tokens[0], claims), issuer.jwks())["sub"] == subjects[0]


@pytest.mark.parametrize(
    ("private", "algorithm"),
    [
        (rsa.generate_private_key(65537, 2048), "RS256"),
        (ec.generate_private_key(ec.SECP256R1()), "ES256"),
        (ed25519.Ed25519PrivateKey.generate(), "EdDSA"),
    ],
)
def test_a_private_key_decides_its_algorithm_as_pem_and_as_jwk(private: Any, algorithm: str) -> None:
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    from_pem = SigningKey.from_pem(pem)
    # A kid of the file's own is not ours to publish.
    document = json.loads(JWK.from_pem(pem).export_private()) | {"kid": "theirs", "use": "sig"}
    from_jwk = SigningKey.from_jwk(json.dumps(document).encode())
    assert from_pem.algorithm == from_jwk.algorithm == algorithm
    assert from_pem.kid == from_jwk.kid != "theirs"


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"{}",
        b"[]",
        b"\xff",
        JWK.generate(kty="EC", crv="P-256").export_public().encode(),
        JWK.generate(kty="EC", crv="P-256", use="enc").export().encode(),
        JWK.generate(kty="oct", size=256).export().encode(),
        JWK.generate(kty="EC", crv="P-384").export().encode(),
        JWK.generate(kty="RSA", size=1024).export().encode(),
        b'{"kty":"OKP","crv":"Ed25519","x":"s3cret-material","d":"s3cret-material"}',
    ],
    ids=range(10),  # the same in each process that runs tests, unlike keys
)
def test_what_is_no_strong_private_key_is_refused_without_quoting_it(document: bytes) -> None:
    with pytest.raises(ConfigError) as caught:
        SigningKey.from_jwk(document)
    assert caught.value.field == "issuer.key_file"
    assert "s3cret" not in str(caught.value)
    assert caught.value.__cause__ is None or "s3cret" not in str(caught.value.__cause__)


@pytest.mark.parametrize(
    "pem",
    [
        b"",
        b"-----BEGIN PRIVATE KEY-----\nnonsense\n-----END PRIVATE KEY-----\n",
        JWK.generate(kty="EC", crv="P-256").export_to_pem(),
        JWK.generate(kty="EC", crv="P-256").export_to_pem(private_key=True, password=b"locked"),
    ],
)
def test_a_pem_without_a_plain_private_key_is_refused(pem: bytes) -> None:
    with pytest.raises(ConfigError, match=r"issuer\.key_file"):
        SigningKey.from_pem(pem)


@pytest.mark.parametrize("algorithm", ["none", "HS256", "RS512", ""])
def test_a_key_is_generated_for_a_known_algorithm_only(algorithm: str) -> None:
    with pytest.raises(ConfigError, match=r"issuer\.algorithm"):
        SigningKey.generate(algorithm)


def test_a_signing_key_shows_nothing_of_itself() -> None:
    key = SigningKey.generate("EdDSA")
    assert repr(key) == f"SigningKey(EdDSA, kid={key.kid!r})"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("issuer", ""),
        ("audience", " "),
        ("lifetime", 0),
        ("lifetime", 10**9),
        ("algorithm", "HS256"),
        ("algorithm", "none"),
        ("key_period", 900.0),
        ("key_period", float("inf")),
        ("publish_ahead", -1.0),
        ("retain", float("nan")),
    ],
)
def test_a_setting_out_of_range_is_named(field: str, value: object) -> None:
    arguments: dict[str, Any] = {"issuer": "i", field: value}
    with pytest.raises(ConfigError) as caught:
        LocalSettings(**arguments)
    assert caught.value.field == f"issuer.{field}"


# --- keys over time ---------------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_a_key_is_published_before_it_signs_and_after_it_has_signed() -> None:
    """Boundaries in threes: nobody who caches our JWKS for less than 900 s ever meets an unknown key."""
    clock = HeldClock()
    keys = LocalKeys(clock=clock, schedule=SCHEDULE)
    start = clock.now
    first = (await keys.signing_key()).kid

    clock.now = start + 42_299
    assert (await keys.signing_key()).kid == first
    assert kids(keys) == {first}

    clock.now = start + 42_300
    assert (await keys.signing_key()).kid == first
    (second,) = kids(keys) - {first}

    clock.now = start + 43_199
    assert (await keys.signing_key()).kid == first

    clock.now = start + 43_200
    assert (await keys.signing_key()).kid == second
    assert kids(keys) == {first, second}

    clock.now = start + 43_200 + 1919
    assert kids(keys) == {first, second}
    assert keys.recheck_at == start + 43_200 + 1920

    clock.now = start + 43_200 + 1920
    assert kids(keys) == {second}


@given(st.lists(st.floats(0, 30_000), min_size=1, max_size=40))
@settings(deadline=None, max_examples=30)
def test_whenever_it_is_asked_every_unexpired_token_can_be_verified(steps: list[float]) -> None:
    clock = HeldClock()

    async def live() -> None:
        keys = LocalKeys(clock=clock, schedule=SCHEDULE)
        signed: list[tuple[str, float]] = []
        seen: dict[str, float] = dict.fromkeys(kids(keys), -1e9)
        for step in steps:
            clock.now += step
            kid = (await keys.signing_key()).kid
            for known in kids(keys):
                seen.setdefault(known, clock.now)
            assert clock.now - seen[kid] >= 900
            signed.append((kid, clock.now))
            valid = {kid for kid, at in signed if clock.now < at + 1920}
            assert valid <= kids(keys)

    anyio.run(live)


@pytest.mark.anyio
async def test_who_relies_on_a_key_is_told_when_it_leaves() -> None:
    clock = HeldClock()
    keys = LocalKeys(clock=clock, schedule=SCHEDULE, keys=[SigningKey.generate("EdDSA")])
    told: list[frozenset[Thumbprint]] = []
    keys.on_retired(told.append)
    former = await keys.signing_key()
    keys.introduce(SigningKey.generate("ES256"))
    clock.now += 900
    assert (await keys.signing_key()).algorithm == "ES256"
    clock.now = keys.recheck_at
    await keys.recheck()
    await keys.recheck()
    assert told == [frozenset({former.public.thumbprint})]


@pytest.mark.anyio
async def test_given_keys_are_all_published_and_the_first_signs() -> None:
    """Overlap by configuration: how several workers, or a restart, share keys."""
    given_keys = [SigningKey.generate("ES256"), SigningKey.generate("EdDSA")]
    keys = LocalKeys(clock=HeldClock(), schedule=KeySchedule(), keys=given_keys)
    assert await keys.signing_key() is given_keys[0]
    assert kids(keys) == {key.kid for key in given_keys}
    assert keys.recheck_at == float("inf")


@pytest.mark.anyio
async def test_the_same_process_finds_the_keys_without_a_call() -> None:
    issuer = LocalIssuer(LocalSettings(issuer="i", algorithm="ES256"), clock=HeldClock())
    source = issuer.key_source()
    kid = header(await issuer.mint(ALICE))["kid"]
    await source.recheck()
    (found,) = await source.find(kid, "ES256")
    assert isinstance(found, Jwk)
    assert not found.key.has_private
    assert await source.find(kid, "RS256") == ()
    assert await source.find("other", "ES256") == ()


@pytest.mark.anyio
async def test_mints_that_meet_a_due_key_generate_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each further one would take the place of a key that others have fetched already."""
    clock = HeldClock()
    generated: list[SigningKey] = []

    def generate(algorithm: str) -> SigningKey:
        generated.append(generated_key(algorithm))
        return generated[-1]

    keys = LocalKeys(clock=clock, schedule=SCHEDULE)
    generated_key = SigningKey.generate
    monkeypatch.setattr(SigningKey, "generate", generate)
    clock.now += 42_300
    async with anyio.create_task_group() as tasks:
        for _ in range(10):
            tasks.start_soon(keys.signing_key)
    assert len(generated) == 1
    assert kids(keys) > {generated[0].kid}


@pytest.mark.anyio
async def test_run_changes_keys_on_time_without_a_mint() -> None:
    clock = HeldClock()
    changes: list[float] = []
    done = anyio.Event()
    start = clock.now

    async def sleep(seconds: float) -> None:
        await clock.sleep(seconds)
        changes.append(clock.now - start)
        if len(changes) == 4:
            done.set()
            await anyio.sleep_forever()

    keys = LocalKeys(clock=clock, schedule=SCHEDULE, sleep=sleep)
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(keys.run)
            await done.wait()
            tasks.cancel_scope.cancel()
    # Published ahead, signing, the former key gone, and the next one published ahead again.
    assert changes == [42_300, 43_200, 45_120, 85_500]
