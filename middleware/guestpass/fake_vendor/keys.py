"""The vendor's RSA keys: which one signs, and which ones are published.

`cryptography` takes no seed, so the keys of each process are its own: no private key ships with the
package, and a kid is the key's RFC 7638 thumbprint, as a kid that stayed while its key changed at every
start would poison each cache of the JWKS.
"""

from functools import cache
from typing import Any, Final

from jwcrypto.jwk import JWK

from guestpass.errors import ConfigError

ACTIONS: Final = ("rotate", "publish_late", "publish", "retire", "sign_unpublished")
"""What can be done to the keys, by the names of the methods that do it."""


@cache
def signing_key(name: str = "test") -> JWK:  # noqa: ARG001  the name is what the cache goes by
    """A private RSA-2048 key; made once per process and name, as that takes 0.1 s."""
    key = JWK.generate(kty="RSA", size=2048, use="sig", alg="RS256")
    key.update(kid=key.thumbprint())
    return key


def kid_of(key: JWK) -> str:
    """The name that `key` is published under."""
    kid: str = key["kid"]
    return kid


def jwks_of(*keys: JWK) -> dict[str, Any]:
    """A JWKS (RFC 7517 §5) of the public halves."""
    return {"keys": [key.export_public(as_dict=True) for key in keys]}


class Keys:
    """One key signs; the published ones, oldest first, are what the JWKS shows.

    Args:
        seed: Vendors of one seed share their keys within a process, others never do.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self.reset()

    def reset(self) -> None:
        """Back to the first key, published and signing."""
        self._made = 0
        self.signing = self._next()
        self.published = [self.signing]
        self._waiting: list[JWK] = []

    def rotate(self) -> None:
        """Sign with a new key, published at once; the old ones stay published until `retire`."""
        self.publish_late()
        self.publish()

    def publish_late(self) -> None:
        """Sign with a new key before the JWKS shows it, until `publish`."""
        self.signing = self._next()
        self._waiting.append(self.signing)

    def publish(self) -> None:
        """Publish what `publish_late` held back."""
        self.published += self._waiting
        self._waiting = []

    def retire(self) -> None:
        """Publish no key but the one that signs; if that one is not published, none at all."""
        self.published = [key for key in self.published if key is self.signing]

    def sign_unpublished(self) -> None:
        """Sign with a key that never gets published, until the next rotation."""
        self.signing = self.unpublished

    @property
    def unpublished(self) -> JWK:
        """The key that never gets published."""
        return signing_key(f"fake-vendor:{self._seed}:unpublished")

    def apply(self, action: str) -> None:
        """Do one of `ACTIONS` by its name.

        Raises:
            ConfigError: There is no such action.
        """
        if action not in ACTIONS:
            raise ConfigError("action", f"must be one of {', '.join(ACTIONS)}")
        {
            "rotate": self.rotate,
            "publish_late": self.publish_late,
            "publish": self.publish,
            "retire": self.retire,
            "sign_unpublished": self.sign_unpublished,
        }[action]()

    def jwks(self) -> dict[str, Any]:
        """The published keys as a JWKS."""
        return jwks_of(*self.published)

    def state(self) -> dict[str, object]:
        """The kids: the one that signs, those published, those held back."""
        return {
            "signing": kid_of(self.signing),
            "published": [kid_of(key) for key in self.published],
            "held_back": [kid_of(key) for key in self._waiting],
        }

    def _next(self) -> JWK:
        self._made += 1
        return signing_key(f"fake-vendor:{self._seed}:{self._made}")
