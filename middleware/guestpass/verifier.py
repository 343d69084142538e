"""Whether a token is genuine by the published keys: parse it, find the key, verify, read the claims."""

from collections.abc import Sequence

from guestpass.core import jws
from guestpass.core.claims import ClaimRules, read
from guestpass.core.decision import Genuine, Invalid
from guestpass.core.jwk import ALGORITHMS, Jwk
from guestpass.core.model import MonotonicTime, RawToken
from guestpass.errors import ConfigError, KeyUnknown, SignatureInvalid, TokenError
from guestpass.ports import Clock, KeySource, Retired


class JwksVerifier:
    """The `Verifier` for issuers that publish a JWKS.

    Args:
        keys: Where the keys come from; everything about their age is its business.
        rules: What a claims set must say.
        algorithms: Allowed "alg" values, out of `core.jwk.ALGORITHMS`.
        types: Allowed "typ" values; neither case nor `application/` counts.
        clock: For "nbf" and "iat".

    Raises:
        ConfigError: An algorithm that is unsafe or unknown, or an empty list.
    """

    def __init__(
        self,
        keys: KeySource,
        rules: ClaimRules,
        *,
        algorithms: frozenset[str],
        types: frozenset[str] = jws.GUEST_TYPES,
        clock: Clock,
    ) -> None:
        if not algorithms or not algorithms <= ALGORITHMS:
            raise ConfigError("verify.algorithms", f"must be some of {', '.join(sorted(ALGORITHMS))}")
        if not types:
            raise ConfigError("verify.types", "must name at least one type")
        self._keys = keys
        self._rules = rules
        self._algorithms = algorithms
        self._types = frozenset(jws.media_type(name) for name in types)
        self._clock = clock

    @property
    def recheck_at(self) -> MonotonicTime:
        """As `KeySource.recheck_at`."""
        return self._keys.recheck_at

    async def recheck(self) -> None:
        """As `KeySource.recheck`."""
        await self._keys.recheck()

    async def verify(self, token: RawToken) -> Genuine | Invalid:
        """Verify signature and every claim but "exp".

        Raises:
            Unavailable: No keys are at hand; never for a token that is refused without one.
        """
        try:
            unverified = jws.parse(token, algorithms=self._algorithms, types=self._types)
            candidates = await self._keys.find(unverified.kid, unverified.algorithm)
            payload, key = _verify_with_one_of(candidates, unverified)
            claims = read(payload, self._rules, now=self._clock.time())
        except TokenError as error:
            return Invalid(error)
        return Genuine(claims, token.id, key.thumbprint)

    def on_retired(self, callback: Retired) -> None:
        """As `KeySource.on_retired`."""
        self._keys.on_retired(callback)

    async def run(self) -> None:
        """As `KeySource.run`."""
        await self._keys.run()


def _verify_with_one_of(
    candidates: Sequence[Jwk], unverified: jws.UnverifiedJws
) -> tuple[jws.VerifiedPayload, Jwk]:
    """Try each key that shares the token's kid; almost always there is one."""
    if not candidates:
        raise KeyUnknown
    *others, last = candidates
    for key in others:
        try:
            return jws.verify(unverified, key), key
        except SignatureInvalid:
            continue
    return jws.verify(unverified, last), last
