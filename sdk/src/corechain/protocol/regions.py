"""Regions as ranges of keys: the cells of one resolution below some coarser cells.

A batch's leaves are sorted by (metric, cell, device, time), and an H3 index has its digits from the
coarsest to the finest (h3geo.org, "H3 Index"): the children of a cell, of one resolution, are
neighbours. Those of another resolution lie elsewhere, so a region names the one that it is of.
"""

from collections.abc import Iterable

from corechain.protocol.cells import require_cell
from corechain.protocol.errors import InvalidValue
from corechain.protocol.reading import U40_MAX, pack_key

KeyRange = tuple[bytes, bytes]
"""The lowest and the highest key, 35 bytes each."""
Span = tuple[int, int]
"""The lowest and the highest index of neighbouring cells."""
MAX_CELLS = 64
"""Of a region; as many ranges at the most, each with a proof a batch."""
FINEST = 15
_RESOLUTION_SHIFT, _BASE_SHIFT, _DIGIT_BITS, _DIGITS = 52, 45, 3, 7
_NO_DEVICE, _LAST_DEVICE = bytes(20), b"\xff" * 20


def resolution_of(cell: int) -> int:
    """0 (a continent's part) to 15 (a square metre)."""
    return cell >> _RESOLUTION_SHIFT & 0xF


def _shift(level: int) -> int:
    """Where the digit of a resolution lies."""
    return _DIGIT_BITS * (FINEST - level)


def span_of(cell: int, resolution: int) -> Span:
    """The least and the greatest index of a cell's children of a resolution. Not each is there
    where the cell is a pentagon. Raises InvalidCell, InvalidValue for a coarser resolution."""
    require_cell(cell)
    own = resolution_of(cell)
    if not own <= resolution <= FINEST:
        raise InvalidValue("resolution", resolution, f"takes {own} to {FINEST} for {cell:015x}")
    low = cell + ((resolution - own) << _RESOLUTION_SHIFT)
    high = low
    for level in range(own + 1, resolution + 1):
        low -= 7 << _shift(level)  # the unused digit, 7, becomes the first child's
        high -= 1 << _shift(level)
    return low, high


def _place(cell: int, resolution: int) -> int:
    """Of a cell among all of its resolution: base cell and digits to the base of seven."""
    place = cell >> _BASE_SHIFT & 0x7F
    for level in range(1, resolution + 1):
        place = place * _DIGITS + (cell >> _shift(level) & 7)
    return place


def spans_of(cells: Iterable[int], resolution: int) -> list[Span]:
    """All cells of a resolution that lie in the given ones, ascending, neighbours as one span.

    Raises InvalidValue for none, more than MAX_CELLS, or a resolution coarser than one of them;
    InvalidCell.
    """
    given = sorted({span_of(cell, resolution) for cell in cells})
    if not 1 <= len(given) <= MAX_CELLS:
        raise InvalidValue("cells", len(given), f"takes 1 to {MAX_CELLS} cells")
    found = [given[0]]
    for low, high in given[1:]:
        before = found[-1]
        if low > before[1] and _place(low, resolution) > _place(before[1], resolution) + 1:
            found.append((low, high))
        else:
            found[-1] = before[0], max(before[1], high)
    return found


def keys_of(metric: int, span: Span) -> KeyRange:
    """All readings of a metric in the cells of a span, of every device and time."""
    low, high = span
    return (
        pack_key(metric, low, _NO_DEVICE, 0),
        pack_key(metric, high, _LAST_DEVICE, U40_MAX),
    )
