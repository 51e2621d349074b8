"""Given 64 bits, when they are asked about, h3's own library says the same."""

import h3
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corechain.protocol.cells import is_cell, require_cell
from corechain.protocol.errors import InvalidCell

PLACES = st.tuples(st.floats(-90, 90), st.floats(-180, 180), st.integers(0, 15))
CELLS = PLACES.map(lambda place: h3.str_to_int(h3.latlng_to_cell(*place)))
PENTAGONS = [h3.str_to_int(cell) for level in range(16) for cell in h3.get_pentagons(level)]


def by_library(index: int) -> bool:
    return bool(h3.is_valid_cell(h3.int_to_str(index)))


@given(CELLS)
def test_every_cell_of_the_earth_is_one(cell: int) -> None:
    assert is_cell(cell)


@given(st.one_of(CELLS, st.sampled_from(PENTAGONS)), st.integers(0, 63))
def test_a_flipped_bit_is_judged_as_by_the_library(cell: int, bit: int) -> None:
    assert is_cell(cell ^ 1 << bit) == by_library(cell ^ 1 << bit)


@given(st.sampled_from(PENTAGONS), st.integers(0, 15), st.integers(0, 7))
def test_a_pentagons_children_are_judged_as_by_the_library(
    pentagon: int, level: int, digit: int
) -> None:
    shift = 3 * (15 - level)
    changed = pentagon & ~(7 << shift) | digit << shift
    assert is_cell(changed) == by_library(changed)


@given(st.integers(0, 2**64 - 1))
def test_any_bits_are_judged_as_by_the_library(index: int) -> None:
    assert is_cell(index) == by_library(index)


# Nearly a cell: random bits never come so close.
@given(
    st.integers(0, 15),
    st.integers(0, 127),
    st.lists(st.integers(0, 7), min_size=15, max_size=15),
    st.booleans(),
)
def test_any_digits_are_judged_as_by_the_library(
    resolution: int, base: int, digits: list[int], ends: bool
) -> None:
    if ends:
        digits = [digit % 7 for digit in digits[:resolution]] + [7] * (15 - resolution)
    index = 0x08 << 56 | resolution << 52 | base << 45
    for level, digit in enumerate(digits, 1):
        index |= digit << 3 * (15 - level)
    assert is_cell(index) == by_library(index)


def test_all_base_cells_and_no_more_are_cells() -> None:
    low = (1 << 45) - 1
    assert [n for n in range(128) if is_cell(0x08 << 56 | n << 45 | low)] == list(range(122))


@pytest.mark.parametrize("index", [0, 2**64 - 1, 0x872A1072FFFFFFE, 1 << 63])
def test_what_is_no_cell_is_refused_by_name(index: int) -> None:
    with pytest.raises(InvalidCell) as refused:
        require_cell(index)
    assert refused.value.cell == index
