"""Every log event and its fields, in one list: constant names, bounded fields, no secret, name or e-mail."""

import logging
from contextvars import ContextVar
from typing import Final

logger: Final = logging.getLogger("guestpass")

# Verification and admission.
TOKEN_REFUSED: Final = "token.refused"  # noqa: S105  reason, path, left_out
TOKEN_ROTATED: Final = "token.rotated"  # noqa: S105  token, successor, seconds
ROTATION_FAILED: Final = "rotation.failed"  # token, reason, retry_after
ROTATION_CUT_SHORT: Final = "rotation.cut_short"  # seconds, remedy
MINT_DEFERRED: Final = "mint.deferred"  # token, priority, retry_after
SUCCESSOR_DISCARDED: Final = "successor.discarded"  # token, reason
SUBJECT_CHANGED: Final = "subject.changed"  # token, successor
# The issuer's keys.
JWKS_REFRESHED: Final = "jwks.refreshed"  # keys, retired, skipped
JWKS_FAILED: Final = "jwks.failed"  # reason, age
JWKS_KEY_SKIPPED: Final = "jwks.key_skipped"  # index, reason
# The issuer.
ISSUER_AUTHENTICATED: Final = "issuer.authenticated"  # expires_in, correlation
ISSUER_ANSWERED: Final = "issuer.answered"  # route, status, attempt, seconds, correlation
ISSUER_MISCONFIGURED: Final = "issuer.misconfigured"  # route, status, vendor_code, correlation
ISSUER_GATE_CLOSED: Final = "issuer.gate_closed"  # seconds, reason
# The token endpoint.
POOL_NOT_FILLED: Final = "pool.not_filled"  # reason
ENDPOINT_MINTED: Final = "endpoint.minted"  # reason
# The reverse proxy's backends.
UPSTREAM_FAILED: Final = "upstream.failed"  # reason, cause
UPSTREAM_CUT_SHORT: Final = "upstream.cut_short"  # cause
UPSTREAM_DOWN: Final = "upstream.down"  # backend
UPSTREAM_UP: Final = "upstream.up"  # backend
# The shared store.
REVOCATIONS_LEARNT: Final = "revocations.learnt"  # count
STORE_DEGRADED: Final = "store.degraded"  # reason
STORE_RECOVERED: Final = "store.recovered"
STORE_RECORD_IGNORED: Final = "store.record_ignored"  # token
# Sessions of authenticated messaging.
SESSION_BEGUN: Final = "session.begun"  # token
SESSION_ENDED: Final = "session.ended"  # token, count
SESSION_NOT_REVOKED: Final = "session.not_revoked"  # reason
# The process.
CONFIG_RELOADED: Final = "config.reloaded"  # changed, kept, needs_restart
CONFIG_REFUSED: Final = "config.refused"  # field, rule
SERVER_LISTENING: Final = "server.listening"  # url, admin, workers
SERVER_DRAINING: Final = "server.draining"  # seconds
STORE_NOT_SHARED: Final = "store.not_shared"  # workers
LIFESPAN_REFUSED: Final = "lifespan.refused"  # cause


_request: Final[ContextVar[str | None]] = ContextVar("guestpass.request", default=None)


def name_request(name: str) -> None:
    """Have every event of this request carry `name`, also those of tasks that it starts from here on.

    Done for what is refused, rotated or verified anew, as a context variable costs a tenth of a microsecond.
    """
    _request.set(name)


def emit(event: str, /, *, level: int = logging.INFO, **fields: str | float | None) -> None:
    """Log one event with its fields; a formatter finds them as `record.event` and `record.fields`.

    Where the request has a name, `request` is one of them.

    Args:
        event: One of the names above.
        level: A `logging` level.
        **fields: Bounded values; digests in place of tokens and subjects.
    """
    if logger.isEnabledFor(level):
        if request := _request.get():
            fields = {**fields, "request": request}
        text = " ".join(f"{name}={value!r}" for name, value in fields.items() if value is not None)
        logger.log(level, "%s %s", event, text, extra={"event": event, "fields": fields})
