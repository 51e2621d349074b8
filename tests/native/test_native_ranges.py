"""What the native range proofs refuse: no length or number that comes from a store is believed."""

from collections import Counter
from collections.abc import Sequence
from random import Random

import pytest
from support.ranging import EDGES as ENDS
from support.ranging import call_with_any_range

from corechain.protocol.levels import BLOCK, UpperLevels
from corechain.protocol.reading import DeviceId, Reading, pack_key
from corechain_native import range_edges, range_proof

COUNT, CELL, DEVICE = 5 * BLOCK - 3, 0x872A1072BFFFFFF, DeviceId(bytes(20))
LEAVES = [Reading(1, CELL, DEVICE, at, at).pack() for at in range(COUNT)]
UPPER = UpperLevels.of(b"".join(LEAVES))
KEYS = pack_key(1, CELL, DEVICE, 70), pack_key(1, CELL, DEVICE, 200)
EDGES = (1, 3)


def blocks(numbers: Sequence[int]) -> bytes:
    return b"".join(b"".join(LEAVES[BLOCK * at : BLOCK * (at + 1)]) for at in numbers)


def proof(
    kept: bytes = UPPER.kept_statistics,
    count: int = COUNT,
    numbers: Sequence[int] = EDGES,
    leaves: bytes | None = None,
    keys: tuple[bytes, bytes] = KEYS,
    edges: tuple[int, int] = EDGES,
) -> tuple[object, ...]:
    given = blocks(numbers) if leaves is None else leaves
    return range_proof(kept, count, numbers, given, keys, edges)


def test_what_is_right_is_proven() -> None:
    assert proof()[:2] == (70, 201)
    assert range_edges(UPPER.packed, UPPER.blocks, *KEYS) == EDGES


@pytest.mark.parametrize(
    "wrong",
    [
        {"kept": UPPER.kept_statistics[:-1]},
        {"kept": UPPER.kept_statistics + b"\0"},
        {"count": 0},
        {"count": 2**32},
        {"count": COUNT + BLOCK},
        {"leaves": blocks(EDGES)[:-1]},
        {"leaves": blocks(EDGES) + b"\0"},
        {"numbers": (3, 1)},
        {"numbers": (1, 1)},
        {"numbers": ()},
        {"numbers": (0, 1, 2, 3, 4)},
        {"numbers": (1, 5)},
        {"numbers": (1, 2)},
        {"edges": (3, 1)},
        {"keys": (KEYS[1], KEYS[0])},
        {"keys": (KEYS[0], KEYS[1][:-1])},
        {"keys": (b"", KEYS[1])},
    ],
)
def test_what_cannot_be_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"leaves|blocks"):
        proof(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("count", [0, -1, 6])
def test_first_keys_that_are_not_there_are_not_read(count: int) -> None:
    with pytest.raises(ValueError, match="first keys"):
        range_edges(UPPER.packed[: 5 * 35], count, *KEYS)
    with pytest.raises(ValueError, match="first keys"):
        range_edges(UPPER.packed, 5, KEYS[0], KEYS[1] + b"\0")


@pytest.mark.parametrize("number", [number for number in ENDS if number > 4 or number < 0])
def test_numbers_that_no_batch_has_are_refused(number: int) -> None:
    with pytest.raises(ValueError, match=r"leaves|blocks"):
        proof(numbers=(1, number), leaves=blocks((1, 3)))
    with pytest.raises(ValueError, match=r"leaves|blocks"):
        proof(edges=(1, number))
    with pytest.raises(ValueError, match=r"leaves|blocks"):
        proof(count=number)
    with pytest.raises(ValueError, match="first keys"):
        range_edges(UPPER.packed[: 5 * 35], number, *KEYS)


def test_anything_is_answered_or_refused() -> None:
    """Under AddressSanitizer (`make native-asan`) this finds reads out of bounds, too."""
    random = Random(11)
    told = Counter(call_with_any_range(random) for _ in range(2_000))
    assert told.keys() == {"proven", "other block", "edges", "refused"}
    assert told["proven"] > 200
