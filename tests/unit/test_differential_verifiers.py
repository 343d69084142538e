"""Two verifiers that others wrote judge the same tokens: what we accept, both accept.

A slip that lets a forged token through would have to be made three times over. Where we differ on purpose
the token is listed, with the reason.
"""

import json
import re
import time
from collections.abc import Callable
from typing import Any

import jwt as pyjwt
import pytest
from forge import compact, ec_key, octets, published, rsa_key, sign
from hostile_tokens import Case, Keys, hostile, legal
from hypothesis import given
from hypothesis import strategies as st
from jwcrypto.common import JWException
from jwcrypto.jwk import JWKSet
from jwcrypto.jwt import JWT

from guestpass.core.claims import ClaimRules, read
from guestpass.core.jwk import fitting, read_set
from guestpass.core.jws import parse, verify
from guestpass.core.model import RawToken, UnixTime
from guestpass.errors import TokenError

# The others read the system's clock; what is generated keeps a day's distance from every edge.
NOW = int(time.time())
ALGORITHMS = frozenset({"RS256", "ES256"})
DAY = 86_400
# The other two read the real clock, and a whole run of the tests may take longer than a token usually lives.
KEYS = Keys(
    rsa=rsa_key(), ec=ec_key(), issuer="https://issuer.example", audience="web", now=NOW, lifetime=86_400
)
DOCUMENT = json.dumps({"keys": [published(rsa_key()), published(ec_key())]})
RING = read_set(DOCUMENT.encode(), algorithms=ALGORITHMS).keys
CLAIMS = {**KEYS.claims, "exp": NOW + DAY}
RULES = ClaimRules(issuer=KEYS.issuer, audience=frozenset({KEYS.audience}))
PYJWT_KEYS = pyjwt.PyJWKSet.from_json(DOCUMENT)
JWCRYPTO_KEYS = JWKSet.from_json(DOCUMENT)


def ours(token: bytes) -> bool:
    try:
        unverified = parse(RawToken(token), algorithms=ALGORITHMS)
        keys = fitting(RING, unverified.kid, unverified.algorithm)
        return bool(keys) and read(verify(unverified, keys[0]), RULES, now=UnixTime(NOW)).expires_at > NOW
    except TokenError:
        return False


def by_pyjwt(token: bytes) -> bool:
    try:
        header = pyjwt.get_unverified_header(token)
        # Without a kid: the one key there is for the algorithm.
        key = PYJWT_KEYS[header.get("kid", {"RS256": "rsa", "ES256": "ec"}.get(header["alg"], ""))]
        pyjwt.decode(
            token,
            key,
            algorithms=sorted(ALGORITHMS),
            audience=KEYS.audience,
            issuer=KEYS.issuer,
            leeway=30,
            options={"require": ["exp", "iss", "aud"]},
        )
    except (pyjwt.PyJWTError, KeyError, ValueError, TypeError, RecursionError):
        return False
    return True


def by_jwcrypto(token: bytes) -> bool:
    checked = {"iss": KEYS.issuer, "aud": KEYS.audience, "exp": None}
    try:
        reader = JWT(algs=sorted(ALGORITHMS), check_claims=checked)
        reader.leeway = 30
        reader.deserialize(token.decode("latin-1"), JWCRYPTO_KEYS)
    except (JWException, KeyError, ValueError, TypeError, OverflowError, RecursionError):
        return False
    return True


OTHERS: dict[str, Callable[[bytes], bool]] = {"PyJWT": by_pyjwt, "jwcrypto": by_jwcrypto}


def refusing(token: bytes) -> list[str]:
    return [name for name, accepts in OTHERS.items() if not accepts(token)]


def test_all_three_accept_what_is_good() -> None:
    """Else the laws below would hold of verifiers that accept nothing."""
    assert ours(KEYS.good())
    assert refusing(KEYS.good()) == []


# --- where we are laxer, on purpose -------------------------------------------------------------------------

LAXER = {
    "jti": "a name that nobody here reads; the id of a token is the digest of its octets",
}


def laxer(claims: dict[str, Any]) -> bool:
    """Whether a claims set holds what only we overlook."""
    return not isinstance(claims.get("jti", ""), str)


# --- generated tokens ---------------------------------------------------------------------------------------

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)
instants = st.sampled_from([-30 * DAY, -DAY, DAY, 30 * DAY]).map(lambda away: NOW + away)
known = st.sampled_from(
    [KEYS.issuer, KEYS.issuer + "/", KEYS.audience, [KEYS.audience], ["x"], [], "", "JWT"]
)
claim_changes = st.dictionaries(
    st.sampled_from(["iss", "aud", "exp", "nbf", "iat", "sub", "jti", "name", "email", "x"]),
    json_values | instants | instants.map(float) | instants.map(str) | known,
    max_size=3,
)
header_changes = st.dictionaries(
    st.sampled_from(["alg", "kid", "typ", "cty", "crit", "b64", "zip", "jwk", "jku", "x5c", "x"]),
    json_values | st.sampled_from(["RS256", "ES256", "none", "HS256", "PS256", "rsa", "ec", "jwt", "JWT"]),
    max_size=2,
)
signers = st.sampled_from([(rsa_key(), "RS256"), (ec_key(), "ES256")])


@given(signers, header_changes, claim_changes, st.sets(st.sampled_from(["exp", "iss", "aud", "iat", "nbf"])))
def test_what_we_accept_of_signed_tokens_both_accept(
    signer: tuple[Any, str], header: dict[str, Any], claims: dict[str, Any], left_out: set[str]
) -> None:
    key, alg = signer
    payload = {name: value for name, value in CLAIMS.items() if name not in left_out} | claims
    token = sign(key, {"alg": alg, "kid": key["kid"], "typ": "JWT", **header}, payload, alg=alg)
    if ours(token) and not laxer(payload):
        assert refusing(token) == []


@given(signers, st.data())
def test_what_we_accept_of_changed_octets_both_accept(signer: tuple[Any, str], data: st.DataObject) -> None:
    key, alg = signer
    token = sign(key, {"alg": alg, "kid": key["kid"]}, CLAIMS, alg=alg)
    at = data.draw(st.integers(0, len(token)))
    gone = data.draw(st.integers(0, 3))
    put = data.draw(st.binary(max_size=3) | st.sampled_from([b"=", b".", b"A", b" ", b"\n", b"+", b"/"]))
    token = token[:at] + put + token[at + gone :]
    if ours(token):
        assert refusing(token) == []


@given(signers, st.data())
def test_what_we_accept_of_respelled_json_both_accept(signer: tuple[Any, str], data: st.DataObject) -> None:
    """Truly signed, whatever octets the header and the claims set became."""
    key, alg = signer

    def respelled(part: bytes) -> bytes:
        at = data.draw(st.integers(0, len(part)))
        gone = data.draw(st.integers(0, 4))
        put = data.draw(
            st.sampled_from([b"", b" ", b"\n", b",", b'"', b"\\", b"1", b"e9", b".5", b"null", b"\xff"])
        )
        return part[:at] + put + part[at + gone :]

    header = octets({"alg": alg, "kid": key["kid"]})
    token = sign(key, respelled(header), respelled(octets(CLAIMS)), alg=alg)
    if ours(token):
        assert refusing(token) == []


@pytest.mark.parametrize("case", legal(KEYS), ids=str)
def test_a_legal_oddity_passes_all_three(case: Case) -> None:
    assert ours(case.token)
    assert refusing(case.token) == []


def name(case: Case) -> str:
    """The same in each process that runs tests, whose clocks differ."""
    return re.sub(r"\d{10}", "T", str(case))


@pytest.mark.parametrize("case", hostile(KEYS), ids=name)
def test_we_accept_no_hostile_token_whoever_else_does(case: Case) -> None:
    assert not ours(case.token)


# --- where we are stricter, on purpose ----------------------------------------------------------------------


def _signed(header: object = None, claims: object = None) -> bytes:
    def part(standard: dict[str, Any], odd: object) -> bytes:
        return (
            odd if isinstance(odd, bytes) else octets({**standard, **(odd if isinstance(odd, dict) else {})})
        )

    return sign(rsa_key(), part(KEYS.header, header), part(CLAIMS, claims))


def _with(member: bytes) -> bytes:
    return octets(CLAIMS)[:-1] + b"," + member + b"}"


_HEADER, _PAYLOAD, _SIGNATURE = KEYS.good().split(b".")

STRICTER = {
    "padding: one token has one spelling, so that a revocation finds it": KEYS.good() + b"==",
    "a claim twice: whoever reads the first and whoever reads the last disagree": _signed(
        claims=_with(b'"sub":"root"')
    ),
    "a parameter twice, as above": _signed(octets(KEYS.header)[:-1] + b',"kid":"rsa"}'),
    "another type of token: a token for one use must not serve another (RFC 8725 §3.11)": _signed(
        {"typ": "at+jwt"}
    ),
    "a nested JWT: what is inside is nobody's claims set": _signed({"cty": "JWT"}),
    "an extension that names itself: we know none": _signed({"b64": True}),
    "a compressed JWS: there is none, so it is meant for another reader": _signed({"zip": "DEF"}),
    "a number that JSON does not know": _signed(claims=_with(b'"x":NaN')),
    "half a character: it cannot be written into a field or a log": _signed(claims=_with(rb'"x":"\ud800"')),
    "an integer of a thousand digits: converting it is quadratic": _signed(
        claims=_with(b'"x":' + b"9" * 1000)
    ),
    "depth beyond 32: the next reader's stack": _signed(claims=_with(b'"x":' + b"[" * 40 + b"]" * 40)),
    "beyond 8 KiB: what is looked at first must be cheap": _signed(claims={"x": "y" * 7000}),
    "a year that no date can say": _signed(claims={"exp": 10**14}),
    "a name that is no text: it goes into a field": _signed(claims={"name": ["Ada"]}),
}


@pytest.mark.parametrize("token", STRICTER.values(), ids=STRICTER)
def test_each_listed_difference_is_one(token: bytes) -> None:
    assert not ours(token)
    assert len(refusing(token)) < len(OTHERS), "no difference: all three refuse it"


def test_the_listed_laxness_is_one() -> None:
    for name in LAXER:
        token = _signed(claims={name: 5})
        assert ours(token)
        assert refusing(token) == list(OTHERS)
        assert laxer({name: 5})


def test_a_token_without_a_key_is_accepted_by_nobody() -> None:
    token = compact(KEYS.header, CLAIMS, bytes(256))
    assert not ours(token)
    assert refusing(token) == list(OTHERS)
