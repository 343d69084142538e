"""JSON that all readers read alike: UTF-8, no duplicate members, bounded numbers and depth (RFC 7493).

The caller bounds the size of the input; everything else that can go wrong is a `ValueError`.
"""

import json
import re
from collections.abc import Callable, Iterable
from math import isfinite
from typing import Any, Final, TypeVar

MAX_DIGITS: Final = 64
"""An integer may have this many characters: conversion is quadratic in them, and its float stays finite."""

_T = TypeVar("_T")

_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def loads(raw: bytes, *, depth: int = 32) -> Any:
    """Parse one JSON value.

    Args:
        raw: UTF-8, without a byte order mark.
        depth: How many arrays and objects may stand inside one another.

    Raises:
        ValueError: `raw` is not JSON, or is JSON that two readers might read differently.
    """
    text = raw.decode()
    value = _decoded(text, _STRICT, depth)
    if _SURROGATE.search(text):
        # Pairs are characters; one alone cannot be encoded, and would fail much later, in a header or a log.
        json.dumps(value, ensure_ascii=False).encode()
    return value


def loads_object(raw: bytes, *, depth: int = 32) -> dict[str, Any]:
    """Parse one JSON object, by the rules of `loads`.

    Raises:
        ValueError: As `loads`, or the value is not an object.
    """
    value = loads(raw, depth=depth)
    if not isinstance(value, dict):
        raise ValueError("not an object")  # noqa: TRY004  every fault of the input is one type of error
    return value


def salvage(raw: bytes, *, depth: int = 32) -> Any:
    """Parse one JSON value for a reader who can do without parts of it.

    An object with a duplicate member and a number out of bounds read as null, so that only what they stand
    in is lost; and strings may hold lone surrogates.

    Raises:
        ValueError: `raw` as a whole cannot be read.
    """
    return _decoded(raw.decode(), _SALVAGING, depth)


def _decoded(text: str, decoder: json.JSONDecoder, depth: int) -> Any:
    try:
        value = decoder.decode(text)
    except RecursionError as exc:
        raise ValueError("nested too deeply") from exc
    # With no more brackets than levels, no walk is needed: the case of every ordinary token.
    if text.count("{") + text.count("[") > depth and not _nests_within(value, depth):
        raise ValueError("nested too deeply")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member stands twice")
    return members


def _integer(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise ValueError("an integer is too long")
    return int(digits)


def _float(digits: str) -> float:
    value = float(digits)
    if not isfinite(value):
        raise ValueError("a number is too large")
    return value


def _constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _nests_within(value: Any, levels: int) -> bool:
    inner: Iterable[Any]
    if isinstance(value, dict):
        inner = value.values()
    elif isinstance(value, list):
        inner = value
    else:
        return True
    return levels > 0 and all(_nests_within(item, levels - 1) for item in inner)


def _or_null(hook: Callable[[_T], object]) -> Callable[[_T], Any]:
    def lenient(found: _T) -> object:
        try:
            return hook(found)
        except ValueError:
            return None

    return lenient


# Two decoders for all calls: `json.loads` with hooks builds a new one each time.
_STRICT = json.JSONDecoder(
    object_pairs_hook=_unique, parse_int=_integer, parse_float=_float, parse_constant=_constant
)
_SALVAGING = json.JSONDecoder(
    object_pairs_hook=_or_null(_unique),
    parse_int=_or_null(_integer),
    parse_float=_or_null(_float),
    parse_constant=_or_null(_constant),
)
