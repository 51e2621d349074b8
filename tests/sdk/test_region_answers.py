"""Statistics of a region: what is believed of an answer, and what is not.

given batches of several devices at cells of several parents
  an honest answer for any window and cells is proven, and is what counting finds
  an answer that skips, hides, repeats, changes or swaps anything is not
"""

import copy
from collections.abc import Callable
from typing import Any

import h3
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.batches import hexed
from support.region_answers import (
    CELLS,
    CHAIN,
    COMMITMENTS,
    END,
    HOUR_S,
    OTHER,
    REGION,
    START,
    answered,
    counted,
    part,
)

from corechain.answers import parse_statistics
from corechain.protocol.errors import CoreChainError, InvalidProof, InvalidValue, RangeIncomplete
from corechain.protocol.places import cells_in
from corechain.regions import RegionQuestion, region_cells


def verified(question: RegionQuestion, answer: dict[str, Any]) -> int:
    window = question.start, question.end
    parsed = parse_statistics(answer)
    return parsed.verify_region(COMMITMENTS.__getitem__, question.bounds(), window).count


moments = st.integers(START - HOUR_S, END + HOUR_S)
regions = st.lists(
    st.sampled_from([REGION, OTHER, *(f"{cell:x}" for cell in CELLS)]), min_size=1, max_size=4
)


@given(st.tuples(moments, moments), regions)
def test_an_honest_answer_is_proven_and_is_what_counting_finds(
    window: tuple[int, int], region: list[str]
) -> None:
    question = RegionQuestion.of("air_temperature", region, *sorted(window))
    answer = answered(question)
    assert verified(question, answer) == answer["count"] == len(counted(question))


def test_an_area_is_covered_by_as_many_cells_as_may_be_asked_for() -> None:
    bay = (40.4, -74.3, 40.9, -73.6)
    found = RegionQuestion.of("air_temperature", bay, 0, 1)
    assert found.cells == region_cells(bay, found.resolution)
    assert 20 < len(found.cells) <= 64
    assert set(found.cells) <= set(cells_in(bay, 6)) | set(cells_in(bay, 5))
    with pytest.raises(InvalidValue, match="122 cells of resolution 0: 64 are the most"):
        region_cells((-90, -180, 90, 180))


CELLS_OF_2 = [one for zero in h3.get_res0_cells() for one in h3.cell_to_children(zero, 2)]


@pytest.mark.parametrize(
    "box", [(-60, -100, 60, 100), (-89, -179, 89, 179), (60, -180, 90, 180)], ids=str
)
def test_a_box_has_the_cells_between_its_edges_however_wide_it_is(box: tuple[float, ...]) -> None:
    """H3 takes an edge of more than half the globe for the way around the other side."""
    south, west, north, east = box
    inside = set()
    for one in CELLS_OF_2:
        latitude, longitude = h3.cell_to_latlng(one)
        if south <= latitude <= north and west <= longitude <= east:
            inside.add(one)
    assert set(h3.uncompact_cells([f"{one:x}" for one in cells_in(box, 2)], 2)) == inside


def test_an_area_that_h3_cannot_cover_is_refused() -> None:
    edges = [[45.7, -87.6], [165.5, -87.6], [165.5, -50.9], [45.7, -50.9], [45.7, -87.6]]
    with pytest.raises(InvalidValue, match="area: takes"):
        cells_in({"type": "Polygon", "coordinates": [edges]}, 2)


QUESTION = RegionQuestion.of(
    "air_temperature", [REGION, f"{CELLS[4]:x}"], START + 2 * HOUR_S, END - 2 * HOUR_S
)
"""Of two ranges; it begins in the first batch and ends in the last."""


def changed(change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    answer = copy.deepcopy(answered(QUESTION))
    change(answer)
    return answer


def test_the_answer_that_is_changed_below_is_a_good_one() -> None:
    answer = answered(QUESTION)
    assert len(QUESTION.bounds()) == 2
    assert (len(answer["parts"]), len(answer["disclosed"])) == (4, 4)
    assert verified(QUESTION, answer) > 10


def moved_out(answer: dict[str, Any]) -> None:
    """The first leaf of a range is called its neighbour."""
    answer["disclosed"][0]["from"] += 1


def hidden(answer: dict[str, Any]) -> None:
    """And the neighbour before it is not shown."""
    moved_out(answer)
    answer["disclosed"][0]["leaves"] = "0x" + answer["disclosed"][0]["leaves"][82:]


def other_value(answer: dict[str, Any]) -> None:
    leaves = answer["disclosed"][0]["leaves"]
    answer["disclosed"][0]["leaves"] = leaves[:-6] + "7f" + leaves[-4:]


def as_parts(answer: dict[str, Any]) -> None:
    """A batch that reaches beyond the window is proven as if all of it counted."""
    answer["disclosed"] = answer["disclosed"][2:]
    answer["parts"] = [part(CHAIN[0], bounds) for bounds in QUESTION.bounds()] + answer["parts"]
    values = [v for one in answer["parts"] for v in (one["min"], one["max"]) if one["count"]]
    answer |= {"min": min(values), "max": max(values)}


def repeated(answer: dict[str, Any]) -> None:
    """A range stands twice, another not at all."""
    answer["parts"][1] = answer["parts"][0]


def repeated_shown(answer: dict[str, Any]) -> None:
    answer["disclosed"][1] = answer["disclosed"][0]


LIES: dict[str, tuple[Callable[[dict[str, Any]], object], type[CoreChainError]]] = {
    "a leaf is moved out of the range": (moved_out, CoreChainError),
    "a leaf is hidden": (hidden, CoreChainError),
    "a leaf is another": (other_value, InvalidProof),
    "a batch is proven whole": (as_parts, RangeIncomplete),
    "a range is repeated for another": (repeated, RangeIncomplete),
    "leaves are repeated for others": (repeated_shown, RangeIncomplete),
    "a batch is left out": (lambda answer: answer["parts"].__delitem__(slice(0, 2)),
                            RangeIncomplete),
    "a range is left out": (lambda answer: answer["disclosed"].pop(), RangeIncomplete),
    "the sum is another": (lambda answer: answer.update(sum=answer["sum"] + 1), InvalidProof),
    "a root is another": (
        lambda answer: answer["disclosed"][0].update(readings_root=hexed(bytes(26))), InvalidProof,
    ),
    "the range ends before it begins": (
        lambda answer: answer["disclosed"][0].update({"to": 0, "from": 5}), InvalidProof,
    ),
    "leaves are missing": (
        lambda answer: answer["disclosed"][0].update(leaves="0x"), InvalidProof,
    ),
}  # fmt: skip


@pytest.mark.parametrize("lie", LIES)
def test_an_answer_that_lies_is_refused(lie: str) -> None:
    change, error = LIES[lie]
    with pytest.raises(error):
        verified(QUESTION, changed(change))


def test_leaves_are_no_answer_to_a_question_of_a_device() -> None:
    parsed = parse_statistics(answered(QUESTION))
    with pytest.raises(RangeIncomplete, match="leaves are shown"):
        parsed.verify(COMMITMENTS.__getitem__, QUESTION.bounds(), (QUESTION.start, QUESTION.end))
