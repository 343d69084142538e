"""Everything this package raises on purpose, and whose fault each is.

`code` is what a client may see and rely on; `reason` is finer, bounded, and for logs and metrics only, so
that a refusal never tells an attacker which check failed. No message carries a token, a claim's value or
an upstream's text.
"""

from http import HTTPStatus
from typing import ClassVar


class GuestpassError(Exception):
    """Everything this package raises on purpose; `code` is stable, the message is not."""

    code: ClassVar[str] = "internal"
    status: ClassVar[HTTPStatus] = HTTPStatus.INTERNAL_SERVER_ERROR
    title: ClassVar[str] = "Internal error"
    cause: ClassVar[str | None] = None
    """A finer word than `code`, where clients must not learn which check failed."""

    @property
    def reason(self) -> str:
        """Why, for logs and metric labels: one of a bounded set of words, never shown to a client."""
        return self.cause or self.code


class ConfigError(GuestpassError):
    """A setting breaks a rule; raised at start-up only, with field and rule, never a secret's value."""

    code = "config"

    def __init__(self, field: str, rule: str) -> None:
        super().__init__(f"{field}: {rule}")
        self.field = field
        self.rule = rule


# --- the request is at fault ------------------------------------------------------------------------------


class RequestInvalid(GuestpassError):
    """The request itself breaks a rule, whoever's token it carries.

    Its message is shown to the client: it names a field of the request and the rule, in words of ours.
    """

    code = "invalid_request"
    status = HTTPStatus.BAD_REQUEST
    title = "Invalid request"


class PathAmbiguous(RequestInvalid):
    """Two readers could read the path differently, so no rule is asked."""

    code = "path_ambiguous"
    title = "Ambiguous path"


class PeerUntrusted(RequestInvalid):
    """Whoever asks for a decision on another request is not a proxy of ours."""

    code = "peer_untrusted"
    status = HTTPStatus.FORBIDDEN
    title = "Untrusted peer"


class OriginForeign(RequestInvalid):
    """A page of another origin opens a WebSocket with a token that it need not know: one in a cookie."""

    code = "origin_foreign"
    status = HTTPStatus.FORBIDDEN
    title = "Foreign origin"


class NotFound(RequestInvalid):
    """There is nothing at this path."""

    code = "not_found"
    status = HTTPStatus.NOT_FOUND
    title = "Not found"


class MethodNotAllowed(RequestInvalid):
    """The endpoint does not serve this method."""

    code = "method_not_allowed"
    status = HTTPStatus.METHOD_NOT_ALLOWED
    title = "Method not allowed"


class ContentTooLarge(RequestInvalid):
    """The request's content is longer than the endpoint reads."""

    code = "content_too_large"
    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    title = "Content too large"


class MediaTypeUnsupported(RequestInvalid):
    """The request's content is not of the type that the endpoint reads."""

    code = "unsupported_media_type"
    status = HTTPStatus.UNSUPPORTED_MEDIA_TYPE
    title = "Unsupported media type"


class BodyTooLarge(RequestInvalid):
    """The request's body is larger than is allowed."""

    code = "body_too_large"
    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    title = "Body too large"


class GrantRefused(RequestInvalid):
    """The issuer will not take the authorization code: used, expired, or not for us (RFC 6749 §5.2)."""

    code = "invalid_grant"
    title = "Authorization code refused"


class TooManyRequests(GuestpassError):
    """A limit on this client is reached; `retry_after` is in seconds."""

    code = "too_many_requests"
    status = HTTPStatus.TOO_MANY_REQUESTS
    title = "Too many requests"

    def __init__(self, message: str = "", *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


# --- the caller's token is at fault -----------------------------------------------------------------------


class TokenError(GuestpassError):
    """The caller's token is at fault. Never raised for a fault of ours or of an upstream.

    Every token that is not genuine has one and the same `code`: which check failed is `reason`.
    """

    code = "invalid_token"
    status = HTTPStatus.UNAUTHORIZED
    title = "Invalid token"
    challenge: ClassVar[str | None] = "invalid_token"  # RFC 6750 §3.1


class TokenMissing(TokenError):
    """No token where one is required; RFC 6750 §3.1 asks for a challenge without an error code."""

    code = "token_missing"
    title = "Token missing"
    challenge = None


class TokenAmbiguous(TokenError):
    """More than one token in one request, which RFC 6750 §2 forbids."""

    code = "invalid_request"
    status = HTTPStatus.BAD_REQUEST
    title = "More than one token"
    challenge = "invalid_request"


class TokenMalformed(TokenError):
    """Not a strict compact JWS of a claims set (RFC 7515 §7.1, RFC 7519 §7.2)."""

    cause = "malformed"


class AlgorithmRefused(TokenError):
    """`alg` is not in the configured allow-list, or does not bind to the key (RFC 8725 §3.1)."""

    cause = "algorithm"


class KeyUnknown(TokenError):
    """No usable published key fits the token's header."""

    cause = "key_unknown"


class TokenUnknown(TokenError):
    """Our own record has no such token, or its session is over; no published key could say more."""

    cause = "token_unknown"


class SignatureInvalid(TokenError):
    """The signature does not verify with the key that the header names."""

    cause = "signature"


class ClaimInvalid(TokenError):
    """A claim is missing, has the wrong type, or breaks its rule; `claim` is one of our own names for it."""

    def __init__(self, claim: str, rule: str) -> None:
        super().__init__(f"{claim}: {rule}")
        self.claim = claim

    @property
    def reason(self) -> str:
        """`claim_` and the name of the claim that failed, from the fixed set that we read."""
        return f"claim_{self.claim}"


class TokenExpired(TokenError):
    """Genuine, but past its "exp" and grace: a client may ask for a new one."""

    code = "token_expired"
    title = "Token expired"


class SessionExpired(TokenError):
    """Genuine, but its chain of rotations is older than `max_session_age`."""

    code = "session_expired"
    title = "Session expired"


class TokenRevoked(TokenError):
    """Genuine, but revoked by token id or subject."""

    code = "token_revoked"
    title = "Token revoked"


class TokenRefused(TokenError):
    """The issuer answered and will not mint a successor; asking again is pointless."""

    code = "token_refused"
    title = "Token refused"


# --- we, or something upstream of us, are at fault --------------------------------------------------------


class Fault(GuestpassError):
    """Ours or an upstream's; never the caller's. `retry_after` is in seconds, None when nobody can say."""

    def __init__(self, message: str = "", *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class UpstreamFailed(Fault):
    """An upstream could not be reached or broke its protocol."""

    code = "upstream_failed"
    status = HTTPStatus.BAD_GATEWAY
    title = "Upstream failed"


class UpstreamUnreachable(UpstreamFailed):
    """No connection to a backend could be opened, so it has seen nothing of the request."""

    code = "upstream_unreachable"
    title = "Upstream unreachable"


class IssuerMisconfigured(UpstreamFailed):
    """The issuer refuses *us* (401, 403, unknown client): an operator must act, a retry cannot help."""

    code = "issuer_misconfigured"
    title = "Issuer refused the gateway's credentials"


class Unavailable(Fault):
    """No answer, a 5xx or a 429 from the issuer, its keys or a store; an unexpired token still passes."""

    code = "unavailable"
    status = HTTPStatus.SERVICE_UNAVAILABLE
    title = "Temporarily unavailable"


class MintBudgetSpent(Unavailable):
    """No call of the issuer is left for this kind of mint now; says nothing of the issuer."""

    cause = "mint_budget"


class StoreUnavailable(Unavailable):
    """What the fleet shares is out of reach now; says nothing of the issuer, and comes back by itself."""

    cause = "store"

    def __init__(self, message: str = "") -> None:
        super().__init__(message, retry_after=1.0)  # twice as long as between two probes


class PoolExhausted(Unavailable):
    """Every connection to a backend is in use, and the queue for one is full or too slow."""

    code = "pool_exhausted"
    title = "Too many requests to the backend at once"


class UpstreamTimeout(Fault):
    """An upstream did not answer in time."""

    code = "upstream_timeout"
    status = HTTPStatus.GATEWAY_TIMEOUT
    title = "Upstream timed out"
