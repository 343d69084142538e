"""Strict compact JWS: what a token says, and whether one key signed it (RFC 7515 §5.2, RFC 8725 §3)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

from jwcrypto.jwa import JWA

from guestpass.core import base64url
from guestpass.core.jwk import ALGORITHMS, Jwk
from guestpass.core.model import RawToken
from guestpass.core.strict_json import loads_object
from guestpass.errors import AlgorithmRefused, SignatureInvalid, TokenMalformed

MAX_TOKEN: Final = 8192
"""Octets of a compact serialization, looked at before anything else is."""

GUEST_TYPES: Final = frozenset({"jwt"})
"""The "typ" values that are accepted unless others are configured, in lower case, without `application/`."""

_PARTS: Final = 3

# Headers that passed, remembered: all tokens of one key have the same, octet for octet, and reading it takes
# 5 us. Few, as a stranger can send others at will: then each is read anew, which is no worse than without.
_HEADERS: Final = 64

# Critical extensions that we would have to understand, of which we know none (RFC 7515 §4.1.11); an unencoded
# payload changes what is signed (RFC 7797 §3); and compression is JWE's, so that here it is an attack.
_FORBIDDEN: Final = frozenset({"crit", "b64", "zip"})

# jwcrypto's own primitives, made once, as they hold no state and making one takes up to 1 us. They are called
# without its JWS class, which takes 92 us against 37, skips foreign characters and forgets the key's "alg".
_PRIMITIVES: Final[Mapping[str, Any]] = {name: JWA.signing_alg(name) for name in ALGORITHMS}


@dataclass(frozen=True, slots=True)
class UnverifiedJws:
    """A well-formed token of which nothing is proven; its header only helps to choose a key.

    Attributes:
        algorithm: "alg", one of those allowed.
        kid: "kid", if the header has one: a name to compare, never a path, query or address.
        signing_input: What the signature is over.
        signature: The octets that claim to be it.
        payload: The octets that claim to be a claims set; not parsed, as nobody vouches for them yet.
    """

    algorithm: str
    kid: str | None
    signing_input: bytes = field(repr=False)
    signature: bytes = field(repr=False)
    payload: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, repr=False)
class VerifiedPayload:
    """A JSON object that a published key has signed. Only `verify` makes one.

    Attributes:
        raw: The octets that were signed: UTF-8 JSON.
        members: The same, parsed.
    """

    raw: bytes
    members: Mapping[str, Any]


def parse(
    token: RawToken, *, algorithms: frozenset[str], types: frozenset[str] = GUEST_TYPES
) -> UnverifiedJws:
    """Read a compact serialization (RFC 7515 §7.1) that has exactly one spelling.

    Keys and addresses of keys in the header ("jwk", "jku", "x5u", "x5c") are ignored: trusting them lets a
    token vouch for itself (RFC 8725 §3.10).

    Args:
        token: As it came.
        algorithms: The allow-list for "alg".
        types: What "typ" may be, in lower case; a token without it passes.

    Raises:
        TokenMalformed: It breaks the syntax, or needs something that we refuse.
        AlgorithmRefused: "alg" is a name that is not allowed.
    """
    compact = token.compact
    if len(compact) > MAX_TOKEN:
        raise TokenMalformed("too long")
    if compact.count(b".") != _PARTS - 1:  # before a split that could make 8,000 parts; a JWE has five
        raise TokenMalformed("not three parts")
    signing_input, _, signature_part = compact.rpartition(b".")
    header_part, _, payload_part = signing_input.partition(b".")
    try:
        payload = base64url.decode(payload_part)
        signature = base64url.decode(signature_part)
    except ValueError as exc:
        raise TokenMalformed("not strict base64url") from exc
    if not signature:
        raise TokenMalformed("no signature")
    algorithm, kid = _read_header(header_part, algorithms, types)
    return UnverifiedJws(algorithm, kid, signing_input, signature, payload)


def verify(jws: UnverifiedJws, key: Jwk) -> VerifiedPayload:
    """Check the signature with one key; only then is the payload parsed.

    Raises:
        AlgorithmRefused: The key is not for this algorithm, whatever the token says (RFC 8725 §3.1).
        SignatureInvalid: The key did not sign this.
        TokenMalformed: It did, but the payload is not a strict JSON object (RFC 7519 §7.2).
    """
    if jws.algorithm not in key.algorithms:
        raise AlgorithmRefused
    # Fixed by algorithm and key (RFC 7518 §3.3-3.5, RFC 8032 §5.1.6). jwcrypto splits an ECDSA signature in
    # its middle whatever its length, so that zeros added to both halves would give one token many spellings.
    if len(jws.signature) != key.signature_length:
        raise SignatureInvalid
    try:
        _PRIMITIVES[jws.algorithm].verify(key.key, jws.signing_input, jws.signature)
    except Exception as exc:  # jwcrypto and cryptography raise many types, and none of them is a pass
        raise SignatureInvalid from exc
    try:
        return VerifiedPayload(jws.payload, loads_object(jws.payload))
    except ValueError as exc:
        raise TokenMalformed("payload is not a strict JSON object") from exc


@lru_cache(maxsize=_HEADERS)
def _read_header(part: bytes, algorithms: frozenset[str], types: frozenset[str]) -> tuple[str, str | None]:
    """The "alg" and "kid" of a header that passes; what is refused is not remembered.

    Raises:
        TokenMalformed: As `parse`.
        AlgorithmRefused: As `parse`.
    """
    try:
        header = loads_object(base64url.decode(part))
    except ValueError as exc:
        raise TokenMalformed("its header is not strict base64url of strict JSON") from exc
    algorithm = header.get("alg")
    if not isinstance(algorithm, str):
        raise TokenMalformed("no alg")
    if algorithm not in algorithms:
        raise AlgorithmRefused
    _check_header(header, types)
    return algorithm, header.get("kid")


def _check_header(header: Mapping[str, Any], types: frozenset[str]) -> None:
    if not _FORBIDDEN.isdisjoint(header):
        raise TokenMalformed("a header parameter that must not be there")
    if not all(isinstance(header.get(name, ""), str) for name in ("kid", "typ", "cty")):
        raise TokenMalformed("a header parameter is not a string")
    if "typ" in header and media_type(header["typ"]) not in types:
        raise TokenMalformed("another type of token")
    if media_type(header.get("cty", "")) == "jwt":
        raise TokenMalformed("a nested JWT")


def media_type(name: str) -> str:
    """A media type name for comparison: case does not count, nor does `application/` (RFC 7515 §4.1.9)."""
    return name.lower().removeprefix("application/")
