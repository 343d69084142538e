import json
import math
from time import process_time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guestpass.core.strict_json import MAX_DIGITS, loads, loads_object, salvage

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(10**60), 10**60)
    | st.floats(allow_nan=False, allow_infinity=False)
)
texts = st.text(st.characters(exclude_categories=["Cs"]))
values = st.recursive(
    scalars | texts, lambda inner: st.lists(inner) | st.dictionaries(texts, inner), max_leaves=20
)


@given(values, st.booleans())
def test_it_reads_what_json_writes(value: Any, ascii_only: bool) -> None:
    assert loads(json.dumps(value, ensure_ascii=ascii_only).encode(), depth=100) == value


@given(st.one_of(st.binary(), st.text('{}[]":,\\ud89aE+-.0123 tfn', max_size=40).map(str.encode)))
def test_octets_are_read_as_json_reads_them_or_raise_a_value_error(raw: bytes) -> None:
    try:
        value = loads(raw)
    except ValueError:
        return
    assert value == json.loads(raw)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"{}{}",
        b"{}x",
        b"{}\0",
        b"{'a':1}",
        b'{"a":1,}',
        b"{a:1}",
        b'{"a":/**/1}',
        b'{"a":"\x01"}',
        b'{"a":01}',
        b'{"a":.5}',
        b'{"a":+1}',
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":-Infinity}',
        b'{"a":1e999}',
        b'{"a":-1e999}',
        b'\xef\xbb\xbf{"a":1}',
        b'{"a":"\xff"}',
        b'{"a":"\xc0\xae"}',
        b'{"a":"\xed\xa0\x80"}',
        '{"a":1}'.encode("utf-16"),
        '{"a":1}'.encode("utf-32"),
    ],
)
def test_what_is_not_json_is_refused(raw: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  the type is the whole promise
        loads(raw)


@pytest.mark.parametrize(
    "raw",
    [
        b'{"a":1,"a":1}',
        b'{"a":1,"b":2,"a":3}',
        rb'{"a":1,"\u0061":2}',
        b'{"x":{"a":1,"a":2}}',
        b'[{"a":[{"b":1,"b":2}]}]',
        b'{"":1,"":2}',
    ],
)
def test_a_member_stands_once_at_every_level(raw: bytes) -> None:
    with pytest.raises(ValueError, match="stands twice"):
        loads(raw)


def test_one_name_may_stand_in_several_objects() -> None:
    assert loads(b'{"a":{"a":[{"a":1},{"a":2}]}}') == {"a": {"a": [{"a": 1}, {"a": 2}]}}


@pytest.mark.parametrize(("levels", "passes"), [(31, True), (32, True), (33, False)])
@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}")])
def test_depth_is_bounded(levels: int, passes: bool, opening: bytes, closing: bytes) -> None:
    raw = opening * levels + b"1" + closing * levels
    if passes:
        loads(raw, depth=32)
    else:
        with pytest.raises(ValueError, match="nested"):
            loads(raw, depth=32)


def test_width_is_not_depth() -> None:
    assert len(loads(b"[" + b"[],{}," * 100 + b"1]", depth=2)) == 201


def test_brackets_in_strings_are_not_depth() -> None:
    assert loads(b'["' + b"[{" * 100 + b'"]', depth=1) == ["[{" * 100]


@pytest.mark.parametrize("raw", [b"[" * 200_000, b"[" * 200_000 + b"]" * 200_000, b'{"a":' * 100_000])
def test_endless_nesting_is_refused_in_no_time(raw: bytes) -> None:
    started = process_time()
    with pytest.raises(ValueError):  # noqa: PT011  deep or truncated, whichever is seen first
        loads(raw)
    assert process_time() - started < 0.5


@pytest.mark.parametrize("sign", [b"", b"-"])
def test_integers_are_bounded_before_they_are_converted(sign: bytes) -> None:
    digits = MAX_DIGITS - len(sign)
    assert math.isfinite(float(loads(sign + b"9" * digits)))
    for longer in (digits + 1, 4_000, 100_000):
        with pytest.raises(ValueError, match="too long"):
            loads(sign + b"9" * longer)


@pytest.mark.parametrize("escape", [rb"\ud800", rb"\uDFFF", rb"\udc00\ud800", rb"\ud83e", rb"x\uDbFfx"])
@pytest.mark.parametrize("form", [b'"%s"', b'["%s"]', b'{"%s":1}', b'{"a":[{"b":"%s"}]}'])
def test_a_lone_surrogate_is_refused_wherever_it_stands(escape: bytes, form: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  the type is the whole promise
        loads(form % escape)


def test_a_surrogate_pair_is_a_character() -> None:
    assert loads(rb'"\ud83e\udd89"') == "🦉"
    assert loads(rb'"\\ud800"') == r"\ud800"


@pytest.mark.parametrize("raw", [b"[]", b"null", b"1", b'"{}"', b"true", b"[{}]"])
def test_an_object_is_not_something_else(raw: bytes) -> None:
    assert loads(raw) != {}
    with pytest.raises(ValueError, match="not an object"):
        loads_object(raw)


def test_an_object_passes_its_depth_on() -> None:
    assert loads_object(b' {"a":[]} ', depth=2) == {"a": []}
    with pytest.raises(ValueError, match="nested"):
        loads_object(b'{"a":[]}', depth=1)


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (b'[1,{"a":1,"a":2},{"b":3}]', [1, None, {"b": 3}]),
        (b'{"a":NaN,"b":-Infinity,"c":1e999,"d":1.5}', {"a": None, "b": None, "c": None, "d": 1.5}),
        (b'{"a":%s,"b":7}' % (b"9" * 100_000), {"a": None, "b": 7}),
        (rb'["\ud800"]', ["\ud800"]),
    ],
)
def test_what_is_salvaged_lacks_only_what_is_not_strict(raw: bytes, value: object) -> None:
    assert salvage(raw) == value
    with pytest.raises(ValueError):  # noqa: PT011  the type is the whole promise
        loads(raw)


@given(values)
def test_what_is_strict_is_salvaged_whole(value: Any) -> None:
    raw = json.dumps(value).encode()
    assert salvage(raw, depth=100) == loads(raw, depth=100)


@pytest.mark.parametrize("raw", [b"", b"{", b"\xff", b"[" * 33 + b"]" * 33, b"[" * 200_000, b'{"a":1}x'])
def test_what_cannot_be_read_as_a_whole_cannot_be_salvaged(raw: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  the type is the whole promise
        salvage(raw)
