"""Tokens made by hand, octet by octet: what a signing library would never write, signed all the same."""

import hmac
import json
from collections.abc import Mapping
from functools import cache
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwcrypto.jwa import JWA
from jwcrypto.jwk import JWK

from guestpass.core.base64url import encode

Part = bytes | Mapping[str, Any]
"""A part of a token: a mapping becomes JSON, octets stay as they are."""


@cache
def _key(kid: str, *parameters: tuple[str, str | int]) -> JWK:
    return JWK.generate(kid=kid, **dict(parameters))


def rsa_key(kid: str = "rsa", bits: int = 2048) -> JWK:
    """A private RSA key: the same one for a kid in the whole process, as making one takes 100 ms."""
    return _key(kid, ("kty", "RSA"), ("size", bits))


def ec_key(kid: str = "ec", curve: str = "P-256") -> JWK:
    """A private EC key: the same one for a kid."""
    return _key(kid, ("kty", "EC"), ("crv", curve))


def ed_key(kid: str = "ed") -> JWK:
    """A private Ed25519 key: the same one for a kid."""
    return _key(kid, ("kty", "OKP"), ("crv", "Ed25519"))


def published(key: JWK, **members: object) -> dict[str, Any]:
    """The public half as a JWKS has it, with `members` over it."""
    return {**key.export_public(as_dict=True), **members}


def octets(part: Part) -> bytes:
    return part if isinstance(part, bytes) else json.dumps(part, separators=(",", ":")).encode()


def compact(header: Part, payload: Part, signature: bytes) -> bytes:
    """Three parts, whatever is in them."""
    return b".".join(encode(octets(part)) for part in (header, payload, signature))


def sign(key: JWK, header: Part, payload: Part, *, alg: str = "RS256") -> bytes:
    """A token with a true signature by `key`, whatever its header says."""
    signing_input = encode(octets(header)) + b"." + encode(octets(payload))
    return signing_input + b"." + encode(JWA.signing_alg(alg).sign(key, signing_input))


def mac(secret: bytes, header: Part, payload: Part, *, digest: str) -> bytes:
    """A token with an HMAC in place of a signature."""
    signing_input = encode(octets(header)) + b"." + encode(octets(payload))
    return signing_input + b"." + encode(hmac.digest(secret, signing_input, digest))


def public_forms(key: JWK) -> dict[str, bytes]:
    """Every form in which a public RSA key lies about, and so could be taken for a shared secret."""
    public = key.get_op_key("verify")
    modulus = public.public_numbers().n
    return {
        "SPKI PEM": public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        "SPKI DER": public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        "PKCS1 PEM": public.public_bytes(Encoding.PEM, PublicFormat.PKCS1),
        "SSH": public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH),
        "JWK": key.export_public().encode(),
        "modulus": modulus.to_bytes((modulus.bit_length() + 7) // 8),
        "n": key.export_public(as_dict=True)["n"].encode(),
        "empty": b"",
    }
