"""A token and its claims, spoilt as a fault says; what the fault does not concern stays right."""

from collections.abc import MutableMapping
from typing import Any

from jwcrypto.jwk import JWK

from guestpass.fake_vendor.ids import Ids
from guestpass.fake_vendor.jwt import sign, unsigned


def spoil_claims(claims: MutableMapping[str, Any], fault: str | None, *, lifetime: int, ids: Ids) -> None:
    """Change `claims` in place; `lifetime` is in seconds, and a token dies one of them ago."""
    match fault:
        case "token_expired":
            for name in {"iat", "nbf", "exp"} & set(claims):
                claims[name] -= 2 * lifetime
        case "token_other_issuer":
            claims["iss"] = "https://issuer.invalid"
        case "token_other_subject":
            claims["sub"] = ids.uuid("other subject")
        case "token_without_exp":
            del claims["exp"]


def signed(claims: MutableMapping[str, Any], fault: str | None, *, key: JWK, stray: JWK) -> str:
    """The token: signed by `key`, or by `stray`, whom nobody knows, or by nobody."""
    match fault:
        case "token_unsigned":
            return unsigned(key, claims)
        case "token_unpublished_key":
            return sign(stray, claims)
    return sign(key, claims)


def handed_over(member: str, token: str, fault: str | None) -> dict[str, Any]:
    """The member of the answer that holds the token, if there is one."""
    match fault:
        case "token_missing":
            return {}
        case "token_not_a_string":
            return {member: {"value": token}}
        case "token_with_line_break":
            return {member: f"{token}\r\nX-Injected: 1"}
    return {member: token}
