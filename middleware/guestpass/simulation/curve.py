"""A series of numbers as a curve of block characters."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

_BLOCKS: Final = " ▁▂▃▄▅▆▇█"
_FULL: Final = len(_BLOCKS) - 1


def curve(values: Sequence[float], *, top: float, width: int, height: int) -> list[str]:
    """Draw `values` from left to right, as `height` lines of at most `width` characters, highest first.

    Where several values share a column it shows their maximum, so that no peak is hidden; a value above
    zero is never drawn as nothing.

    Args:
        values: At least one, none negative.
        top: The value that fills the height.
        width: Characters in a line.
        height: How many lines.
    """
    columns = min(width, len(values))
    edges = [round(column * len(values) / columns) for column in range(columns + 1)]
    levels = [_level(max(values[start:end]), top, height * _FULL) for start, end in pairwise(edges)]
    return [
        "".join(_BLOCKS[min(_FULL, max(0, level - line * _FULL))] for level in levels)
        for line in reversed(range(height))
    ]


def _level(value: float, top: float, levels: int) -> int:
    """How many of `levels` a value fills."""
    if value <= 0 or top <= 0:
        return 0
    return max(1, round(min(1.0, value / top) * levels))
