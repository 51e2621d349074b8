"""Writes consumer.json: answers for contracts, and what they come to. Run by hand, as make.py is.

python tests/vectors/make_consumer.py

A lane of nine batches: two devices, a backlog that is long over, hours without the first device.
Spans, edges and closing times are drawn at random, always the same.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from eth_abi.abi import encode

from corechain.answers import Part, StatisticsAnswer, device_bounds
from corechain.contract_answers import Anchor, ContractAnswer
from corechain.flows import Question
from corechain.protocol.batch import Batch, Origin, ancestor_of, seal
from corechain.protocol.eip712 import registry_domain, report_digest
from corechain.protocol.hashing import ZERO26, Digest26
from corechain.protocol.keys import Secp256k1Key
from corechain.protocol.reading import Observation, Report, SignedReport
from corechain.protocol.statistics import NOTHING, Statistics, locate, verify_range
from corechain.protocol.vocabulary import metric

TARGET = Path(__file__).parent / "consumer.json"
CHAIN_ID, REGISTRY, LANE = 31337, bytes([0x11]) * 20, 2
CELL, METRIC = 0x872A1071EFFFFFF, metric("air_temperature")
FIRST_HOUR, HOUR_S, LATE_S = 2_000_160_000, 3600, 120
A, B, C = (Secp256k1Key(bytes(31) + bytes([n])) for n in (1, 2, 3))
PLAN: tuple[tuple[tuple[Secp256k1Key, range], ...], ...] = (
    ((A, range(4)), (B, range(4))),
    ((A, range(4, 8)), (B, range(4, 8))),
    ((B, range(8, 12)),),
    ((C, range(-40, -37)),),
    ((A, range(8, 16)), (B, range(12, 16))),
    ((A, range(16, 17)),),
    ((A, range(17, 21)), (B, range(17, 21))),
    ((B, range(21, 25)),),
    ((A, range(25, 29)),),
)
CASES = 24


@dataclass(frozen=True)
class Lane:
    batches: list[Batch]

    def committed_at(self, number: int) -> int:
        hours = max(last for parts in PLAN[:number] for _, (*_, last) in parts)
        return FIRST_HOUR + HOUR_S * hours + LATE_S + number

    def anchor(self, number: int) -> Anchor:
        if number == 0:
            return Anchor(LANE << 32, ZERO26)
        return Anchor(LANE << 32 | number, self.batches[number - 1].commitment)


def lane() -> Lane:
    random, domain = Random(14), registry_domain(CHAIN_ID, REGISTRY)
    batches: list[Batch] = []
    for number, parts in enumerate(PLAN, 1):
        reports = []
        for key, hours in parts:
            items = [
                Observation(1, CELL, FIRST_HOUR + HOUR_S * hour, random.randint(-200, 200))
                for hour in hours
            ]
            report = Report.of(key.identity.device, number, items)
            reports.append(SignedReport(report, key.sign(report_digest(domain, report))))
        by_number = {n: made.commitment for n, made in enumerate(batches, 1)}
        previous, ancestor = by_number.get(number - 1), by_number.get(ancestor_of(number))
        known = {key.identity.device: key.identity for key, _ in parts}
        origin = Origin(
            LANE << 32 | number, Digest26(previous or ZERO26), Digest26(ancestor or ZERO26),
            CHAIN_ID, REGISTRY,
        )  # fmt: skip
        ordered = sorted(reports, key=lambda one: one.report.device)
        batches.append(seal(origin, ordered, known, {}))
    return Lane(batches)


def part_of(made: Batch, question: Question) -> Part:
    bounds, tree = question.bounds(), made.statistics()
    start, end = locate(made.leaves, bounds.low, bounds.high)
    proof = tree.range_proof(start, end)
    count, root = len(made.leaves), tree.root
    found = verify_range(root, count, start, end, bounds.low, bounds.high, proof)
    return Part(made.header, made.readings.root, bounds, start, end, proof, found)


def statistics_answer(batches: list[Batch], question: Question) -> StatisticsAnswer:
    overlaps = [
        made
        for made in batches
        if made.header.window_end >= question.start and made.header.window_start <= question.end
    ]
    parts = tuple(part_of(made, question) for made in overlaps)
    skipped = tuple((made.header, made.readings.root) for made in batches if made not in overlaps)
    total = sum((part.claimed for part in parts), NOTHING)
    return StatisticsAnswer(parts, skipped, total)


def contract_answer(of: Lane, question: Question, after: int, last: int) -> ContractAnswer:
    between = of.batches[after:last]
    answer = statistics_answer(between, question) if between else None
    found = answer.claimed if answer else NOTHING
    return ContractAnswer(question, found, of.anchor(after), answer, of.anchor(last + 1))


def counted(of: Lane, question: Question, after: int, last: int) -> Statistics:
    """By looking at every leaf."""
    bounds = device_bounds(METRIC, CELL, question.device, question.start, question.end)
    values = [
        int.from_bytes(leaf[35:39], "big", signed=True)
        for made in of.batches[after:last]
        for leaf in made.leaves
        if bounds.low <= leaf[:35] <= bounds.high
    ]
    return Statistics(len(values), sum(values), min(values, default=0), max(values, default=0))


def case(of: Lane, random: Random) -> tuple[dict[str, Any], ContractAnswer]:
    after = random.choice((0, 0, 1, 2, 4, 6))
    earliest = of.committed_at(after) + 1 if after else 0
    start = random.choice((earliest, earliest + random.randrange(1, 8 * HOUR_S)))
    start = max(start, FIRST_HOUR - HOUR_S) if random.random() < 0.8 else start
    end = start + random.choice((0, HOUR_S, 9 * HOUR_S, 40 * HOUR_S))
    last = random.randint(max(after, 1), len(PLAN) - 1)
    closes_at = random.randrange(of.committed_at(last), of.committed_at(last + 1))
    device = random.choice((A, B, C)).identity.device
    question = Question(METRIC, device, CELL, start, end)
    answer = contract_answer(of, question, after, last)
    found = counted(of, question, after, last)
    assert answer.statistics == found
    return {
        "after": after, "last": last, "device": "0x" + device.hex(),
        "start": start, "end": end, "closesAt": closes_at,
        "count": found.count, "sum": found.sum, "min": found.min, "max": found.max,
    }, answer  # fmt: skip


def packed(one: dict[str, Any]) -> str:
    """As forge reads it: it takes a tenth of a second to find a field in a long document."""
    kinds = ["uint256", "uint256", "address", *["uint256"] * 4, *["int256"] * 3]
    return "0x" + encode(kinds, list(one.values())).hex()


def vectors() -> dict[str, Any]:
    of, random = lane(), Random(15)
    cases = [case(of, random) for _ in range(CASES)]
    return {
        "lane": LANE, "metric": METRIC.code, "cell": CELL,
        "commitments": ["0x" + made.commitment.hex() for made in of.batches],
        "committedAt": [of.committed_at(number) for number in range(1, len(PLAN) + 1)],
        "cases": [one for one, _ in cases],
        "packed": [packed(one) for one, _ in cases],
        "answers": ["0x" + answer.encode().hex() for _, answer in cases],
    }  # fmt: skip


def main() -> None:
    TARGET.write_text(json.dumps(vectors(), indent=1) + "\n")


if __name__ == "__main__":
    main()
