"""Answers of the query API: what is believed, and what is not.

given a chain with three batches
  ├── an honest answer is proven
  ├── an answer that leaves a batch out, skips one that overlaps, or answers another question is not
  ├── an answer with a wrong number, header or proof is not
  └── anything of another shape is malformed
"""

import pytest

from corechain.answers import (
    device_bounds,
    parse_header,
    parse_proven_reading,
    parse_reward_claim,
    parse_statistics,
)
from corechain.documents import MalformedAnswer
from corechain.protocol.batch import Origin, seal
from corechain.protocol.eip712 import registry_domain, report_digest
from corechain.protocol.errors import InvalidProof, RangeIncomplete, UnknownBatch
from corechain.protocol.hashing import ZERO26
from corechain.protocol.keys import Secp256k1Key
from corechain.protocol.reading import Observation, Report, SignedReport
from corechain.protocol.statistics import locate
from corechain.protocol.vocabulary import metric

KEY, CELL, DAY = Secp256k1Key(bytes(31) + b"\x07"), 0x872A1072FFFFFFF, 86_400
START = 1_359_676_800
TEMPERATURE = metric("air_temperature")
DOMAIN = registry_domain(31337, bytes(20))


def hexed(value):
    return "0x" + value.hex()


def make(number, previous):
    """One day of hourly temperatures as batch `number`."""
    first = START + (number - 1) * DAY
    items = [Observation(1, CELL, first + 3600 * h, 100 * number + h) for h in range(24)]
    report = Report.of(KEY.identity.device, number, items)
    signed = SignedReport(report, KEY.sign(report_digest(DOMAIN, report)))
    origin = Origin(number, previous, ZERO26, 31337, bytes(20))
    return seal(origin, [signed], {KEY.identity.device: KEY.identity}, {})


@pytest.fixture(scope="module")
def batches():
    made = [make(1, ZERO26)]
    for number in (2, 3):
        made.append(make(number, made[-1].commitment))
    return made


@pytest.fixture
def commitment_of(batches):
    known = {batch.header.batch_id: batch.commitment for batch in batches}

    def ask(batch_id):
        if batch_id not in known:
            raise UnknownBatch(batch_id)
        return known[batch_id]

    return ask


def header_json(batch):
    header = batch.header
    fields = ("reading_count", "report_count", "window_start", "window_end", "batch_id")
    hashes = ("previous", "ancestor", "statistics_root", "reports_root", "data_hash", "rules_hash")
    return {name: getattr(header, name) for name in fields} | {
        name: hexed(getattr(header, name)) for name in hashes
    }


def part_json(batch, bounds):
    start, end = locate(batch.leaves, bounds.low, bounds.high)
    proof = batch.statistics().range_proof(start, end)
    values = [int.from_bytes(leaf[35:39], "big", signed=True) for leaf in batch.leaves[start:end]]
    return {
        "batch_id": batch.header.batch_id,
        "header": header_json(batch),
        "readings_root": hexed(batch.readings.root),
        "low": hexed(bounds.low),
        "high": hexed(bounds.high),
        "from": start,
        "to": end,
        "leaves": [hexed(leaf) for leaf in proof.leaves],
        "nodes": [hexed(node.pack()) for node in proof.nodes],
        "count": len(values),
        "sum": sum(values),
        "min": min(values, default=0),
        "max": max(values, default=0),
    }


def answer_json(parts, skipped=()):
    return {
        "count": sum(part["count"] for part in parts),
        "sum": sum(part["sum"] for part in parts),
        "min": min(part["min"] for part in parts),
        "max": max(part["max"] for part in parts),
        "parts": parts,
        "skipped": [
            {"header": header_json(b), "readings_root": hexed(b.readings.root)} for b in skipped
        ],
    }


WINDOW = (START, START + 3 * DAY - 1)
BOUNDS = device_bounds(TEMPERATURE, CELL, KEY.identity.device, *WINDOW)


def verify(answer, commitment_of, bounds=BOUNDS, window=WINDOW):
    return parse_statistics(answer).verify(commitment_of, [bounds], window)


def test_an_honest_answer_is_proven(batches, commitment_of):
    found = verify(answer_json([part_json(b, BOUNDS) for b in batches]), commitment_of)
    assert (found.count, found.min, found.max) == (72, 100, 323)


def test_an_answer_that_leaves_a_batch_out_is_refused(batches, commitment_of):
    answer = answer_json([part_json(batches[0], BOUNDS), part_json(batches[2], BOUNDS)])
    with pytest.raises(RangeIncomplete):
        verify(answer, commitment_of)


def test_a_skipped_batch_that_overlaps_is_refused(batches, commitment_of):
    parts = [part_json(batches[0], BOUNDS), part_json(batches[2], BOUNDS)]
    with pytest.raises(RangeIncomplete):
        verify(answer_json(parts, skipped=[batches[1]]), commitment_of)


def test_a_batch_outside_the_window_may_be_skipped(batches, commitment_of):
    window = (START + DAY, START + 2 * DAY - 1)
    bounds = device_bounds(TEMPERATURE, CELL, KEY.identity.device, *window)
    answer = answer_json([part_json(batches[1], bounds)], skipped=[batches[0], batches[2]])
    assert verify(answer, commitment_of, bounds, window).count == 24


def test_a_batch_that_answers_twice_is_refused(batches, commitment_of):
    parts = [part_json(b, BOUNDS) for b in (*batches, batches[0])]
    with pytest.raises(RangeIncomplete):
        verify(answer_json(parts), commitment_of)


def test_an_answer_to_another_question_is_refused(batches, commitment_of):
    narrow = device_bounds(TEMPERATURE, CELL, KEY.identity.device, START, START + 3600)
    with pytest.raises(RangeIncomplete):
        verify(answer_json([part_json(b, narrow) for b in batches]), commitment_of)


@pytest.mark.parametrize("field", ["count", "sum", "min", "max"])
@pytest.mark.parametrize("place", ["answer", "part"])
def test_a_wrong_number_is_refused(batches, commitment_of, field, place):
    answer = answer_json([part_json(b, BOUNDS) for b in batches])
    (answer if place == "answer" else answer["parts"][1])[field] += 1
    with pytest.raises(InvalidProof):
        verify(answer, commitment_of)


@pytest.mark.parametrize("field", ["reading_count", "window_end"])
def test_a_header_that_is_not_the_one_on_chain_is_refused(batches, commitment_of, field):
    answer = answer_json([part_json(b, BOUNDS) for b in batches])
    answer["parts"][0]["header"][field] += 1
    with pytest.raises(InvalidProof):
        verify(answer, commitment_of)


def test_a_batch_that_the_chain_does_not_know_is_refused(batches, commitment_of):
    strange = make(4, batches[-1].commitment)
    with pytest.raises(UnknownBatch):
        verify(answer_json([part_json(b, BOUNDS) for b in (*batches, strange)]), commitment_of)


def test_a_reading_is_proven_by_its_batch_only(batches, commitment_of):
    batch = batches[1]
    answer = {
        "leaf": hexed(batch.leaves[5]),
        "position": 5,
        "proof": [hexed(node) for node in batch.readings.proof(5)],
        "rest_hash": hexed(batch.header.rest_hash),
    }
    parse_proven_reading(answer, 2).verify(commitment_of)
    for wrong in (
        parse_proven_reading(answer, 1),
        parse_proven_reading(answer | {"position": 4}, 2),
        parse_proven_reading(answer | {"leaf": hexed(batch.leaves[6])}, 2),
    ):
        with pytest.raises(InvalidProof):
            wrong.verify(commitment_of)


@pytest.mark.parametrize("wrong", [{}, {"parts": 1}, {"count": "x"}, [], None])
def test_another_shape_is_malformed(wrong):
    for parse in (parse_statistics, parse_header, parse_reward_claim):
        with pytest.raises(MalformedAnswer):
            parse(wrong)
    with pytest.raises(MalformedAnswer):
        parse_proven_reading(wrong, 1)


def test_a_cut_proof_is_malformed(batches):
    answer = answer_json([part_json(batches[0], BOUNDS)])
    answer["parts"][0]["nodes"] = "0x1234"
    with pytest.raises(MalformedAnswer):
        parse_statistics(answer)
