"""The verified-token cache: bounded whatever is thrown at it, and quick to forget what is no longer so."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guestpass.core.decision import Genuine
from guestpass.core.model import Claims, Header, Thumbprint, TokenDigest, TokenId, UnixTime, token_digest
from guestpass.verified import Entry, VerifiedTokens

CLAIMS = Claims(
    issuer="i",
    subject="s",
    expires_at=UnixTime(9),
    issued_at=None,
    name="",
    email="",
    payload=b"{}",
)


def entry(key: str = "k") -> Entry:
    genuine = Genuine(CLAIMS, TokenId(b"id"), Thumbprint(key))
    return Entry(genuine, (), fresh_until=UnixTime(5), dead_at=UnixTime(9))


@pytest.mark.parametrize(
    "headers",
    [
        (),
        ((b"x-guest-name", b""),),
        ((b"x-guest-name", b""), (b"x-guest-email", b"")),
        ((b"x-guest-subject", b"1"), (b"x-guest-name", b"Ada%20%0A"), (b"x-guest-email", b"a@b.cd")),
    ],
)
def test_an_entry_gives_back_the_identity_fields_that_it_was_made_of(headers: tuple[Header, ...]) -> None:
    """However many they are, empty ones included: a claim that is "" has its field, an absent none."""
    made = Entry(Genuine(CLAIMS, TokenId(b"id")), headers, fresh_until=UnixTime(5), dead_at=UnixTime(9))
    assert made.headers == headers


def digest(number: int) -> TokenDigest:
    return TokenDigest(b"%d" % number)


def filled(count: int, most: int = 8) -> VerifiedTokens:
    cache = VerifiedTokens(most)
    for number in range(count):
        cache.put(digest(number), entry(f"k{number}"), generation=cache.generation)
    return cache


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 30)), max_size=200), st.integers(2, 9))
def test_it_never_holds_more_than_its_most_whatever_is_asked_and_put(
    steps: list[tuple[bool, int]], most: int
) -> None:
    cache = VerifiedTokens(most)
    known: dict[TokenDigest, Entry] = {}
    for is_put, number in steps:
        if is_put:
            known[digest(number)] = entry()
            cache.put(digest(number), known[digest(number)], generation=cache.generation)
        else:
            found = cache.get(digest(number))
            assert found is None or found is known[digest(number)]
        assert len(cache) <= most


def test_what_is_used_stays_and_what_is_not_goes() -> None:
    cache = filled(4)  # half of its most: the next one starts a generation
    for number in range(4, 20):
        assert cache.get(digest(0)) is not None
        cache.put(digest(number), entry(), generation=cache.generation)
    assert cache.get(digest(1)) is None
    assert cache.get(digest(0)) is not None


def test_hits_and_misses_are_counted() -> None:
    cache = filled(6)
    for number in (5, 0, 0, 99):
        cache.get(digest(number))
    assert (cache.hits, cache.misses) == (3, 1)


def test_an_entry_put_again_is_replaced_and_not_doubled() -> None:
    cache = filled(5)  # 0 to 3 are of the older generation
    again = entry()
    cache.put(digest(0), again, generation=cache.generation)
    assert cache.get(digest(0)) is again
    assert len(cache) == 5


def test_a_retired_key_takes_its_tokens_out_of_both_generations() -> None:
    cache = filled(6)
    cache.drop_keys(frozenset({Thumbprint("k1"), Thumbprint("k5")}))
    assert [number for number in range(6) if cache.get(digest(number))] == [0, 2, 3, 4]


def test_a_verdict_from_before_something_was_dropped_is_not_kept() -> None:
    """A key may retire while a signature is checked with it: such a verdict serves its one request."""
    cache = filled(2)
    generation = cache.generation
    cache.drop_where(lambda entry: False)
    cache.put(digest(7), entry(), generation=generation)
    assert cache.get(digest(7)) is None


def holding(*tokens: bytes, most: int = 8) -> VerifiedTokens:
    cache = VerifiedTokens(most)
    for token in tokens:
        cache.put(token_digest(token), entry(token.decode()), generation=cache.generation)
    return cache


def test_a_recent_token_is_found_by_its_octets_at_each_asking() -> None:
    cache = holding(b"a")
    assert cache.recent(b"b") is None
    known = cache.get(token_digest(b"a"))
    assert known is not None
    assert cache.recent(b"a") is cache.recent(b"a")
    assert cache.recent(b"a") == (known, known.headers)


def test_a_token_that_is_forgotten_is_not_recent_either() -> None:
    cache = holding(b"a", b"b")
    assert cache.recent(b"a") is not None
    assert cache.recent(b"b") is not None
    cache.drop_keys(frozenset({Thumbprint("a")}))
    assert cache.recent(b"a") is None
    assert cache.recent(b"b") is not None


def test_a_recent_token_stays_through_generations_only_by_being_asked_for() -> None:
    cache = holding(b"a")
    assert cache.recent(b"a") is not None
    for number in range(8):
        cache.put(digest(number), entry(), generation=cache.generation)
    assert cache.recent(b"a") is None


def test_the_tokens_kept_by_their_octets_are_few() -> None:
    tokens = [b"%d" % number for number in range(1_500)]
    cache = holding(*tokens, most=4_000)
    assert all(cache.recent(token) is not None for token in tokens)
    assert len(cache._latest) <= 1_024 < len(cache)


def test_more_tokens_than_stand_in_front_do_not_push_each_other_out() -> None:
    """Else of 10,000 tokens in turn each would be put there, and none would be found there."""
    tokens = [b"%d" % number for number in range(1_500)]
    cache = holding(*tokens, most=4_000)
    first = [cache.recent(token) for token in tokens]
    again = [cache.recent(token) for token in tokens]
    assert sum(one is two for one, two in zip(first, again, strict=True)) == 1_024


def test_in_the_end_other_tokens_stand_in_front() -> None:
    tokens = [b"%d" % number for number in range(1_500)]
    cache = holding(*tokens, most=4_000)
    for token in tokens:
        cache.recent(token)
    newcomer = tokens[-1]
    asked = next(n for n in range(100_000) if cache.recent(newcomer) is cache.recent(newcomer))
    assert 1_024 < asked < 16 * 1_024
