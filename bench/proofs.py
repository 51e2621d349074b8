"""What proving costs in CPU time from kept upper levels, beside the whole trees in the same run.

python bench/proofs.py

In this process alone, without a database: batches of 16,384 readings, of which a device has two.
`native` says whether C hashes; CORECHAIN_NATIVE=0 measures Python.
"""

import json
import random
from pathlib import Path

from columns import cpu_us

from corechain.protocol import native
from corechain.protocol.levels import BLOCK, BLOCK_BYTES, OpenedTrees, UpperLevels, hash_blocks
from corechain.protocol.reading import DeviceId, Reading, pack_key
from corechain.protocol.statistics import StatisticsTree, locate, revealed_positions, verify_range

RESULTS = Path(__file__).parent / "results" / "proofs.jsonl"
LEAVES, BATCHES = 16_384, 60
CELL, START = 0x872A1072BFFFFFF, 1_359_676_800
DEVICES = LEAVES // 2


def leaves_of(seed: int) -> bytes:
    rng = random.Random(seed)
    devices = sorted(DeviceId(rng.randbytes(20)) for _ in range(DEVICES))
    return b"".join(
        Reading(1, CELL, device, START + 60 * at, rng.randrange(-500, 4_000)).pack()
        for device in devices
        for at in range(2)
    )


def edges(seed: int) -> tuple[bytes, bytes]:
    """The keys of an hour of a device that the batch may hold or not."""
    device = DeviceId(random.Random(seed).randbytes(20))
    return pack_key(1, CELL, device, START), pack_key(1, CELL, device, START + 3_600)


def part(upper: UpperLevels, leaves: bytes, root: bytes, low: bytes, high: bytes) -> int:
    """A batch's part of a statistic as the query API makes it: count of its readings, proven."""

    def opened(numbers: set[int]) -> OpenedTrees:
        order = sorted(numbers)
        cut = [leaves[BLOCK_BYTES * at : BLOCK_BYTES * (at + 1)] for at in order]
        return OpenedTrees(upper, dict(zip(order, hash_blocks(cut), strict=True)))

    at_edges = set(upper.edges(low, high))
    start, end = (trees := opened(at_edges)).locate(low, high)
    shown = {at // BLOCK for at in revealed_positions(start, end, upper.count)}
    trees = trees.with_blocks(opened(shown - at_edges).blocks)
    proof = trees.statistics.range_proof(start, end)
    return verify_range(root, upper.count, start, end, low, high, proof).count


def whole(leaves: bytes, low: bytes, high: bytes) -> int:
    """The same from all leaves, as where nothing is kept."""
    split = [leaves[at : at + 40] for at in range(0, len(leaves), 40)]
    tree = StatisticsTree(split)
    start, end = locate(split, low, high)
    proof = tree.range_proof(start, end)
    return verify_range(tree.root, len(split), start, end, low, high, proof).count


def main() -> None:
    batches = [leaves_of(seed) for seed in range(BATCHES)]
    uppers = [UpperLevels.of(leaves) for leaves in batches]
    roots = [OpenedTrees(upper, {}).statistics.root for upper in uppers]
    low, high = edges(1)
    triples = list(zip(uppers, batches, roots, strict=True))
    line = json.dumps(
        {
            "bench": "proofs",
            "leaves": LEAVES,
            "kept_bytes_a_leaf": round(len(uppers[0].packed) / LEAVES, 2),
            "keeping_us_a_leaf": round(cpu_us(lambda: UpperLevels.of(batches[0]), LEAVES), 2),
            "part_ms": cpu_us(lambda: [part(*one, low, high) for one in triples], 1_000 * BATCHES),
            "part_of_whole_tree_ms": cpu_us(lambda: whole(batches[0], low, high), 1_000),
            "native": native.library is not None,
        }
    )
    RESULTS.parent.mkdir(exist_ok=True)
    with RESULTS.open("a") as kept:
        kept.write(line + "\n")
    print(line)


if __name__ == "__main__":
    main()
