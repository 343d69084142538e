import pytest
from hypothesis import given
from hypothesis import strategies as st

from guestpass.core import base64url


@given(st.binary())
def test_what_is_encoded_decodes_to_itself(octets: bytes) -> None:
    assert base64url.decode(base64url.encode(octets)) == octets


@given(st.one_of(st.binary(max_size=12), st.text("Ab0-_+/= .", max_size=9).map(str.encode)))
def test_every_octet_string_has_one_spelling(text: bytes) -> None:
    try:
        octets = base64url.decode(text)
    except ValueError:
        return
    assert base64url.encode(octets) == text


@pytest.mark.parametrize(
    "text",
    [
        b"QQ==",
        b"QUI=",
        b"QR",
        b"QUJ",
        b"Q",
        b"QUJDR",
        b"Q Q",
        b"QQ\n",
        b" QQ",
        b"+/+/",
        b"QU.I",
        b"QQ\x00",
        b"\xe9Q",
    ],
)
def test_other_spellings_are_refused(text: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  the type is the whole promise
        base64url.decode(text)


def test_only_padding_is_left_out() -> None:
    assert base64url.encode(b"\xc7\x1c") == b"xxw"
    assert base64url.encode(b"\xc7\x1c\x71" * 2) == b"xxxxxxxx"


def test_the_alphabet_is_the_url_safe_one() -> None:
    assert base64url.decode(b"-_-_") == b"\xfb\xff\xbf"
