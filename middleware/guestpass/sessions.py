"""The session endpoint's use case: an authorization code in, a token out, renewed, and the session ended."""

import logging
from collections.abc import Mapping

import anyio

from guestpass import events
from guestpass.core.model import RawToken, TokenId, UnixTime, short
from guestpass.core.session import Grant
from guestpass.core.shares import Priority
from guestpass.errors import ConfigError, GuestpassError, MintBudgetSpent, TokenUnknown, TooManyRequests
from guestpass.exchange import Issued, go_on
from guestpass.gate import Gate
from guestpass.minting import Minted, ask_first
from guestpass.ports import Revocation


class Sessions:
    """Begins and ends sessions over a gate whose issuer works by authorization codes."""

    def __init__(self, gate: Gate) -> None:
        """Stand over `gate`, which was given `logins`.

        Raises:
            ConfigError: It was not.
        """
        if gate.logins is None:
            raise ConfigError("issuer.kind", "must be 'webdeployments' for guests to log in")
        self._gate = gate
        self._issuer = gate.logins.issuer
        self._store = gate.logins.sessions

    async def begin(self, grant: Grant) -> Minted:
        """The first token of a new session.

        Raises:
            GrantRefused: The issuer will not take the code.
            TooManyRequests: The mint budget is used up.
            Fault: As `minting.ask_first`.
        """
        gate, issuer = self._gate, self._issuer
        try:
            minted = await ask_first(
                gate.rotation, lambda: gate.issuer.metered(issuer.exchange(grant)), Priority.FIRST
            )
        except MintBudgetSpent as exc:
            raise TooManyRequests(str(exc), retry_after=exc.retry_after) from exc
        events.emit(events.SESSION_BEGUN, token=short(minted.token.id))
        return minted

    async def renew(self, token: RawToken, *, client: str = "") -> Issued:
        """The token itself, or its successor once that is due: what a page asks for before the end.

        Raises:
            TokenError: It is not genuine, past its grace, or the issuer refuses another one: log in anew.
            TooManyRequests: This client sent too many that were not genuine.
            Unavailable: It has expired, and no successor can be had now.
        """
        entry = await self._gate.entry(token, client=client)
        return await go_on(self._gate, token, entry.genuine)

    async def end(self, token: RawToken, *, client: str = "") -> None:
        """End the session of `token`: each token of it is refused from now on, here at once.

        Other workers refuse them within a second. The issuer is told as well, and if it cannot be, our own
        end still stands: the refresh token is gone with the session, so nobody can go on with it.

        Raises:
            TokenError: The token is not genuine.
            TooManyRequests: This client sent too many that were not.
            Unavailable: The record cannot be reached, or other workers could not be told: to be asked again.
        """
        await self._gate.entry(token, client=client)
        recorded = await self._store.recorded(token)
        session = None if recorded is None else await self._store.session(recorded.session)
        if session is None:
            raise TokenUnknown  # another request has ended it meanwhile
        # Shielded: a session must not stay half open because a visitor closed the page over it.
        with anyio.CancelScope(shield=True):
            # Before the session goes: after it, a second try would find nothing to end.
            await self._refuse_everywhere(session.tokens)
            closed = await self._store.close(session.name)
            if closed is None:
                raise TokenUnknown
            late = closed.tokens.keys() - session.tokens.keys()  # a refresh was under way
            await self._refuse_everywhere({known: closed.tokens[known] for known in late})
            # Again: between the two the record still knew them, so a request may have remembered one anew.
            self._forget(closed.tokens)
            await self._tell_issuer(token)
            events.emit(events.SESSION_ENDED, token=short(token.id), count=len(closed.tokens))

    async def _refuse_everywhere(self, tokens: Mapping[TokenId, UnixTime]) -> None:
        for token_id, until in tokens.items():
            await self._gate.revocations.add(Revocation(token_id, until))
        self._forget(tokens)

    def _forget(self, tokens: Mapping[TokenId, UnixTime]) -> None:
        self._gate.entries.cache.drop_where(lambda entry: entry.genuine.token_id in tokens)

    async def _tell_issuer(self, token: RawToken) -> None:
        """Last, as it may take its time: by now nobody can use the session any more."""
        try:
            with anyio.fail_after(self._gate.policy.mint_deadline):
                await self._issuer.revoke(token)
        except (GuestpassError, TimeoutError) as exc:
            reason = exc.reason if isinstance(exc, GuestpassError) else "unavailable"
            events.emit(events.SESSION_NOT_REVOKED, level=logging.WARNING, reason=reason)
