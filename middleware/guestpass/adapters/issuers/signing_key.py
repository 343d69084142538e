"""One private key: signs compact JWS (RFC 7515 §7.1), and shows its public half."""

import json
from typing import Any, Final, Self

from jwcrypto.jwa import JWA
from jwcrypto.jwk import JWK

from guestpass.core import base64url
from guestpass.core.jwk import Jwk, KeyUnusable, read_key
from guestpass.errors import ConfigError

_FIELD: Final = "issuer.key_file"
_GENERATED: Final[dict[str, dict[str, Any]]] = {
    "RS256": {"kty": "RSA", "size": 2048},
    "ES256": {"kty": "EC", "crv": "P-256"},
    "EdDSA": {"kty": "OKP", "crv": "Ed25519"},
}
ALGORITHMS: Final = frozenset(_GENERATED)
"""What can be signed with: one algorithm for each type of key, so that the key decides (RFC 8725 §3.1)."""


class SigningKey:
    """A private key whose type decides the algorithm; named by its RFC 7638 thumbprint.

    Make one with `generate`, `from_pem` or `from_jwk`.

    Attributes:
        algorithm: RS256, ES256 or EdDSA.
        kid: The name it is published under.
        public: What verifies its signatures.
    """

    __slots__ = ("_private", "algorithm", "kid", "public")

    def __init__(self, private: JWK) -> None:
        if not private.has_private:
            raise ConfigError(_FIELD, "must be a private key")
        try:
            members = private.export_public(as_dict=True)
            # A kid, use or alg that the file came with is its owner's business: ours are set here.
            defining = {
                name: value for name, value in members.items() if name in {"kty", "crv", "x", "y", "n", "e"}
            }
            thumbprint = read_key(defining, algorithms=ALGORITHMS).thumbprint
            self.public: Jwk = read_key({**defining, "kid": thumbprint}, algorithms=ALGORITHMS)
        except KeyUnusable as exc:
            raise ConfigError(_FIELD, "must be RSA of 2048 to 8192 bits, EC on P-256, or Ed25519") from exc
        (self.algorithm,) = self.public.algorithms
        self.kid: str = thumbprint
        self._private = private

    @classmethod
    def generate(cls, algorithm: str) -> Self:
        """Make a new key; RSA takes about 0.1 s of CPU, the others next to nothing.

        Raises:
            ConfigError: `algorithm` is none of `ALGORITHMS`.
        """
        if algorithm not in _GENERATED:
            raise ConfigError("issuer.algorithm", "must be RS256, ES256 or EdDSA")
        return cls(JWK.generate(**_GENERATED[algorithm]))

    @classmethod
    def from_pem(cls, pem: bytes) -> Self:
        """Load an unencrypted private key from PEM (PKCS #8, or the traditional forms).

        Raises:
            ConfigError: It is none, or one that is not signed with here.
        """
        try:
            private = JWK.from_pem(pem)
        except Exception:  # noqa: BLE001  jwcrypto and cryptography share no base class of errors
            # From None: what a parser says of a private key can quote it.
            raise ConfigError(_FIELD, "must be an unencrypted private key in PEM") from None
        return cls(private)

    @classmethod
    def from_jwk(cls, document: bytes) -> Self:
        """Load a private key from a JWK (RFC 7517 §4).

        Raises:
            ConfigError: It is none, or one that is not signed with here.
        """
        try:
            private = JWK.from_json(document.decode())
            private.get_op_key("sign")
        except Exception:  # noqa: BLE001  as above
            raise ConfigError(_FIELD, "must be a private key as a JWK") from None
        return cls(private)

    @classmethod
    def read(cls, document: bytes) -> Self:
        """Load a private key from what a file holds: a JWK where it starts with a brace, else PEM.

        Raises:
            ConfigError: It is none, or one that is not signed with here.
        """
        return cls.from_jwk(document) if document.lstrip().startswith(b"{") else cls.from_pem(document)

    @property
    def published(self) -> dict[str, str]:
        """The public JWK, as it stands in a JWKS; no private member is ever in it."""
        members: dict[str, str] = self.public.key.export_public(as_dict=True)
        return {**members, "kid": self.kid, "use": "sig", "alg": self.algorithm}

    def sign(self, payload: bytes, *, typ: str = "JWT") -> bytes:
        """The compact serialization of `payload`, signed; `typ` says what kind of thing it is."""
        header = json.dumps({"alg": self.algorithm, "kid": self.kid, "typ": typ}, separators=(",", ":"))
        signing_input = base64url.encode(header.encode()) + b"." + base64url.encode(payload)
        signature: bytes = JWA.signing_alg(self.algorithm).sign(self._private, signing_input)
        return signing_input + b"." + base64url.encode(signature)

    def __repr__(self) -> str:
        return f"SigningKey({self.algorithm}, kid={self.kid!r})"
