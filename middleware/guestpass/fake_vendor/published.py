"""The two routes that only show something: the JWKS, and what an access token is."""

from typing import Any

from guestpass.fake_vendor.ids import Ids
from guestpass.fake_vendor.keys import Keys
from guestpass.fake_vendor.messages import Call, Reply, as_json
from guestpass.fake_vendor.oauth import AccessTokens


class Published:
    """Answers `GET /api/v2/oauth/jwks` and `GET /api/v2/tokens/me`."""

    def __init__(self, *, keys: Keys, access: AccessTokens, ids: Ids) -> None:
        self._keys = keys
        self._access = access
        self._ids = ids

    def jwks(self, call: Call) -> Reply:
        """The public keys; no credentials are asked for."""
        keys: list[dict[str, Any]] = self._keys.jwks()["keys"]
        if call.fault == "duplicate_kid" and keys:
            # The impostor stands first, where a reader that takes the first match would find it.
            impostor = self._keys.unpublished.export_public(as_dict=True)
            keys = [{**impostor, "kid": keys[-1]["kid"]}, *keys]
        if call.fault == "broken_neighbour":
            keys = [{"kty": "RSA", "kid": "broken", "use": "sig", "alg": "RS256", "n": "!", "e": 3}, *keys]
        return as_json({"keys": keys})

    def me(self, call: Call) -> Reply:
        """What the bearer's access token stands for: a cheap way to try one's credentials."""
        if refusal := self._access.refusal(call):
            return refusal
        organization = {"id": self._ids.stable("organization", ""), "name": "Fake Vendor"}
        client = {"id": self._access.client_id, "name": "guestpass", "organization": organization}
        return as_json(
            {
                "organization": organization,
                "homeOrganization": organization,
                "authorizedScope": [],
                "OAuthClient": client,
            }
        )
