"""Statistics of a region: what is believed of an answer, and what is not.

given batches of several devices at cells of several parents
  an honest answer for any window and cells is proven, and is what counting finds
  an answer that skips, hides, repeats, changes or swaps anything is not
"""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import h3
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corechain.answers import Bounds, parse_statistics
from corechain.protocol.batch import Batch, Origin, seal
from corechain.protocol.eip712 import registry_domain, report_digest
from corechain.protocol.errors import CoreChainError, InvalidProof, RangeIncomplete
from corechain.protocol.hashing import ZERO26
from corechain.protocol.keys import Secp256k1Key
from corechain.protocol.merkle import MerkleTree
from corechain.protocol.reading import Observation, Reading, Report, SignedReport
from corechain.protocol.statistics import locate
from corechain.regions import RegionQuestion

KEYS = [Secp256k1Key(bytes(31) + bytes([seed])) for seed in (11, 12, 13)]
REGION = "862a10727ffffff"
"""Of resolution 6: some of the cells lie in it."""
OTHER = "862a1072fffffff"
CELLS = [int(cell, 16) for one in (REGION, OTHER) for cell in h3.cell_to_children(one, 7)[:3]]
START, HOUR_S, HOURS = 1_359_676_800, 3_600, 6
DOMAIN = registry_domain(31337, bytes(20))
BATCHES, END = 4, START + 4 * HOURS * HOUR_S - 1


def made(number: int, previous: bytes) -> Batch:
    """Six hours of temperatures of each device, at a cell that changes from hour to hour."""
    first = START + (number - 1) * HOURS * HOUR_S
    reports = []
    for index, key in enumerate(KEYS):
        items = [
            Observation(
                1, CELLS[(hour + index) % len(CELLS)], first + HOUR_S * hour, 10 * number - hour
            )
            for hour in range(HOURS)
        ]
        report = Report.of(key.identity.device, number, items)
        reports.append(SignedReport(report, key.sign(report_digest(DOMAIN, report))))
    known = {key.identity.device: key.identity for key in KEYS}
    return seal(Origin(number, previous, ZERO26, 31337, bytes(20)), reports, known, {})


def chain() -> list[Batch]:
    batches = [made(1, ZERO26)]
    while len(batches) < BATCHES:
        batches.append(made(len(batches) + 1, batches[-1].commitment))
    return batches


CHAIN = chain()
COMMITMENTS = {batch.header.batch_id: batch.commitment for batch in CHAIN}


def hexed(value: bytes) -> str:
    return "0x" + value.hex()


def header_json(batch: Batch) -> dict[str, Any]:
    fields = batch.header.__slots__  # type: ignore[attr-defined]
    values = {name: getattr(batch.header, name) for name in fields}
    return {
        name: hexed(value) if isinstance(value, bytes) else value for name, value in values.items()
    }


def share(batch: Batch, bounds: Bounds) -> dict[str, Any]:
    start, end = locate(batch.leaves, bounds.low, bounds.high)
    return {
        "header": header_json(batch),
        "readings_root": hexed(batch.readings.root),
        "low": hexed(bounds.low),
        "high": hexed(bounds.high),
        "from": start,
        "to": end,
    }


def summed(values: Sequence[int]) -> dict[str, int]:
    total = {"count": len(values), "sum": sum(values)}
    return total | {"min": min(values, default=0), "max": max(values, default=0)}


def part(batch: Batch, bounds: Bounds) -> dict[str, Any]:
    found = share(batch, bounds)
    proof = batch.statistics().range_proof(found["from"], found["to"])
    inside = batch.leaves[found["from"] : found["to"]]
    shown = {
        "leaves": [hexed(leaf) for leaf in proof.leaves],
        "nodes": [hexed(node.pack()) for node in proof.nodes],
    }
    return found | shown | summed([Reading.unpack(leaf).value for leaf in inside])


def disclosed(batch: Batch, bounds: Bounds) -> dict[str, Any]:
    found = share(batch, bounds)
    shown = range(max(0, found["from"] - 1), min(len(batch.leaves), found["to"] + 1))
    nodes = MerkleTree.over(batch.leaves).multiproof(shown)
    leaves = b"".join(batch.leaves[at] for at in shown)
    return found | {"leaves": hexed(leaves), "nodes": hexed(b"".join(nodes))}


def counted(question: RegionQuestion) -> list[int]:
    """The oracle: every leaf is looked at, and H3 asked whether its cell lies in the region."""
    found = []
    for batch in CHAIN:
        for reading in map(Reading.unpack, batch.leaves):
            ancestors = {h3.cell_to_parent(f"{reading.cell:x}", level) for level in range(8)}
            is_inside = any(f"{cell:x}" in ancestors for cell in question.cells)
            if is_inside and question.start <= reading.observed_at <= question.end:
                found.append(reading.value)
    return found


def answered(question: RegionQuestion) -> dict[str, Any]:
    parts, skipped, shown = [], [], []
    for batch in CHAIN:
        first, last = batch.header.window_start, batch.header.window_end
        if last < question.start or first > question.end:
            root = hexed(batch.readings.root)
            skipped.append({"header": header_json(batch), "readings_root": root})
        elif question.start <= first and last <= question.end:
            parts += [part(batch, bounds) for bounds in question.bounds()]
        else:
            shown += [disclosed(batch, bounds) for bounds in question.bounds()]
    found = {"parts": parts, "skipped": skipped, "disclosed": shown}
    return found | summed(counted(question))


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
