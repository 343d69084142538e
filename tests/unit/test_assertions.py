"""Assertions: what one says, how long it is sent again, and how many are remembered."""

import jwt
import pytest
from kit import NOW, HeldClock

from guestpass.adapters.issuers.local_keys import KeySchedule, LocalKeys, jwks_of
from guestpass.assertions import Assertions
from guestpass.core.model import Guest, Header, UnixTime

pytestmark = pytest.mark.anyio

SCHEDULE = KeySchedule(algorithm="ES256", period=3600, publish_ahead=900, outlast=180)


class Desk:
    """Assertions, what signs them, and the clock of both."""

    def __init__(self, *, most: int = 100, schedule: KeySchedule = SCHEDULE) -> None:
        self.clock = HeldClock()
        self.keys = LocalKeys(clock=self.clock, schedule=schedule)
        self.signed = 0
        self.assertions = Assertions(signer=self, issuer="us", audience="them", clock=self.clock, most=most)

    async def sign(self, payload: bytes, *, typ: str) -> bytes:
        self.signed += 1
        return await self.keys.sign(payload, typ=typ)

    async def ask(self, subject: str = "1") -> Header:
        return await self.assertions.field(guest(subject))

    def read(self, field: Header, *, keys: bytes | None = None) -> dict[str, object]:
        """What PyJWT makes of it with the published keys; time is not its business, as the clock is held."""
        compact = field[1].decode()
        key = jwt.PyJWKSet.from_json((keys or jwks_of(self.keys)).decode())[
            jwt.get_unverified_header(compact)["kid"]
        ]
        read: dict[str, object] = jwt.decode(
            compact, key, algorithms=["ES256"], audience="them", issuer="us",
            options={"verify_exp": False, "verify_iat": False, "require": ["exp", "iat", "aud", "iss"]},
        )  # fmt: skip
        return read


def guest(subject: str = "1", name: str = "Ada", email: str = "ada@example.org") -> Guest:
    return Guest(subject, name, email, expires_at=UnixTime(NOW + 60), anonymous=False)


async def test_an_assertion_says_who_sent_the_request_to_whom_and_for_a_minute() -> None:
    desk = Desk()
    name, value = field = await desk.ask()
    assert name == b"x-guest-assertion"
    assert desk.read(field) == {
        "iss": "us",
        "aud": "them",
        "sub": "1",
        "name": "Ada",
        "email": "ada@example.org",
        "iat": NOW,
        "exp": NOW + 60,
    }
    assert jwt.get_unverified_header(value)["typ"] == "guest-assertion+jwt"


async def test_what_is_not_known_of_a_guest_is_left_out() -> None:
    desk = Desk()
    read = desk.read(await desk.assertions.field(guest(name="", email="")))
    assert read.keys() == {"iss", "aud", "sub", "iat", "exp"}


@pytest.mark.parametrize(("later", "signed"), [(29.9, 1), (30.0, 2), (30.1, 2), (90.0, 2), (-1.0, 2)])
async def test_one_is_sent_again_while_more_than_half_its_life_is_left(later: float, signed: int) -> None:
    """A clock that stepped back would let one live on for longer than it says, so it is signed anew."""
    desk = Desk()
    first = await desk.ask()
    desk.clock.advance(later)
    assert ((await desk.ask()) == first) is (signed == 1)
    assert desk.signed == signed


async def test_one_that_another_turn_of_the_cache_made_old_is_still_sent_again() -> None:
    desk = Desk()
    desk.clock.advance(29)
    field = await desk.ask()
    desk.clock.advance(2)
    assert await desk.ask() == field
    desk.clock.advance(28)
    assert await desk.ask() != field


async def test_no_guest_gets_the_assertion_of_another() -> None:
    desk = Desk()
    guests = [guest(), guest("2"), guest(name="Bob"), guest(email="bob@example.org")]
    fields = [await desk.assertions.field(one) for one in guests]
    assert [await desk.assertions.field(one) for one in guests] == fields
    assert len(set(fields)) == desk.signed == 4
    assert [desk.read(field)["sub"] for field in fields] == ["1", "2", "1", "1"]


async def test_a_flood_of_guests_is_not_remembered() -> None:
    desk = Desk(most=4)
    for number in range(40):
        await desk.ask(str(number))
        assert len(desk.assertions) <= 4
    assert desk.signed == 40


async def test_a_key_that_changes_leaves_no_assertion_without_its_key() -> None:
    """A minute at a time for two hours: verified by the keys of now, and by those of a backend's cache."""
    desk = Desk()
    kids = set()
    cached, cached_at = jwks_of(desk.keys), 0
    for minute in range(240):
        if minute - cached_at > 10:
            cached, cached_at = jwks_of(desk.keys), minute
        field = await desk.ask()
        assert desk.read(field) == desk.read(field, keys=cached)
        kids.add(jwt.get_unverified_header(field[1])["kid"])
        desk.clock.advance(30)
        assert desk.read(field)
    assert len(kids) == 2
