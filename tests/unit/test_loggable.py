"""What a log holds of a path, and which request ids are taken over."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guestpass.core.loggable import loggable_path, request_id


def test_a_usual_path_is_logged_as_it_is() -> None:
    assert loggable_path("/shop/orders/4711") == "/shop/orders/4711"


@pytest.mark.parametrize("segment", ["ada@example.org", "x" * 41, "eyJhbGciOiJSUzI1NiJ9.e30." + "s" * 86])
def test_a_segment_that_may_be_a_token_or_an_address_is_left_out(segment: str) -> None:
    assert loggable_path(f"/a/{segment}/b") == "/a/…/b"


def test_the_longest_segment_that_stays_has_forty_characters() -> None:
    assert loggable_path("/" + "x" * 40) == "/" + "x" * 40


@given(st.text())
def test_no_path_makes_a_long_line(path: str) -> None:
    assert len(loggable_path(path)) <= 120


@given(st.lists(st.text(alphabet="ab/", max_size=30)), st.text("0123456789", min_size=41))
def test_no_part_of_a_long_segment_stays(around: list[str], segment: str) -> None:
    assert not set(segment) & set(loggable_path("/".join([*around, segment, *around])))


@pytest.mark.parametrize("value", [b"4bf92f3577b34da6", b"a" * 64, b"r.~+/=-_1"])
def test_a_plain_id_is_taken_over(value: bytes) -> None:
    assert request_id([value]) == value.decode()


@pytest.mark.parametrize(
    "values", [[], [b""], [b"a" * 65], [b'a"b'], [b"a b"], [b"a\n"], [b"\x1b[2J"], [b"\xff"], [b"a", b"a"]]
)
def test_anything_else_is_no_id(values: list[bytes]) -> None:
    assert request_id(values) is None
