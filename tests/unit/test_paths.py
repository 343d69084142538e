"""One reading of a path: what passes, what never does, and that the two halves agree."""

import re
from urllib.parse import quote, unquote, unquote_to_bytes

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from guestpass.core.paths import unambiguous, wire_path

LEGAL = [
    b"/",
    b"/health",
    b"/public/",
    b"/.well-known/guestpass/jwks.json",
    b"/a.b/..c/d../.../....",
    b"/~me/@you/a:b/c+d/e=f&g,h!i$j'k(l)*",
    b"/caf%C3%A9/%E6%97%A5%E6%9C%AC",
    b"/caf%c3%a9",
    b"/a%20b",
    b"/50%25",
    b"/100%25%20sure",
    b"/a%2Bb%40c%3Ad",
    b'/[a]|{b}^`"<c>',
]

REFUSED = {
    "no path": b"",
    "relative": b"public/x",
    "asterisk-form": b"*",
    "absolute-form": b"http://evil.example/public",
    "authority-form": b"evil.example:443",
    "a host in disguise": b"//public/admin",
    "empty segment": b"/public//admin",
    "empty last segment": b"/public//",
    "backslash": b"/public\\..\\admin",
    "encoded backslash": b"/public/%5c..%5Cadmin",
    "dot segment": b"/./admin",
    "dot segment at the end": b"/admin/.",
    "parent segment": b"/public/../admin",
    "parent segment at the end": b"/public/..",
    "encoded parent segment": b"/public/%2e%2e/admin",
    "encoded parent segment, upper case": b"/public/%2E%2E/admin",
    "half-encoded parent segment": b"/public/.%2e/admin",
    "half-encoded parent segment, other half": b"/public/%2e./admin",
    "encoded dot segment": b"/%2e/admin",
    "encoded dot": b"/admin%2ejson",
    "encoded slash": b"/public%2fadmin",
    "encoded slash, upper case": b"/public/..%2Fadmin",
    "path parameter": b"/public;x/admin",
    "path parameter on a parent segment": b"/public/..;/admin",
    "encoded path parameter": b"/public%3bx",
    "encoded path parameter, upper case": b"/public/..%3B/admin",
    "fragment": b"/public#/admin",
    "encoded fragment": b"/public%23/admin",
    "query": b"/admin?/public",
    "encoded query": b"/admin%3f/public",
    "encoded query, upper case": b"/admin%3F.css",
    "NUL": b"/admin\x00.css",
    "encoded NUL": b"/admin%00.css",
    "newline": b"/public\nx",
    "newline at the end": b"/public\n",
    "encoded newline": b"/public%0ax",
    "encoded carriage return": b"/public%0D%0Ax",
    "tab": b"/public\tx",
    "encoded tab": b"/public%09",
    "encoded escape": b"/public%1b[0m",
    "DEL": b"/public\x7f",
    "encoded DEL": b"/public%7f",
    "encoded C1 control": b"/public%C2%85",
    "blank": b"/public /x",
    "raw UTF-8": "/café".encode(),
    "lone percent": b"/100%",
    "percent and one digit": b"/a%2",
    "percent and no digits": b"/a%zz",
    "percent and one wrong digit": b"/a%2g",
    "IIS escape": b"/a%u002e",
    "overlong slash": b"/public%c0%af..",
    "overlong dot": b"/public/%c0%ae%c0%ae/admin",
    "invalid UTF-8": b"/a%ff",
    "truncated UTF-8": b"/caf%C3",
    "encoded surrogate": b"/a%ed%a0%80",
    "double-encoded dot": b"/public/%252e%252e/admin",
    "double-encoded dot, upper case": b"/public/%252E%252E/admin",
    "double-encoded slash": b"/public%252fadmin",
    "double-encoded backslash": b"/public%255cadmin",
    "double-encoded NUL": b"/public%2500",
    "double-encoded letter": b"/public/%2561dmin",
    "double encoding, digits encoded too": b"/public/%25%32%65",
    "triple-encoded slash": b"/public%25252fadmin",
}

_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


@pytest.mark.parametrize("raw_path", LEGAL)
def test_a_path_that_nobody_misreads_passes(raw_path: bytes) -> None:
    assert unambiguous(raw_path, unquote(raw_path.decode()))


@pytest.mark.parametrize("raw_path", REFUSED.values(), ids=REFUSED)
def test_a_path_with_two_readings_is_refused(raw_path: bytes) -> None:
    """Under both ways in which servers decode what is not ASCII."""
    assert not unambiguous(raw_path, unquote_to_bytes(raw_path).decode(errors="replace"))
    assert not unambiguous(raw_path, unquote_to_bytes(raw_path).decode(errors="surrogateescape"))


@pytest.mark.parametrize(
    ("raw_path", "path"),
    [
        (b"/public", "/admin"),
        (b"/public", "/public/"),
        (b"/public", "/Public"),
        (b"/caf%C3%A9", "/caf%C3%A9"),
        (b"/caf%C3%A9", "/cafÃ©"),
        (b"/a%20b", "/a+b"),
        (b"/a+b", "/a b"),
    ],
)
def test_a_path_that_is_not_the_decoding_of_the_raw_one_is_refused(raw_path: bytes, path: str) -> None:
    """Policy would match the one, and the proxy forward the other."""
    assert not unambiguous(raw_path, path)


@given(st.lists(_text, max_size=5))
def test_a_passing_path_has_the_same_segments_for_every_reader(segments: list[str]) -> None:
    path = "/" + "/".join(segments)
    raw_path = quote(path, safe="/").encode()
    if unambiguous(raw_path, path):
        split_first = [unquote(segment) for segment in raw_path.decode().split("/")]
        assert split_first == unquote(raw_path.decode()).split("/") == path.split("/")
        assert unquote(path) == path
        assert not {"", ".", ".."} & set(path.split("/")[1:-1])


@given(_text.filter(lambda text: not re.search(r"[\x00-\x1f\x7f-\x9f;?#\\/.%]", text) and text))
def test_any_text_passes_as_an_encoded_segment(segment: str) -> None:
    """A false refusal is a bug too: names in every script are legal paths."""
    raw_path = f"/{quote(segment, safe='')}".encode()
    assert unambiguous(raw_path, f"/{segment}")


@given(st.binary(max_size=40), st.text(max_size=40))
@example(b"/%", "/%")
def test_it_answers_whatever_the_bytes(raw_path: bytes, path: str) -> None:
    assert not unambiguous(raw_path, path) or unquote_to_bytes(raw_path) == path.encode()


@given(st.binary(max_size=40))
def test_no_byte_outside_visible_ascii_passes(raw_path: bytes) -> None:
    if re.search(rb"[^\x21-\x7e]", raw_path):
        assert not unambiguous(b"/" + raw_path, "/" + raw_path.decode(errors="surrogateescape"))


def test_a_long_hostile_path_costs_no_more_than_its_length() -> None:
    """64 KiB that fail at the last byte: with backtracking this would not end."""
    raw_path = b"/a." * 20_000 + b"\\"
    assert not unambiguous(raw_path, raw_path.decode())


@pytest.mark.parametrize(
    ("raw_path", "path", "wire"),
    [
        (b"/a%2Fb", "/a/b", b"/a%2Fb"),
        (b"/a?b=/public", "/a", b"/a"),
        (b"/a?b?c", "/a", b"/a"),
        (None, "/a b/é", b"/a%20b/%C3%A9"),
        (None, "/@me/a:b+c", b"/@me/a:b+c"),
        (None, "/!$&'()*+,:=@-._~", b"/!$&'()*+,:=@-._~"),
    ],
)
def test_the_wire_path_is_the_raw_one_without_a_query(raw_path: bytes | None, path: str, wire: bytes) -> None:
    assert wire_path(raw_path, path) == wire


@given(st.text(max_size=20).map(lambda text: "/" + text))
@example("/\udcff")
@example("/a;b")
@example("/a?b")
@example("/a%2fb")
def test_a_path_without_a_raw_one_is_encoded_without_loss_or_comes_out_refused(path: str) -> None:
    wire = wire_path(None, path)
    if unambiguous(wire, path):
        assert unquote_to_bytes(wire).decode() == path
    else:
        assert re.search(r"[\x00-\x1f\x7f-\x9f;?#\\\ud800-\udfff%]|//|/\.", path)
