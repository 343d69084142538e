"""Whether a token is genuine by our own record of what was issued, where no keys are published."""

from guestpass.core.decision import Genuine, Invalid
from guestpass.core.jws import MAX_TOKEN
from guestpass.core.model import MonotonicTime, RawToken
from guestpass.core.session import recorded_claims
from guestpass.errors import TokenMalformed, TokenUnknown
from guestpass.ports import Retired, SessionStore


class RecordedVerifier:
    """The `Verifier` for issuers that publish no JWKS: a token is genuine if it was handed out by us.

    Every octet counts, as the record is found by the digest of the whole token. So a signature that nobody
    here can verify need not be: what has another one is another token, and unknown.

    Args:
        sessions: The record.
        name_claim: Where the guest's name stands.
        email_claim: Where the guest's e-mail address stands.
    """

    def __init__(
        self, sessions: SessionStore, *, name_claim: str = "name", email_claim: str = "email"
    ) -> None:
        self._sessions = sessions
        self._reached = False
        self._name_claim = name_claim
        self._email_claim = email_claim

    @property
    def recheck_at(self) -> MonotonicTime:
        """Always until the record was reached once, and never after: no keys grow old.

        A session that ends takes its tokens out by `gate.revocations`. While the record is away, tokens whose
        verdict is remembered pass.
        """
        return MonotonicTime(float("inf" if self._reached else "-inf"))

    async def recheck(self) -> None:
        """Reach for the record, so that a worker that never had it says that it is not ready.

        Raises:
            Unavailable: It is out of reach.
        """
        await self._sessions.ready()
        self._reached = True

    async def verify(self, token: RawToken) -> Genuine | Invalid:
        """Look the token up.

        Raises:
            Unavailable: The record cannot be read now.
        """
        if len(token.compact) > MAX_TOKEN:
            return Invalid(TokenMalformed("too long"))
        recorded = await self._sessions.recorded(token)
        if recorded is None:
            return Invalid(TokenUnknown())
        claims = recorded_claims(token, recorded, name_claim=self._name_claim, email_claim=self._email_claim)
        return Genuine(claims, token.id)

    def on_retired(self, callback: Retired) -> None:
        """Drop `callback`: there are no keys to retire."""

    async def run(self) -> None:
        """Look after the record, for ever."""
        await self._sessions.run()
