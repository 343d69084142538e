"""Seals what leaves the process: JWE, compact, `dir` with A256GCM (RFC 7516; RFC 7518 §4.5, §5.3)."""

import hmac
import json
from collections.abc import Sequence
from typing import Any, Final

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from jwcrypto.common import JWException, base64url_encode
from jwcrypto.jwe import JWE
from jwcrypto.jwk import JWK

_KEY: Final = b"guestpass store sealing key"
_NAME: Final = b"guestpass store sealing key name"
_DIGEST: Final = b"guestpass store name digest"
_ALGORITHMS: Final = ["dir", "A256GCM"]
_MOST: Final = 65_536  # octets: more is none of ours, and is not worth the work


class Sealing:
    """A ring of keys: the first seals, every one opens, so that a secret can be changed without a gap.

    A value is bound to its purpose and to the record it belongs to, so a record that was copied to
    another name, or taken from another kind of record, does not open.
    """

    def __init__(self, secrets: Sequence[str]) -> None:
        """Derive a key from each secret (HKDF, RFC 5869); at least one is needed."""
        keys = [_derived(secret.encode()) for secret in secrets]
        self._kid, self._key = keys[0]
        self._digest_key = _expanded(secrets[0].encode(), _DIGEST)
        self._ring = dict(reversed(keys))

    def digest(self, name: bytes) -> bytes:
        """A keyed digest, for names that could be guessed from a plain one, such as an address."""
        return hmac.digest(self._digest_key, name, "sha256")

    def seal(self, purpose: str, record: bytes, value: dict[str, Any]) -> bytes:
        """Encrypt a JSON object for the record that `purpose` and `record` name."""
        plaintext = json.dumps({"for": _bound(purpose, record), "value": value}, separators=(",", ":"))
        header = {"alg": "dir", "enc": "A256GCM", "kid": self._kid}
        sealed: str = JWE(plaintext.encode(), protected=header, recipient=self._key).serialize(compact=True)
        return sealed.encode("ascii")

    def open(self, purpose: str, record: bytes, sealed: bytes) -> dict[str, Any]:
        """Decrypt what `seal` made for the same record.

        Raises:
            ValueError: It was tampered with, belongs to another record, or was sealed by someone else.
        """
        if len(sealed) > _MOST:
            raise ValueError("too long for a sealed record")
        try:
            envelope = JWE(algs=_ALGORITHMS)
            envelope.deserialize(sealed.decode("ascii"))
            envelope.decrypt(self._ring[envelope.jose_header["kid"]])
            content = json.loads(envelope.payload)
        except (JWException, ValueError, TypeError, KeyError, RecursionError) as exc:
            raise ValueError("not a sealed record of ours") from exc
        if content["for"] != _bound(purpose, record):
            raise ValueError("sealed for another record")
        value: dict[str, Any] = content["value"]
        return value


def _bound(purpose: str, record: bytes) -> str:
    return f"{purpose}:{record.hex()}"


def _derived(secret: bytes) -> tuple[str, JWK]:
    """A key, and the name by which a sealed record says which key it needs."""
    key = JWK(kty="oct", k=base64url_encode(_expanded(secret, _KEY)))
    return _expanded(secret, _NAME)[:8].hex(), key


def _expanded(secret: bytes, info: bytes) -> bytes:
    return HKDF(SHA256(), 32, salt=None, info=info).derive(secret)
