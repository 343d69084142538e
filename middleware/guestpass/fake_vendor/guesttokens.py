"""The mint route: a name and an e-mail address in, a signed guest token out."""

import json
from datetime import UTC, datetime
from typing import Any, Final

from guestpass.fake_vendor.clock import Skew, VendorClock
from guestpass.fake_vendor.ids import Ids
from guestpass.fake_vendor.keys import Keys
from guestpass.fake_vendor.messages import Call, Reply, as_json, envelope
from guestpass.fake_vendor.oauth import AccessTokens
from guestpass.fake_vendor.spoiling import handed_over, signed, spoil_claims

_LONGEST: Final = {"name": 256, "email": 320}
_LATE: Final = 3600  # seconds by which a false `expires_at` outlasts "exp"


class GuestTokens:
    """Mints. Whether the real issuer keeps "sub" for the same guest is not known: this one does.

    Attributes:
        mints: How many tokens were minted, those whose reply got lost included.
        lifetime: Seconds from "iat" to "exp".
        issuer: "iss".
        audience: "aud", or None for no such claim.
        permitted: Whether the client's role allows it; if not, every mint is a 403.
        require_email: Whether an empty e-mail address is refused.
    """

    def __init__(
        self,
        *,
        access: AccessTokens,
        keys: Keys,
        clock: VendorClock,
        ids: Ids,
        lifetime: int,
        issuer: str,
        audience: str | list[str] | None,
        permitted: bool,
        require_email: bool,
    ) -> None:
        self.mints = 0
        self.lifetime = lifetime
        self.issuer = issuer
        self.audience = audience
        self.permitted = permitted
        self.require_email = require_email
        self._access = access
        self._keys = keys
        self._clock = clock
        self._ids = ids

    def mint(self, call: Call) -> Reply:
        """Answer `POST /api/v2/webchat/v1/guesttokens`."""
        if refusal := self._access.refusal(call):
            return refusal
        if not self.permitted or call.fault == "forbidden":
            return envelope(
                call,
                403,
                "missing.permissions",
                "Unable to perform the requested action. You are missing the following permission(s): "
                "{permissions}",
                params={
                    "permissions": "webchat:guesttoken:add"
                },  # invented, as the route's right is not known
            )
        if call.media_type != "application/json":
            return envelope(call, 415, "unsupported.media.type", "The media type is not supported")
        try:
            guest = self._guest(call.body)
        except ValueError as exc:
            return envelope(call, 400, "invalid.value", str(exc))
        return as_json(self._answer(call, guest))

    def claims(self, name: str, email: str, *, skew: Skew | None = None) -> dict[str, Any]:
        """The claims set of the next token for a guest; each has a "jti" of its own."""
        skew = skew or Skew()
        issued_at = int(self._clock.time())
        claims = {
            "iss": self.issuer,
            "sub": self._ids.stable("subject", email),
            "name": name,
            "email": email,
            "iat": int(issued_at + skew.iat),
            "nbf": int(issued_at + skew.nbf),
            "exp": int(issued_at + self.lifetime + skew.exp),
            "jti": self._ids.uuid("jti"),
        }
        return claims if self.audience is None else {**claims, "aud": self.audience}

    def _guest(self, body: bytes) -> dict[str, str]:
        """Read name and e-mail address; a ValueError says what is wrong, without repeating it."""
        try:
            document = json.loads(body)
        except (ValueError, RecursionError):
            document = None
        if not isinstance(document, dict):
            raise ValueError("The request body is not a JSON object")  # noqa: TRY004  one error for one answer
        for member, longest in _LONGEST.items():
            value = document.get(member)
            if not isinstance(value, str) or len(value) > longest:
                raise ValueError(f"The value of [{member}] must be a string of at most {longest} characters")
        if not document["name"].strip():
            raise ValueError("The value of [name] must not be empty")
        if (self.require_email or document["email"]) and "@" not in document["email"]:
            raise ValueError("The value of [email] must be an e-mail address")
        return {member: document[member] for member in _LONGEST}

    def _answer(self, call: Call, guest: dict[str, str]) -> dict[str, Any]:
        claims = self.claims(guest["name"], guest["email"], skew=call.skew)
        spoil_claims(claims, call.fault, lifetime=self.lifetime, ids=self._ids)
        token = signed(claims, call.fault, key=self._keys.signing, stray=self._keys.unpublished)
        self.mints += 1
        return {**handed_over("token", token, call.fault), "expires_at": _expires_at(claims, call.fault)}


def _expires_at(claims: dict[str, Any], fault: str | None) -> str:
    """The answer's own word on the expiry: that of the token, unless `fault` says otherwise."""
    match fault:
        case "expires_at_garbage":
            return "soon"
        case "expires_at_late":
            return _iso(claims["exp"] + _LATE)
        case "token_without_exp":
            return _iso(claims["iat"] + _LATE)
    return _iso(claims["exp"])


def _iso(instant: int) -> str:
    """An instant as the platform writes them: ISO 8601, UTC, Z."""
    return datetime.fromtimestamp(instant, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
