"""Writes a compact JWS (RFC 7515 §7.1), a true one or one that claims to need no signature."""

import json
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from typing import Any

from jwcrypto.jwa import JWA
from jwcrypto.jwk import JWK

from guestpass.fake_vendor.keys import kid_of


def sign(key: JWK, claims: Mapping[str, Any], *, header: Mapping[str, Any] | None = None) -> str:
    """Sign `claims` with RS256; `header` adds to, or overrides, `alg`, `kid` and `typ`."""
    members = {"alg": "RS256", "kid": kid_of(key), "typ": "JWT", **(header or {})}
    signing_input = f"{_part(members)}.{_part(claims)}"
    signature: bytes = JWA.signing_alg("RS256").sign(key, signing_input.encode())
    return f"{signing_input}.{_base64url(signature)}"


def unsigned(key: JWK, claims: Mapping[str, Any]) -> str:
    """The same with `alg: none` and no signature (RFC 7519 §6), which nobody may accept."""
    return f"{_part({'alg': 'none', 'kid': kid_of(key), 'typ': 'JWT'})}.{_part(claims)}."


def _part(members: Mapping[str, Any]) -> str:
    return _base64url(json.dumps(members, separators=(",", ":")).encode())


def _base64url(octets: bytes) -> str:
    return urlsafe_b64encode(octets).rstrip(b"=").decode()
