import pytest
from hypothesis import given
from hypothesis import strategies as st

from guestpass.core.framing import NO_BODY, UNKNOWN, body_length
from guestpass.errors import RequestInvalid


def test_without_a_field_there_is_no_body() -> None:
    assert body_length([], [], "1.1") == NO_BODY


@pytest.mark.parametrize(("value", "length"), [(b"0", 0), (b"007", 7), (b"9" * 18, 10**18 - 1)])
def test_one_number_is_a_length(value: bytes, length: int) -> None:
    assert body_length([value], [], "1.0") == length


@pytest.mark.parametrize("coding", [b"chunked", b"Chunked", b" chunked\t"])
def test_chunks_have_no_length(coding: bytes) -> None:
    assert body_length([], [coding], "1.1") == UNKNOWN


@pytest.mark.parametrize(
    ("lengths", "codings", "version"),
    [
        ([b"1", b"1"], [], "1.1"),
        ([b"1, 1"], [], "1.1"),
        ([b""], [], "1.1"),
        ([b"+1"], [], "1.1"),
        ([b"-1"], [], "1.1"),
        ([b"0x1"], [], "1.1"),
        ([b"1_0"], [], "1.1"),
        ([b" 1"], [], "1.1"),
        (["\u0661".encode()], [], "1.1"),
        ([b"9" * 19], [], "1.1"),
        ([b"1"], [b"chunked"], "1.1"),
        ([], [b"chunked", b"chunked"], "1.1"),
        ([], [b"gzip, chunked"], "1.1"),
        ([], [b"\x0bchunked"], "1.1"),
        ([], [b"identity"], "1.1"),
        ([], [b""], "1.1"),
        ([], [b"chunked"], "1.0"),
    ],
)
def test_what_can_be_read_in_two_ways_is_refused(
    lengths: list[bytes], codings: list[bytes], version: str
) -> None:
    with pytest.raises(RequestInvalid):
        body_length(lengths, codings, version)


@given(st.lists(st.binary(max_size=8), max_size=3), st.lists(st.binary(max_size=8), max_size=3))
def test_any_other_fields_are_refused_and_nothing_else_is_raised(
    lengths: list[bytes], codings: list[bytes]
) -> None:
    try:
        length = body_length(lengths, codings, "1.1")
    except RequestInvalid:
        return
    assert length >= NO_BODY
