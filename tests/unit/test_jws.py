import json
import tracemalloc
from time import process_time
from typing import Any

import pytest
from forge import compact, ec_key, ed_key, octets, published, rsa_key, sign
from hostile_tokens import Case, Keys, hostile, legal
from hypothesis import given
from hypothesis import strategies as st
from jwcrypto.jwk import JWK

from guestpass.core.base64url import encode
from guestpass.core.jwk import ALGORITHMS, Jwk, fitting, read_key
from guestpass.core.jws import VerifiedPayload, parse, verify
from guestpass.core.model import RawToken
from guestpass.errors import AlgorithmRefused, SignatureInvalid, TokenError, TokenMalformed

RS256 = frozenset({"RS256"})
KEYS = Keys(rsa=rsa_key(), ec=ec_key(), issuer="https://issuer.example", audience="web", now=1_800_000_000)
HEADER = KEYS.header
RING = tuple(read_key(published(key), algorithms=ALGORITHMS) for key in (rsa_key(), ec_key()))
TRUSTED = RING[0]
SIGNERS = [
    *[(rsa_key(), alg) for alg in ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")],
    (ec_key(), "ES256"),
    (ec_key("ec384", "P-384"), "ES384"),
    (ec_key("ec521", "P-521"), "ES512"),
    (ed_key(), "EdDSA"),
]
# What these rows break is a claim, and claims are read after the signature: see test_verifier.
OF_CLAIMS = {"J16", "J17", "J18"}


def opened(token: bytes, keys: tuple[Jwk, ...] = RING) -> VerifiedPayload | None:
    jws = parse(RawToken(token), algorithms=ALGORITHMS)
    for key in fitting(keys, jws.kid, jws.algorithm):
        return verify(jws, key)
    return None


def read_back(signer: JWK, alg: str) -> Jwk:
    return read_key(published(signer), algorithms=frozenset({alg}))


# --- attacks and oddities -----------------------------------------------------------------------------------


@pytest.mark.parametrize("case", [case for case in hostile(KEYS) if case.id not in OF_CLAIMS], ids=str)
def test_no_hostile_token_verifies(case: Case) -> None:
    try:
        payload = opened(case.token)
    except TokenError:
        return
    assert payload is None, "a key fits and verifies it"


@pytest.mark.parametrize("case", legal(KEYS), ids=str)
def test_a_legal_oddity_verifies(case: Case) -> None:
    payload = opened(case.token)
    assert payload is not None
    assert payload.members["sub"] == "guest-1"
    assert payload.members == json.loads(payload.raw)


@pytest.mark.parametrize(
    "case", [case for case in hostile(KEYS) if case.id in {"J22", "J26", "J13"}], ids=str
)
def test_an_expensive_token_costs_next_to_nothing(case: Case) -> None:
    """No row inflates, iterates or nests its way past 20 ms of CPU or a megabyte, even under the tracer."""
    tracemalloc.start()
    try:
        started = process_time()
        with pytest.raises(TokenError):
            opened(case.token)
        assert process_time() - started < 0.02
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


@given(st.binary(max_size=400) | st.text("AQeyJ0.=-_ ", max_size=60).map(str.encode))
def test_any_octets_are_refused_with_one_type_of_error(compact_form: bytes) -> None:
    with pytest.raises(TokenError):
        opened(compact_form)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
)
header_names = st.sampled_from(
    ["alg", "kid", "typ", "cty", "crit", "b64", "zip", "jwk", "jku", "x5c", "enc", "p2c"]
)


@given(
    st.dictionaries(header_names, json_values | st.sampled_from(sorted(ALGORITHMS))), st.binary(max_size=300)
)
def test_any_header_is_refused_with_one_type_of_error(members: dict[str, Any], signature: bytes) -> None:
    """No header makes a signature that nobody made verify, nor raises anything of jwcrypto's."""
    try:
        payload = opened(compact({**HEADER, **members}, KEYS.claims, signature))
    except TokenError:
        return
    assert payload is None


def test_a_header_is_judged_by_the_lists_of_each_call() -> None:
    """What is remembered of a header must never answer for another allow-list."""
    token = RawToken(sign(rsa_key(), {**HEADER, "typ": "JWT"}, KEYS.claims))
    assert parse(token, algorithms=RS256).algorithm == "RS256"
    with pytest.raises(AlgorithmRefused):
        parse(token, algorithms=frozenset({"ES256"}))
    with pytest.raises(TokenMalformed):
        parse(token, algorithms=RS256, types=frozenset({"at+jwt"}))
    assert parse(token, algorithms=RS256).kid == HEADER["kid"]


def test_a_flood_of_headers_is_not_kept() -> None:
    tracemalloc.start()
    try:
        for number in range(2_000):
            parse(RawToken(compact({**HEADER, "n": f"{number:01000}"}, {}, b"x")), algorithms=RS256)
        assert tracemalloc.get_traced_memory()[0] < 300_000
    finally:
        tracemalloc.stop()


# --- one spelling -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("signer", "alg"), SIGNERS, ids=[alg for _, alg in SIGNERS])
def test_what_is_signed_verifies_and_comes_back(signer: JWK, alg: str) -> None:
    token = sign(signer, {"alg": alg, "kid": signer["kid"]}, {"sub": "x"}, alg=alg)
    jws = parse(RawToken(token), algorithms=frozenset({alg}))
    assert (jws.algorithm, jws.kid) == (alg, signer["kid"])
    assert jws.signing_input + b"." + encode(jws.signature) == token
    payload = verify(jws, read_back(signer, alg))
    assert (payload.raw, payload.members) == (b'{"sub":"x"}', {"sub": "x"})


GOOD = {alg: sign(key, {"alg": alg, "kid": key["kid"]}, {"sub": "x"}, alg=alg) for key, alg in SIGNERS}


@given(st.sampled_from(SIGNERS), st.data())
def test_no_octet_of_a_token_can_be_changed(signer: tuple[JWK, str], data: st.DataObject) -> None:
    key, alg = signer
    token = GOOD[alg]
    at = data.draw(st.integers(0, len(token) - 1))
    other = data.draw(st.integers(0, 255).filter(lambda octet: octet != token[at]))
    changed = token[:at] + bytes((other,)) + token[at + 1 :]
    with pytest.raises(TokenError):
        verify(parse(RawToken(changed), algorithms=ALGORITHMS), read_back(key, alg))


@given(st.sampled_from(SIGNERS), st.data())
def test_no_octet_of_a_token_can_be_added_or_left_out(signer: tuple[JWK, str], data: st.DataObject) -> None:
    key, alg = signer
    token = GOOD[alg]
    at = data.draw(st.integers(0, len(token)))
    drop = data.draw(st.integers(0, 2))
    insert = data.draw(st.binary(max_size=2) | st.sampled_from([b"=", b"A", b".", b"\n"]))
    changed = token[:at] + insert + token[at + drop :]
    if changed != token:
        with pytest.raises(TokenError):
            verify(parse(RawToken(changed), algorithms=ALGORITHMS), read_back(key, alg))


@pytest.mark.parametrize(("signer", "alg"), SIGNERS, ids=[alg for _, alg in SIGNERS])
def test_a_signature_has_the_one_length_of_its_key(signer: JWK, alg: str) -> None:
    """An ECDSA signature whose halves are widened with zeros says the same two numbers: it is refused."""
    header, payload, signature = (json.dumps({"alg": alg}).encode(), b"{}", b"")
    token = sign(signer, header, payload, alg=alg)
    signature = parse(RawToken(token), algorithms=ALGORITHMS).signature
    half = len(signature) // 2
    widened = b"\0" + signature[:half] + b"\0" + signature[half:]
    for other in (widened, b"\0" + signature, signature + b"\0", signature[1:], signature[:-1]):
        with pytest.raises(SignatureInvalid):
            verify(
                parse(RawToken(compact(header, payload, other)), algorithms=ALGORITHMS),
                read_back(signer, alg),
            )


# --- the header ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("alg", ["none", "None", "HS256", "HS512", "ES256", "PS256", "rs256", "", "RS256 "])
def test_only_listed_algorithms_pass(alg: str) -> None:
    with pytest.raises(AlgorithmRefused):
        parse(RawToken(sign(rsa_key(), {**HEADER, "alg": alg}, {})), algorithms=RS256)


def test_a_key_verifies_only_what_it_is_for() -> None:
    """A listed algorithm is not enough: "alg" of the token and of the key must agree (RFC 8725 §3.1)."""
    jws = parse(RawToken(sign(rsa_key(), {"alg": "PS256"}, {}, alg="PS256")), algorithms=ALGORITHMS)
    verify(jws, read_key(published(rsa_key()), algorithms=ALGORITHMS))
    with pytest.raises(AlgorithmRefused):
        verify(jws, read_key(published(rsa_key(), alg="RS256"), algorithms=ALGORITHMS))
    with pytest.raises(AlgorithmRefused):
        verify(jws, RING[1])


@pytest.mark.parametrize("typ", ["JWT", "jwt", "Jwt", "application/jwt", "APPLICATION/JWT"])
def test_a_type_is_a_media_type_name(typ: str) -> None:
    parse(RawToken(sign(rsa_key(), {**HEADER, "typ": typ}, {})), algorithms=RS256)


def test_types_are_what_the_operator_says() -> None:
    token = RawToken(sign(rsa_key(), {**HEADER, "typ": "guest+JWT"}, {}))
    parse(token, algorithms=RS256, types=frozenset({"guest+jwt"}))
    with pytest.raises(TokenMalformed):
        parse(token, algorithms=RS256)
    with pytest.raises(TokenMalformed):
        parse(RawToken(KEYS.good()), algorithms=RS256, types=frozenset({"guest+jwt"}))


@pytest.mark.parametrize(
    "members", [{"crit": ["exp"], "exp": 1}, {"crit": []}, {"b64": True}, {"zip": "DEF"}]
)
def test_what_changes_the_meaning_of_a_token_is_refused(members: dict[str, Any]) -> None:
    with pytest.raises(TokenMalformed):
        parse(RawToken(sign(rsa_key(), {**HEADER, **members}, {})), algorithms=RS256)


@pytest.mark.parametrize("name", ["kid", "typ", "cty"])
@pytest.mark.parametrize("value", [None, 1, True, ["JWT"], {"JWT": 1}])
def test_a_name_in_a_header_is_text(name: str, value: object) -> None:
    with pytest.raises(TokenMalformed):
        parse(RawToken(sign(rsa_key(), {**HEADER, name: value}, {})), algorithms=RS256)


def test_a_kid_may_be_absent() -> None:
    assert parse(RawToken(sign(rsa_key(), {"alg": "RS256"}, {})), algorithms=RS256).kid is None


def test_a_token_without_a_signature_is_not_even_well_formed() -> None:
    """It is refused before a key is looked for, whatever its "alg"."""
    with pytest.raises(TokenMalformed):
        parse(RawToken(compact(HEADER, {}, b"")), algorithms=RS256)


@pytest.mark.parametrize("dots", [0, 1, 3, 4, 100])
def test_a_token_has_three_parts(dots: int) -> None:
    """Not two, which would be a signature over the header alone, nor a JWE's five (RFC 7516 §9)."""
    part = encode(octets(HEADER))
    with pytest.raises(TokenMalformed):
        parse(RawToken(b".".join([part] * (dots + 1))), algorithms=RS256)


# --- size and order -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("length", "passes"), [(8191, True), (8192, True), (8193, False)])
def test_a_token_has_a_greatest_length(length: int, passes: bool) -> None:
    bare = len(sign(rsa_key(), {"alg": "RS256"}, {"x": ""}))
    token = next(
        token
        for fill in range((length - bare) * 3 // 4 - 8, length)
        for kid in ("", "k", "kk")
        if len(token := sign(rsa_key(), {"alg": "RS256", "x": kid}, {"x": "y" * fill})) == length
    )
    if passes:
        assert opened(token, (TRUSTED,)) is not None
    else:
        with pytest.raises(TokenMalformed):
            opened(token, (TRUSTED,))


def test_a_payload_is_not_parsed_before_its_signature_holds() -> None:
    """Nobody but the issuer reaches the parser of claims: a forged payload that is no JSON is only forged."""
    forged = parse(RawToken(compact(HEADER, b"[" * 4000, b"x" * 256)), algorithms=RS256)
    with pytest.raises(SignatureInvalid):
        verify(forged, TRUSTED)
    signed = parse(RawToken(sign(rsa_key(), HEADER, b"[]")), algorithms=RS256)
    with pytest.raises(TokenMalformed):
        verify(signed, TRUSTED)


def test_neither_a_token_nor_its_parts_show_in_a_repr() -> None:
    token = sign(rsa_key(), HEADER, {"name": "Ada"})
    jws = parse(RawToken(token), algorithms=RS256)
    shown = repr(jws) + repr(verify(jws, TRUSTED))
    assert "Ada" not in shown
    assert repr(jws.signature)[2:-1] not in shown
    assert octets(HEADER).decode() not in shown
    assert not [part for part in token.decode().split(".") if part in shown]
