"""Range proofs asked for with anything: lengths, counts and numbers that no store would give."""

from functools import cache
from random import Random

from corechain.protocol.levels import BLOCK, UpperLevels
from corechain.protocol.reading import DeviceId, Reading, pack_key
from corechain_native import range_edges, range_proof

CELL, DEVICE = 0x872A1072BFFFFFF, DeviceId(bytes(20))
EDGES = (0, 1, BLOCK - 1, BLOCK, 2**31 - 1, 2**31, 2**32 - BLOCK, 2**32 - 1, 2**32, -1)


def call_with_any_range(random: Random) -> str:
    """What became of a question, most of it sensible: "proven", "other block", "edges" or
    "refused" (ValueError). Every other error is raised."""
    count = random.choice((1, 2, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 7, 5 * BLOCK, 6 * BLOCK))
    leaves, upper = _batch(count)
    keys = _keys(random, 2 * count)
    try:
        if random.random() < 0.2:
            blocks = _bent(random, upper.blocks)
            range_edges(_cut(random, upper.packed), blocks, *keys)
            return "edges"
        edges = range_edges(upper.packed, upper.blocks, *keys)
        numbers = sorted({*edges, *random.sample(range(upper.blocks), random.randrange(2))})
        held = b"".join(b"".join(leaves[BLOCK * at : BLOCK * (at + 1)]) for at in numbers)
        found = range_proof(
            _cut(random, upper.kept_statistics),
            _bent(random, count),
            _shuffled(random, numbers),
            _cut(random, held),
            keys,
            (_bent(random, edges[0]), _bent(random, edges[1])),
        )
    except ValueError:
        return "refused"
    return "proven" if len(found) > 2 else "other block"


@cache
def _batch(count: int) -> tuple[list[bytes], UpperLevels]:
    leaves = [Reading(1, CELL, DEVICE, 2 * at, at - 50).pack() for at in range(count)]
    return leaves, UpperLevels.of(b"".join(leaves))


def _keys(random: Random, last: int) -> tuple[bytes, bytes]:
    low, high = sorted((random.randrange(last + 2), random.randrange(last + 2)))
    keys = pack_key(1, CELL, DEVICE, low), pack_key(1, CELL, DEVICE, high)
    return (_cut(random, keys[0]), keys[1]) if random.random() < 0.1 else keys


def _cut(random: Random, packed: bytes) -> bytes:
    """Once in ten a byte too many or some too few, once in ten other bytes."""
    kind = random.randrange(20)
    if kind == 0:
        return packed + b"\0"
    if kind == 1:
        return packed[: random.randrange(len(packed) + 1)]
    return random.randbytes(len(packed)) if kind in (2, 3) else packed


def _bent(random: Random, number: int) -> int:
    kind = random.randrange(20)
    if kind == 0:
        return random.choice(EDGES)
    return number + random.choice((-1, 1)) if kind == 1 else number


def _shuffled(random: Random, numbers: list[int]) -> list[int]:
    """Once in five out of order, twice, too many, none or beyond."""
    kind = random.randrange(25)
    if kind == 0:
        return numbers[::-1]
    if kind == 1:
        return [*numbers, numbers[-1]]
    if kind == 2:
        return list(range(6))
    if kind == 3:
        return []
    return [_bent(random, at) for at in numbers]
