"""Pages of readings written natively, against msgspec's JSON of the same rows.

given five arrays as Postgres sends them
  ├── the JSON is the reference's, to the byte, whatever numbers they hold
  └── what is no such array, or tells of a batch that nobody knows, is refused
"""

from collections.abc import Callable, Sequence
from struct import pack
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corechain.protocol.provenance import BRIDGE_MARK, provenance_of
from corechain_indexer.api import rows
from corechain_indexer.store.page_columns import PageColumns, ReadingRow
from corechain_native import page_json

WORDS = ("pending", "safe", "finalised")
DEVICE = BRIDGE_MARK.ljust(20, b"\1")
INT8, INT4 = 20, 23
SIGNED, BATCH = st.integers(-(2**31), 2**31 - 1), st.integers(0, 2**48 - 1)
ROW = st.tuples(
    st.integers(0, 2**16 - 1), st.integers(0, 2**40 - 1), BATCH, st.integers(0, 2**31 - 1), SIGNED,
    st.integers(0, 255), st.integers(-(2**63), 2**63 - 1),
)  # fmt: skip


def array_of(numbers: Sequence[int], kind: int = INT8) -> bytes:
    """As `array_send` does: one dimension, no nulls, each element behind its length."""
    width, form = (8, ">iq") if kind == INT8 else (4, ">ii")
    head = pack(">iiiii", 1, 0, kind, len(numbers), 1)
    return head + b"".join(pack(form, width, number) for number in numbers)


def arrays_of(found: Sequence[Sequence[Any]]) -> list[bytes]:
    places = [row[0] << 40 | row[1] for row in found]
    values = [row[4] << 8 | row[5] for row in found]
    batches, positions, cells = ([row[at] for row in found] for at in (2, 3, 6))
    columns = array_of(places), array_of(batches), array_of(positions, INT4)
    return [*columns, array_of(values), array_of(cells)]


def written(arrays: Sequence[bytes], count: int, finality: dict[int, str]) -> bytes:
    device = f'","device":"0x{DEVICE.hex()}","observed_at":'.encode()
    end = f'","provenance":"{provenance_of(DEVICE).value}"}}'.encode()
    return page_json(arrays, count, finality, device, end)


@given(st.lists(ROW, min_size=1, max_size=20), st.randoms(), st.data())
def test_the_bytes_are_those_of_the_reference(
    found: list[tuple[int, ...]], random: Any, data: st.DataObject
) -> None:
    finality = {row[2]: random.choice(WORDS) for row in found}
    expected: list[ReadingRow] = [(*row, finality[row[2]]) for row in found]  # type: ignore[misc]
    columns = PageColumns(len(found), arrays_of(found), finality)
    assert list(columns) == expected
    assert [columns.place(at) for at in range(len(found))] == [row[:4] for row in found]
    count = data.draw(st.integers(1, len(found)))
    reference = msgspec.json.encode(rows.readings(DEVICE, expected[:count]))
    assert b"[" + written(columns.arrays, count, finality) + b"]" == reference


ROWS = [(1, at, at % 2, at, -at, 1, 7) for at in range(3)]
SURE = {0: "safe", 1: "pending"}


def spoilt(which: int, change: Callable[[bytes], bytes]) -> list[bytes]:
    arrays = arrays_of(ROWS)
    arrays[which] = change(arrays[which])
    return arrays


@pytest.mark.parametrize("which", range(5))
@pytest.mark.parametrize(
    "change",
    [
        lambda array: b"",
        lambda array: array[:-1],
        lambda array: array + b"\0",
        lambda array: array_of([1, 2]),
        lambda array: pack(">iii", 0, 0, INT8),
        lambda array: pack(">iii", 2, 0, INT8) + array[12:],
        lambda array: array[:4] + b"\0\0\0\1" + array[8:],
        lambda array: array[:8] + pack(">i", 25) + array[12:],
        lambda array: array[:12] + pack(">i", -1) + array[16:],
        lambda array: array[:20] + pack(">i", -1) + array[24:],
    ],
)
def test_what_is_no_such_array_is_refused(which: int, change: Callable[[bytes], bytes]) -> None:
    with pytest.raises(ValueError, match="no page of 3 readings"):
        written(spoilt(which, change), 3, SURE)


@pytest.mark.parametrize(
    "finality", [{}, {0: "safe"}, {0: "safe", 2: "safe"}, {0: "safe", 1: "x" * 17}]
)
def test_a_batch_without_a_word_is_refused(finality: dict[int, str]) -> None:
    with pytest.raises(ValueError, match="no "):
        written(arrays_of(ROWS), 3, finality)


def test_fewer_arrays_are_refused() -> None:
    with pytest.raises(ValueError, match="no words"):
        written(arrays_of(ROWS)[:4], 3, SURE)


@given(st.lists(st.binary(max_size=80), min_size=5, max_size=5), st.integers(1, 9))
def test_any_bytes_are_refused_or_read_within_their_ends(arrays: list[bytes], count: int) -> None:
    with pytest.raises(ValueError, match="no page"):
        written(arrays, count, SURE)
