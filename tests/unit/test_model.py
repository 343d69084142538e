"""Names of tokens, and values that never show what they hold."""

import pytest
from forge import ec_key, sign

from guestpass.core import base64url
from guestpass.core.model import Claims, Identity, RawToken, UnixTime, short

P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


def second_spelling(compact: bytes) -> bytes:
    """The other valid signature of an ES256 token, which needs no key to make."""
    signed, _, signature = compact.rpartition(b".")
    octets = base64url.decode(signature)
    s = P256_ORDER - int.from_bytes(octets[32:], "big")
    return signed + b"." + base64url.encode(octets[:32] + s.to_bytes(32, "big"))


def test_two_signatures_of_one_claims_set_are_one_token_to_rotate_and_two_to_cache() -> None:
    first = RawToken(sign(ec_key(), {"alg": "ES256"}, {"sub": "a"}, alg="ES256"))
    second = RawToken(second_spelling(first.compact))
    assert first != second
    assert first.id == second.id
    assert first.digest != second.digest


def test_of_a_token_that_is_no_jws_every_octet_counts() -> None:
    assert (
        len({RawToken(raw).id for raw in (b"opaque", b"opaquf", b"a.b", b"a.c", b"a.b.c.d.e", b"a.b.c.d.f")})
        == 6
    )


def test_a_token_is_equal_by_its_octets_and_shows_none_of_them() -> None:
    token = RawToken(b"aaaa.bbbb.cccc")
    assert token == RawToken(b"aaaa.bbbb.cccc")
    assert token != b"aaaa.bbbb.cccc"
    assert len({token, RawToken(b"aaaa.bbbb.cccc")}) == 1
    assert repr(token) == f"RawToken(id={short(token.id)})"
    for part in ("aaaa", "bbbb", "cccc"):
        assert part not in f"{token!r} {token!s}"


CLAIMS = Claims(
    issuer="iss",
    subject="s-1",
    expires_at=UnixTime(9),
    issued_at=None,
    name="Ada",
    email="ada@example.org",
    payload=b'{"sub":"s-1","role":"vip"}',
)


@pytest.mark.parametrize("secret", ["Ada", "ada@example.org", "s-1", "vip"])
def test_personal_data_has_no_repr(secret: str) -> None:
    assert secret not in repr(CLAIMS)
    assert secret not in repr(CLAIMS.minted_for)


def test_every_claim_is_at_hand() -> None:
    assert CLAIMS.claims["role"] == "vip"
    assert CLAIMS.minted_for == Identity(name="Ada", email="ada@example.org")
