"""Whether 64 bits are an H3 cell, from their layout alone (h3geo.org, "H3 Index").

From the top: 1 bit zero, 4 bits mode (1: cell), 3 bits zero, 4 bits resolution, 7 bits base cell,
then 15 digits of 3 bits. Digits down to the resolution are 0 to 6, those below it are 7.
"""

from functools import lru_cache

from corechain.protocol.errors import InvalidCell

_DIGITS, _DIGIT_BITS = 15, 3
_MODE_SHIFT, _RESOLUTION_SHIFT, _BASE_SHIFT = 56, 52, 45
_CELL_MODE = 0x08
"""The top byte: mode 1, all other bits zero."""
_BASE_CELLS = 122
_PENTAGONS = frozenset((4, 14, 24, 38, 49, 58, 63, 72, 83, 97, 107, 117))
_UNUSED = 7
_DELETED = 1
"""A pentagon has no child in this direction, nor has the centre line of its centre children."""
_REMEMBERED = 1 << 16
"""Stations stay where they are: the same few cells come again and again."""


@lru_cache(_REMEMBERED)
def is_cell(index: int) -> bool:
    """Whether an index of 64 bits is a cell of any resolution."""
    resolution, base = index >> _RESOLUTION_SHIFT & 0xF, index >> _BASE_SHIFT & 0x7F
    if index >> _MODE_SHIFT != _CELL_MODE or base >= _BASE_CELLS:
        return False
    digits = [index >> _DIGIT_BITS * (_DIGITS - level) & _UNUSED for level in range(1, _DIGITS + 1)]
    if _UNUSED in digits[:resolution] or any(d != _UNUSED for d in digits[resolution:]):
        return False
    first = next((digit for digit in digits[:resolution] if digit), 0)
    return not (base in _PENTAGONS and first == _DELETED)


def require_cell(index: int) -> None:
    """Raises InvalidCell."""
    if not is_cell(index):
        raise InvalidCell(index)
