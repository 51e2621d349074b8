"""What an honest query API answers of regions, over batches of several devices at cells of several
parents."""

from collections.abc import Sequence
from typing import Any

import h3

from corechain.answers import Bounds
from corechain.protocol.batch import Batch, Origin, seal
from corechain.protocol.eip712 import registry_domain, report_digest
from corechain.protocol.hashing import ZERO26
from corechain.protocol.keys import Secp256k1Key
from corechain.protocol.merkle import MerkleTree
from corechain.protocol.reading import Observation, Reading, Report, SignedReport
from corechain.protocol.statistics import locate
from corechain.regions import RegionQuestion
from support.batches import hexed

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


def header_json(batch: Batch) -> dict[str, Any]:
    fields = batch.header.__slots__
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
