import json
from typing import Any

import pytest
from forge import ec_key, ed_key, published, rsa_key
from hypothesis import given
from hypothesis import strategies as st
from jwcrypto.jwk import JWK

from guestpass.core import base64url
from guestpass.core.jwk import ALGORITHMS, MAX_SAME_KID, KeyUnusable, fitting, read_key, read_set

RSA_ALGORITHMS = {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}


def why_unusable(member: object, algorithms: frozenset[str] = ALGORITHMS) -> str:
    with pytest.raises(KeyUnusable) as caught:
        read_key(member, algorithms=algorithms)
    return caught.value.reason


def number(value: int, *, octets: int | None = None) -> str:
    return base64url.encode(value.to_bytes(octets or (value.bit_length() + 7) // 8)).decode()


def jwks(*members: object) -> bytes:
    return json.dumps({"keys": members}).encode()


GOOD = published(rsa_key(), alg="RS256", use="sig", key_ops=["verify"])
MODULUS = rsa_key().get_op_key("verify").public_numbers().n

# One of each way in which a published key may be of no use, and the word for it.
BROKEN: dict[str, tuple[object, str]] = {
    "null": (None, "not_an_object"),
    "text": ("key", "not_an_object"),
    "list": ([GOOD], "not_an_object"),
    "empty": ({}, "kty"),
    "unknown kty": ({**GOOD, "kty": "AKP"}, "kty"),
    "kty in another case": ({**GOOD, "kty": "rsa"}, "kty"),
    "list as kty": ({**GOOD, "kty": ["RSA"]}, "kty"),
    "symmetric": ({"kty": "oct", "k": "c2VjcmV0", "alg": "HS256"}, "kty"),
    "integer kid": ({**GOOD, "kid": 1}, "kid"),
    "kid with half a character": ({**GOOD, "kid": "\ud800"}, "kid"),
    "kid with the other half": ({**GOOD, "kid": "a\udc00"}, "kid"),
    "null kid": ({**GOOD, "kid": None}, "kid"),
    "encryption": ({**GOOD, "use": "enc"}, "use"),
    "list as use": ({**GOOD, "use": ["sig"]}, "use"),
    "null use": ({**GOOD, "use": None}, "use"),
    "other key_ops": ({**GOOD, "key_ops": ["encrypt", "sign"]}, "key_ops"),
    "no key_ops": ({**GOOD, "key_ops": []}, "key_ops"),
    "text as key_ops": ({**GOOD, "key_ops": "verify"}, "key_ops"),
    "encryption alg": ({**GOOD, "alg": "RSA-OAEP"}, "alg"),
    "alg of another kty": ({**GOOD, "alg": "ES256"}, "alg"),
    "HMAC alg": ({**GOOD, "alg": "HS256"}, "alg"),
    "null alg": ({**GOOD, "alg": None}, "alg"),
    "list as alg": ({**GOOD, "alg": ["RS256"]}, "alg"),
    "1024 bits": (published(rsa_key("weak", 1024)), "rsa_size"),
    "2047 bits": ({**GOOD, "n": number(MODULUS >> 1)}, "rsa_size"),
    "8193 bits": ({**GOOD, "n": number((1 << 8192) + 1)}, "rsa_size"),
    "a megabit": ({**GOOD, "n": number((1 << 1_000_000) + 1)}, "rsa_size"),
    "zero modulus": ({**GOOD, "n": "AA"}, "rsa_size"),
    "empty modulus": ({**GOOD, "n": ""}, "rsa_size"),
    "even modulus": ({**GOOD, "n": number(MODULUS + 1)}, "rsa_modulus"),
    "exponent 0": ({**GOOD, "e": "AA"}, "rsa_exponent"),
    "exponent 1": ({**GOOD, "e": "AQ"}, "rsa_exponent"),
    "exponent 2": ({**GOOD, "e": "Ag"}, "rsa_exponent"),
    "even exponent": ({**GOOD, "e": number(65_536)}, "rsa_exponent"),
    "exponent above 32 bits": ({**GOOD, "e": number(2**32 + 1)}, "rsa_exponent"),
    "exponent of 2048 bits": ({**GOOD, "e": number(MODULUS - 2)}, "rsa_exponent"),
    "no modulus": ({"kty": "RSA", "e": "AQAB"}, "members"),
    "no exponent": ({"kty": "RSA", "n": GOOD["n"]}, "members"),
    "number as modulus": ({**GOOD, "n": MODULUS}, "members"),
    "padded modulus": ({**GOOD, "n": GOOD["n"] + "=="}, "encoding"),
    "plain base64": ({**GOOD, "n": "+/" + GOOD["n"][2:]}, "encoding"),
    "not ASCII": ({**GOOD, "n": "é" + GOOD["n"]}, "encoding"),
    "unknown curve": (published(ec_key(), crv="P-192"), "crv"),
    "secp256k1": (published(ec_key("k", "secp256k1")), "crv"),
    "list as curve": (published(ec_key(), crv=["P-256"]), "crv"),
    "coordinates of a smaller curve": (published(ec_key(), crv="P-384"), "ec_size"),
    "y too short": (published(ec_key(), y="AA"), "ec_size"),
    "x with a leading zero": (published(ec_key(), x=number(5, octets=33)), "ec_size"),
    "off the curve": (published(ec_key(), y=published(ec_key())["x"]), "invalid"),
    "at infinity": (published(ec_key(), x=number(0, octets=32), y=number(0, octets=32)), "invalid"),
    "alg of another curve": (published(ec_key(), alg="ES384"), "alg"),
    "Ed448": (published(ed_key(), crv="Ed448"), "crv"),
    "X25519": (published(ed_key(), crv="X25519"), "crv"),
    "Ed25519, too short": (published(ed_key(), x="AA"), "okp_size"),
    "Ed25519 for RS256": (published(ed_key(), alg="RS256"), "alg"),
}


@pytest.mark.parametrize(("member", "reason"), BROKEN.values(), ids=BROKEN)
def test_an_unusable_key_says_why_in_one_word(member: object, reason: str) -> None:
    assert why_unusable(member) == reason


def test_an_unusable_key_says_it_in_its_message_too() -> None:
    with pytest.raises(KeyUnusable, match=r"^kty$"):
        read_key({}, algorithms=ALGORITHMS)


@pytest.mark.parametrize(("bits", "octets"), [(2048, 256), (2049, 257), (8192, 1024)])
def test_a_signature_is_as_long_as_the_modulus(bits: int, octets: int) -> None:
    modulus = (1 << (bits - 1)) + 1
    assert read_key({**GOOD, "n": number(modulus)}, algorithms=ALGORITHMS).signature_length == octets


@pytest.mark.parametrize(("member", "reason"), BROKEN.values(), ids=BROKEN)
def test_a_broken_neighbour_takes_no_good_key_with_it(member: object, reason: str) -> None:
    for members, index in (([member, GOOD], 0), ([GOOD, member], 1)):
        found = read_set(jwks(*members), algorithms=ALGORITHMS)
        assert [key.kid for key in found.keys] == ["rsa"]
        assert found.skipped == ((index, reason),)


@pytest.mark.parametrize(
    ("neighbour", "reason"),
    [
        (b'{"kty":"RSA","kty":"RSA"}', "not_an_object"),
        (b'{"kty":"RSA","n":NaN,"e":"AQAB"}', "members"),
        (b'{"kty":"RSA","n":1e999,"e":"AQAB"}', "members"),
        (b'{"kid":%s}' % (b"9" * 100_000), "kid"),
        (b"[" * 20 + b"]" * 20, "not_an_object"),
    ],
)
def test_not_even_one_that_is_hardly_json(neighbour: bytes, reason: str) -> None:
    found = read_set(b'{"keys":[%s,%s]}' % (neighbour, json.dumps(GOOD).encode()), algorithms=ALGORITHMS)
    assert [key.kid for key in found.keys] == ["rsa"]
    assert found.skipped == ((0, reason),)


@pytest.mark.parametrize(
    ("key", "algorithms", "signature_length"),
    [
        (rsa_key(), RSA_ALGORITHMS, 256),
        (rsa_key("odd", 2052), RSA_ALGORITHMS, 257),
        (ec_key(), {"ES256"}, 64),
        (ec_key("ec384", "P-384"), {"ES384"}, 96),
        (ec_key("ec521", "P-521"), {"ES512"}, 132),
        (ed_key(), {"EdDSA"}, 64),
    ],
)
def test_a_key_is_bound_to_what_its_type_can_verify(
    key: JWK, algorithms: set[str], signature_length: int
) -> None:
    jwk = read_key(published(key), algorithms=ALGORITHMS)
    assert jwk.kid == key["kid"]
    assert jwk.algorithms == algorithms
    assert jwk.signature_length == signature_length
    assert jwk.thumbprint == key.thumbprint()


def test_a_key_is_bound_by_its_own_alg_and_by_the_operator() -> None:
    assert read_key(published(rsa_key(), alg="PS256"), algorithms=ALGORITHMS).algorithms == {"PS256"}
    two = frozenset({"RS256", "ES256"})
    assert read_key(published(rsa_key()), algorithms=two).algorithms == {"RS256"}
    assert why_unusable(published(rsa_key(), alg="PS256"), two) == "alg"
    assert why_unusable(published(ed_key()), two) == "alg"


def test_no_symmetric_algorithm_can_be_allowed() -> None:
    assert not [name for name in ALGORITHMS if name.startswith(("HS", "none"))]


def test_unknown_and_harmless_members_are_ignored() -> None:
    member = {**GOOD, "x5t": 1, "nbf": None, "ext": True, "key_ops": ["verify", "verify", "sign"]}
    assert read_key(member, algorithms=ALGORITHMS).kid == "rsa"


@pytest.mark.parametrize("exponent", [3, 17, 65_537, 2**32 - 1])
def test_a_small_odd_exponent_passes(exponent: int) -> None:
    read_key({**GOOD, "e": number(exponent)}, algorithms=ALGORITHMS)


@pytest.mark.parametrize("key", [rsa_key(), ec_key(), ed_key()])
def test_private_members_are_never_kept(key: JWK) -> None:
    """An issuer that publishes its private key must not find it in our memory, logs or dumps."""
    jwk = read_key(json.loads(key.export_private()), algorithms=ALGORITHMS)
    assert not jwk.key.has_private
    assert key["d"] not in repr(jwk)
    assert key["d"] not in jwk.key.values()


def test_a_thumbprint_is_that_of_the_key_and_not_of_its_spelling() -> None:
    """RFC 7518 §6.3.1.1: some libraries write a leading zero octet."""
    spelled = {**GOOD, "n": number(MODULUS, octets=257), "e": number(65_537, octets=8), "kid": "other"}
    read = read_key(spelled, algorithms=ALGORITHMS)
    assert read.thumbprint == rsa_key().thumbprint()
    assert read.signature_length == 256


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text()
    | st.sampled_from(["RSA", "EC", "OKP", "P-256", "sig"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)
member_names = st.sampled_from(
    ["kty", "kid", "use", "key_ops", "alg", "n", "e", "crv", "x", "y", "d", "k", "oth"]
)


@given(
    st.sampled_from([GOOD, published(ec_key()), published(ed_key())]),
    st.dictionaries(member_names, json_values),
)
def test_any_member_is_read_or_unusable(good: dict[str, Any], changes: dict[str, Any]) -> None:
    try:
        key = read_key({**good, **changes}, algorithms=ALGORITHMS)
    except KeyUnusable:
        return
    assert key.algorithms <= ALGORITHMS


# --- sets ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'{"keys":null}',
        b'{"keys":{}}',
        b'{"keys":"x"}',
        b'{"keys":[]}',
        b'{"keys":[null,{},{"kty":"oct","k":"c2VjcmV0"}]}',
        b'{"Keys":[%s]}' % json.dumps(GOOD).encode(),
        b'{"keys":[%s]' % json.dumps(GOOD).encode(),
        b'{"keys":[],"keys":[%s]}' % json.dumps(GOOD).encode(),
        b"<!doctype html><title>503</title>",
        b"\xff",
        b'{"keys":' + b"[" * 20_000,
    ],
)
def test_a_document_without_a_usable_key_is_an_outage(document: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  the type is the whole promise
        read_set(document, algorithms=ALGORITHMS)


@given(st.binary(max_size=64) | json_values.map(lambda value: json.dumps({"keys": value}).encode()))
def test_any_document_is_a_set_or_an_outage(document: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  nothing that hypothesis finds is a key
        read_set(document, algorithms=ALGORITHMS)


@pytest.mark.parametrize(
    ("extra", "skipped"), [(0, ()), (1, ((64, "too_many"),)), (1000, ((64, "too_many"),))]
)
def test_only_so_many_members_are_looked_at(extra: int, skipped: tuple[tuple[int, str], ...]) -> None:
    found = read_set(jwks(*[GOOD] * (64 + extra)), algorithms=ALGORITHMS)
    assert len(found.keys) == 64
    assert found.skipped == skipped


def test_keys_keep_the_order_of_the_document() -> None:
    found = read_set(jwks(published(ed_key()), GOOD, published(ec_key())), algorithms=ALGORITHMS)
    assert [key.kid for key in found.keys] == ["ed", "rsa", "ec"]


# --- which key fits -----------------------------------------------------------------------------------------


def ring(*members: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(read_key(member, algorithms=ALGORITHMS) for member in members)


def test_a_key_fits_by_kid_and_algorithm_together() -> None:
    rsa, ec = keys = ring(GOOD, published(ec_key()))
    assert fitting(keys, "rsa", "RS256") == (rsa,)
    assert fitting(keys, "ec", "ES256") == (ec,)
    assert fitting(keys, "ec", "RS256") == ()
    assert fitting(keys, "rsa", "PS256") == ()  # its own "alg" says RS256
    assert fitting(keys, "RSA", "RS256") == ()
    assert fitting(keys, "", "RS256") == ()
    assert fitting((), "rsa", "RS256") == ()


def test_a_key_without_a_name_fits_no_name() -> None:
    nameless = {name: value for name, value in GOOD.items() if name != "kid"}
    (key,) = keys = ring(nameless)
    assert key.kid is None
    assert fitting(keys, "rsa", "RS256") == ()
    assert fitting(keys, None, "RS256") == (key,)


def test_a_token_without_a_kid_fits_only_without_a_choice() -> None:
    rsa, ec = keys = ring(GOOD, published(ec_key()))
    assert fitting(keys, None, "RS256") == (rsa,)
    assert fitting(keys, None, "ES256") == (ec,)
    assert fitting(keys, None, "EdDSA") == ()
    assert fitting((*keys, *ring({**GOOD, "kid": "b"})), None, "RS256") == ()


def test_keys_that_share_a_kid_all_fit_up_to_a_bound() -> None:
    first, second = keys = ring(GOOD, published(rsa_key("second"), kid="rsa"))
    assert fitting(keys, "rsa", "RS256") == (first, second)
    assert fitting(keys * MAX_SAME_KID, "rsa", "RS256") == keys * (MAX_SAME_KID // 2)
