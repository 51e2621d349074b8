"""Regions as ranges of cells: what H3 calls children is what the ranges hold.

given cells of any resolution, pentagons among them
  a finer cell is in a range exactly when H3 says that it lies in one of them
  ranges ascend, do not touch, and neighbours are one
given what is no region
  it is refused
"""

from itertools import pairwise

import h3
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from corechain.protocol.errors import InvalidCell, InvalidValue
from corechain.protocol.regions import (
    MAX_CELLS,
    keys_of,
    resolution_of,
    span_of,
    spans_of,
)

PENTAGONS = [int(cell, 16) for level in (0, 3, 6) for cell in h3.get_pentagons(level)]
places = st.tuples(st.floats(-89, 89), st.floats(-179, 179), st.integers(0, 6))
cells = st.one_of(
    places.map(lambda at: int(h3.latlng_to_cell(*at), 16)), st.sampled_from(PENTAGONS)
)


def children(cell: int, resolution: int) -> list[int]:
    return sorted(int(child, 16) for child in h3.cell_to_children(f"{cell:x}", resolution))


@given(cells, st.integers(0, 3))
def test_a_span_holds_a_cells_children_and_ends_with_them(cell: int, finer: int) -> None:
    resolution = resolution_of(cell) + finer
    low, high = span_of(cell, resolution)
    expected = children(cell, resolution)
    assert (low, high) == (expected[0], expected[-1])
    parent = h3.cell_to_parent(f"{cell:x}", 0)
    siblings = children(int(parent, 16), resolution) if resolution <= 4 else expected
    assert [one for one in siblings if low <= one <= high] == expected


@given(st.lists(cells, min_size=1, max_size=5), st.integers(6, 7), st.data())
def test_a_finer_cell_is_in_a_region_when_h3_says_so(
    given_cells: list[int], resolution: int, data: st.DataObject
) -> None:
    spans = spans_of(given_cells, resolution)
    inside = data.draw(st.sampled_from(given_cells))
    centre = h3.cell_to_latlng(f"{inside:x}")
    anywhere = data.draw(st.tuples(st.floats(-89, 89), st.floats(-179, 179)))
    for at in (centre, anywhere):
        cell = h3.latlng_to_cell(*at, resolution)
        said = any(h3.cell_to_parent(cell, resolution_of(one)) == f"{one:x}" for one in given_cells)
        assert said == any(low <= int(cell, 16) <= high for low, high in spans)
    assert spans == sorted(spans)
    assert all(one[1] < two[0] for one, two in pairwise(spans))


@given(cells)
def test_the_children_of_a_cell_are_the_cell(cell: int) -> None:
    assume(not h3.is_pentagon(f"{cell:x}"))  # between its first two children lies what is not there
    finer = resolution_of(cell) + 2
    assert spans_of(children(cell, resolution_of(cell) + 1), finer) == [span_of(cell, finer)]


def test_a_spans_keys_are_all_of_its_readings() -> None:
    low, high = keys_of(1, span_of(0x832A10FFFFFFFFF, 7))
    assert len(low) == len(high) == 35
    assert low < high
    assert low[30:] == bytes(5)
    assert high[10:] == b"\xff" * 25


@pytest.mark.parametrize("resolution", [2, 16, -1])
def test_a_resolution_that_a_cell_has_not_is_refused(resolution: int) -> None:
    with pytest.raises(InvalidValue, match="resolution"):
        span_of(0x832A10FFFFFFFFF, resolution)


def test_what_is_no_region_is_refused() -> None:
    with pytest.raises(InvalidCell):
        spans_of([5], 7)
    with pytest.raises(InvalidValue, match="1 to 64"):
        spans_of([], 7)
    many = children(0x832A10FFFFFFFFF, 6)[: MAX_CELLS + 1]
    with pytest.raises(InvalidValue, match="1 to 64"):
        spans_of(many, 7)
