"""The published keys: which may verify a token, and which fits one (RFC 7517, RFC 7518 §6, RFC 8037)."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

from jwcrypto.jwk import JWK

from guestpass.core import base64url
from guestpass.core.model import Thumbprint
from guestpass.core.strict_json import salvage

_RSA: Final = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})
_EDDSA: Final = "EdDSA"

# RFC 7518 §3.4 binds each algorithm to one curve: (algorithm, octets of a coordinate).
_CURVES: Final = {"P-256": ("ES256", 32), "P-384": ("ES384", 48), "P-521": ("ES512", 66)}
_ED25519_OCTETS: Final = 32

ALGORITHMS: Final = _RSA | {algorithm for algorithm, _ in _CURVES.values()} | {_EDDSA}
"""Every signature algorithm that can be allowed. None is symmetric: what can be verified with a published
key must not be signable with it (RFC 8725 §3.1)."""

MIN_RSA_BITS: Final = 2048  # RFC 7518 §3.3
MAX_RSA_BITS: Final = 8192  # one verification takes 0.3 ms there, and grows with the square
MAX_RSA_EXPONENT: Final = 2**32 - 1  # 65537 is what everyone has; a huge one makes verification slow
MIN_RSA_EXPONENT: Final = 3  # with 1 the signature is its own message

_LONE_SURROGATE = re.compile(r"[\ud800-\udfff]")

MAX_SAME_KID: Final = 4
"""How many keys of one kid are tried for one token."""


class KeyUnusable(ValueError):  # noqa: N818  says what is wrong with the key
    """A published key may not verify anything; `reason` is one of a bounded set of words."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True, eq=False)
class Jwk:
    """One public key, checked, and bound to what it may be used for.

    Attributes:
        kid: The name it is published under, if any.
        thumbprint: What it is, whatever its name (RFC 7638).
        algorithms: What it may verify; never empty.
        signature_length: Octets of every signature it can have made.
        key: The public members that define the key and no others; parsed already, so that its first use
            costs no more than the next.
    """

    kid: str | None
    thumbprint: Thumbprint
    algorithms: frozenset[str]
    signature_length: int
    key: JWK


@dataclass(frozen=True, slots=True)
class KeySet:
    """What a JWKS document yields.

    Attributes:
        keys: The usable ones, in the order of the document; never empty.
        skipped: Position in the document and reason of each that is not.
    """

    keys: tuple[Jwk, ...]
    skipped: tuple[tuple[int, str], ...]


def read_set(document: bytes, *, algorithms: frozenset[str], most: int = 64) -> KeySet:
    """Read a JWKS (RFC 7517 §5) key by key: a broken key never takes its neighbours with it.

    Args:
        document: The JSON as fetched; its size is bounded by the caller.
        algorithms: Those that the operator allows.
        most: How many members of "keys" are looked at.

    Raises:
        ValueError: Not a JWKS, or one without a single usable key: an outage of the issuer, not a word on
            any key.
    """
    match salvage(document):
        case {"keys": [*members]}:
            pass
        case _:
            raise ValueError("not a JWKS")
    keys: list[Jwk] = []
    skipped: list[tuple[int, str]] = []
    for index, member in enumerate(members[:most]):
        try:
            keys.append(read_key(member, algorithms=algorithms))
        except KeyUnusable as exc:
            skipped.append((index, exc.reason))
    if len(members) > most:
        skipped.append((most, "too_many"))
    if not keys:
        raise ValueError("no usable key")
    return KeySet(tuple(keys), tuple(skipped))


def read_key(member: object, *, algorithms: frozenset[str]) -> Jwk:
    """Read one JWK for verification.

    Private members are neither read nor kept; unknown ones are ignored (RFC 7517 §4).

    Raises:
        KeyUnusable: It is no public signature key, is weak, or fits none of `algorithms`.
    """
    if not isinstance(member, dict):
        raise KeyUnusable("not_an_object")
    kid = member.get("kid")
    if "kid" in member and (not isinstance(kid, str) or _LONE_SURROGATE.search(kid)):
        raise KeyUnusable("kid")  # one that no token can have, and no log can write
    if member.get("use", "sig") != "sig":
        raise KeyUnusable("use")
    operations = member.get("key_ops", ["verify"])
    if not isinstance(operations, list) or "verify" not in operations:
        raise KeyUnusable("key_ops")
    match member.get("kty"):
        case "RSA":
            possible, length, public = _read_rsa(member)
        case "EC":
            possible, length, public = _read_ec(member)
        case "OKP":
            possible, length, public = _read_okp(member)
        case _:
            raise KeyUnusable("kty")
    if "alg" in member:
        # Not set intersection: "alg" may be any JSON value, hashable or not.
        possible = frozenset(name for name in possible if name == member["alg"])
    usable = possible & algorithms
    if not usable:
        raise KeyUnusable("alg")
    return Jwk(kid, _thumbprint(public), usable, length, _parsed(public))


def fitting(keys: Iterable[Jwk], kid: str | None, algorithm: str) -> tuple[Jwk, ...]:
    """Choose the keys that may have signed a token with this header; usually one.

    A kid is a hint, not an identity (RFC 7515 §4.1.4): two keys may share one, and then each is tried, up
    to `MAX_SAME_KID`. A token that names no key is verified only if there is no choice.
    """
    if kid is None:
        able = tuple(key for key in keys if algorithm in key.algorithms)
        return able if len(able) == 1 else ()
    return tuple([key for key in keys if key.kid == kid and algorithm in key.algorithms][:MAX_SAME_KID])


# --- key types: what each may verify, octets of its signatures, its defining members (RFC 7638 §3.2) ------

_Read = tuple[frozenset[str], int, dict[str, str]]


def _read_rsa(member: Mapping[str, Any]) -> _Read:
    modulus = int.from_bytes(_octets(member, "n"))
    exponent = int.from_bytes(_octets(member, "e"))
    bits = modulus.bit_length()
    if not MIN_RSA_BITS <= bits <= MAX_RSA_BITS:
        raise KeyUnusable("rsa_size")
    if modulus % 2 == 0:  # no product of two odd primes, and cryptography takes it
        raise KeyUnusable("rsa_modulus")
    if not MIN_RSA_EXPONENT <= exponent <= MAX_RSA_EXPONENT or exponent % 2 == 0:
        raise KeyUnusable("rsa_exponent")
    # Written anew: some libraries publish a leading zero octet (RFC 7518 §6.3.1.1), and the thumbprint
    # must be that of the key, not of its spelling.
    return _RSA, (bits + 7) // 8, {"kty": "RSA", "n": _number(modulus), "e": _number(exponent)}


def _read_ec(member: Mapping[str, Any]) -> _Read:
    curve = member.get("crv")
    if not isinstance(curve, str) or curve not in _CURVES:
        raise KeyUnusable("crv")
    algorithm, size = _CURVES[curve]
    if not len(_octets(member, "x")) == len(_octets(member, "y")) == size:
        raise KeyUnusable("ec_size")
    public = {"kty": "EC", "crv": curve, "x": member["x"], "y": member["y"]}
    return frozenset({algorithm}), 2 * size, public


def _read_okp(member: Mapping[str, Any]) -> _Read:
    if member.get("crv") != "Ed25519":
        raise KeyUnusable("crv")
    if len(_octets(member, "x")) != _ED25519_OCTETS:
        raise KeyUnusable("okp_size")
    return frozenset({_EDDSA}), 2 * _ED25519_OCTETS, {"kty": "OKP", "crv": "Ed25519", "x": member["x"]}


def _octets(member: Mapping[str, Any], name: str) -> bytes:
    value = member.get(name)
    if not isinstance(value, str):
        raise KeyUnusable("members")
    try:
        return base64url.decode(value.encode("ascii"))
    except ValueError as exc:
        raise KeyUnusable("encoding") from exc


def _number(value: int) -> str:
    return base64url.encode(value.to_bytes((value.bit_length() + 7) // 8)).decode()


def _thumbprint(public: Mapping[str, str]) -> Thumbprint:
    canonical = json.dumps(public, separators=(",", ":"), sort_keys=True).encode()
    return Thumbprint(base64url.encode(sha256(canonical).digest()).decode())


def _parsed(public: Mapping[str, str]) -> JWK:
    key = JWK(**public)
    try:
        # jwcrypto parses lazily and keeps the result: a point off its curve must fail here, not in a request.
        key.get_op_key("verify")
    except Exception as exc:  # jwcrypto and cryptography share no base class of errors
        raise KeyUnusable("invalid") from exc
    return key
