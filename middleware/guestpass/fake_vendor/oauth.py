"""The login route: client credentials in, an opaque access token out; knows which ones still live."""

from base64 import b64decode
from binascii import Error as Base64Error
from typing import Final
from urllib.parse import parse_qs

from guestpass.core.model import UnixTime
from guestpass.fake_vendor.clock import VendorClock
from guestpass.fake_vendor.ids import Ids
from guestpass.fake_vendor.messages import Call, Reply, as_json, envelope, login_error
from guestpass.fake_vendor.ratelimit import RateLimit, too_many

_FORM: Final = "application/x-www-form-urlencoded"


class AccessTokens:
    """Hands out access tokens, and says of a call whether it brought a live one.

    Attributes:
        logins: How many were handed out.
        expires_in: Seconds that one lives.
        most: How many may live at once; one more displaces the oldest.
        rate: The calls that each may make.
    """

    def __init__(
        self,
        *,
        client_id: str,
        client_secret: str,
        expires_in: int,
        most: int,
        rate: RateLimit,
        clock: VendorClock,
        ids: Ids,
    ) -> None:
        self.logins = 0
        self.expires_in = expires_in
        self.most = most
        self.rate = rate
        self.client_id = client_id
        self._client_secret = client_secret
        self._clock = clock
        self._ids = ids
        self._live: dict[str, UnixTime] = {}  # access token -> the end of its life; oldest first

    def reset(self) -> None:
        """As if nobody had ever logged in."""
        self.logins = 0
        self._live.clear()
        self.rate.reset()

    def revoke_all(self) -> None:
        """Let every access token die now, as the platform may at any time."""
        for access in tuple(self._live):
            self._drop(access)

    @property
    def live(self) -> int:
        """How many access tokens are good."""
        now = self._clock.time()
        return sum(ends > now for ends in self._live.values())

    def login(self, call: Call) -> Reply:
        """Answer `POST /oauth/token`."""
        form = parse_qs(call.body.decode("utf-8", "replace")) if call.media_type == _FORM else {}
        if form.get("grant_type") != ["client_credentials"]:
            error = "unsupported_grant_type" if "grant_type" in form else "invalid_request"
            return login_error(400, error, "expected a form with grant_type=client_credentials")
        given = _basic(call)
        if given is None:
            return _unauthenticated("no client credentials")
        client_id, client_secret = given
        if client_id != self.client_id:
            return login_error(400, "invalid_client", "client not found")
        if client_secret != self._client_secret:
            return _unauthenticated("authentication failed")
        access = self._hand_out(dead=call.fault == "access_token_expired")
        return as_json({"access_token": access, "token_type": "bearer", "expires_in": self.expires_in})

    def refusal(self, call: Call) -> Reply | None:
        """Why a call to the platform is refused for its bearer or its rate, or None."""
        access = call.credentials("bearer")
        if access is None:
            return envelope(
                call, 401, "authentication.required", "No authentication bearer token specified"
            ).with_fields(("WWW-Authenticate", "Bearer"))
        if call.fault == "access_token_expired":
            self._drop(access)
            return _dead(call, "credentials.expired", "The access token has expired")
        if self._live.get(access, UnixTime(0)) <= self._clock.time():
            self._drop(access)
            return _dead(call, "bad.credentials", "Invalid login credentials")
        wait = self.rate.take(access)
        return None if wait is None else too_many(call, str(wait), value=self.rate.per_minute or 0)

    def _hand_out(self, *, dead: bool) -> str:
        self.logins += 1
        access = self._ids.opaque("access token")
        if not dead:
            self._live[access] = UnixTime(self._clock.time() + self.expires_in)
        while len(self._live) > self.most:
            self._drop(next(iter(self._live)))
        return access

    def _drop(self, access: str) -> None:
        self._live.pop(access, None)
        self.rate.forget(access)


def _basic(call: Call) -> tuple[str, str] | None:
    """The user-id and password of HTTP Basic (RFC 7617 §2), or None if there are none to be read."""
    try:
        text = b64decode(call.credentials("basic") or "", validate=True).decode()
    except (Base64Error, ValueError):
        return None
    user, colon, password = text.partition(":")
    return (user, password) if colon else None


def _unauthenticated(description: str) -> Reply:
    return login_error(401, "invalid_client", description).with_fields(
        ("WWW-Authenticate", 'Basic realm="fake-vendor"')
    )


def _dead(call: Call, code: str, message: str) -> Reply:
    return envelope(call, 401, code, message).with_fields(
        ("WWW-Authenticate", 'Bearer error="invalid_token"')
    )
