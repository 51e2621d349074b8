"""Leaves of batches that are final, as compressed columns: whoever reads leaves gets the same bytes
from them. Blocks of PACKED leaves, so that a slice of a batch costs a block or two."""

import asyncio
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from corechain.protocol.columns import Octets, bytes_as_text, rows_of
from corechain.protocol.reading import READING_BYTES
from corechain.protocol.sealing import LEAF_ROWS
from corechain.service.database import asked, outages
from corechain_indexer.store import SQL
from corechain_indexer.store.segments import RUN_BYTES, Numbers, leaf_times

if TYPE_CHECKING:
    from asyncpg import Record

    from corechain.service.database import Database

    Row = Mapping[str, Any] | Record

PACKED = 1_024
"""Leaves of a block: a slice of a few is 0.1 ms of unpacking; fewer would compress worse."""
AT_ONCE = 8
"""Batches that are packed in one go: 30 MB of leaves at the most."""
LEVEL = 6
"""Of zlib. 9 takes four times as long and saves a hundredth."""
PAUSE_S, POLL_S = 0.2, 60.0
_WORD = 8


def pack_leaves(leaves: bytes) -> list[bytes]:
    """Sorted leaves, 40 bytes each, as blocks. Pure and CPU-bound."""
    size = PACKED * READING_BYTES
    return [_pack(leaves[at : at + size]) for at in range(0, len(leaves), size)]


def unpack_leaves(blocks: Sequence[bytes]) -> bytes:
    """What `pack_leaves` was given, or the part of it that lies in some neighbouring blocks."""
    return b"".join(map(_unpack, blocks))


def leaves_of(row: "Row") -> bytes:
    """All leaves of a batch, from columns `leaves` and `packed` (all blocks where the former is
    null)."""
    return bytes(row["leaves"]) if row["leaves"] is not None else unpack_leaves(row["packed"])


def slice_of(row: "Row", position: int, count: int) -> bytes:
    """So many leaves from a position on, fewer at a batch's end, from columns `leaves` (of them
    alone) and `packed` (of the blocks in which they lie, where the former is null)."""
    if row["leaves"] is not None:
        return bytes(row["leaves"])
    start = READING_BYTES * (position % PACKED)
    return unpack_leaves(row["packed"])[start : start + READING_BYTES * count]


def _pack(leaves: bytes) -> bytes:
    rows, octets = np.frombuffer(leaves, LEAF_ROWS), rows_of(leaves, READING_BYTES)
    keys = octets[:, :RUN_BYTES]
    text = bytes_as_text(keys)
    firsts = np.flatnonzero(np.concatenate([[True], text[1:] != text[:-1]]))
    lengths = np.diff(firsts, append=len(rows))
    columns = (
        np.array([len(firsts)], "<u2"),
        lengths.astype("<u2"),
        keys[firsts].T,
        _differences(leaf_times(rows)),
        _differences(rows["value"].astype(np.int64)),
        rows["flag"],
    )
    return zlib.compress(b"".join(column.tobytes() for column in columns), LEVEL)


def _unpack(packed: bytes) -> bytes:
    raw = zlib.decompress(packed)
    runs = int.from_bytes(raw[:2], "little")
    lengths = np.frombuffer(raw, "<u2", runs, 2).astype(np.int64)
    at, count = 2 + 2 * runs, int(lengths.sum())
    keys = np.frombuffer(raw, np.uint8, RUN_BYTES * runs, at).reshape(RUN_BYTES, runs).T
    at += RUN_BYTES * runs
    times = _added_up(raw, at, count)
    values = _added_up(raw, at + _WORD * count, count)
    leaves = np.empty((count, READING_BYTES), np.uint8)
    leaves[:, :RUN_BYTES] = np.repeat(keys, lengths, axis=0)
    rows = leaves.view(LEAF_ROWS).ravel()
    rows["high"], rows["low"], rows["value"] = times >> 32, times & 0xFFFFFFFF, values
    rows["flag"] = np.frombuffer(raw, np.uint8, count, at + 2 * _WORD * count)
    return leaves.tobytes()


def _differences(column: Numbers) -> Octets:
    """From one to the next, zigzag, the bytes of one weight side by side: mostly zeros."""
    steps = np.diff(column, prepend=0)
    words: npt.NDArray[np.uint64] = ((steps << 1) ^ (steps >> 63)).astype("<i8").view("<u8")
    return words.view(np.uint8).reshape(-1, _WORD).T


def _added_up(raw: bytes, at: int, count: int) -> Numbers:
    planes = np.frombuffer(raw, np.uint8, _WORD * count, at).reshape(_WORD, count)
    words = np.ascontiguousarray(planes.T).view("<u8").ravel()
    steps = (words >> np.uint64(1)).astype(np.int64) ^ -(words & np.uint64(1)).astype(np.int64)
    total: Numbers = np.cumsum(steps)
    return total


@dataclass(frozen=True, slots=True)
class PackStore:
    """Packs what is final. Several at a time do each batch once."""

    pool: "Database"

    async def pack_forever(self, older_than_s: float) -> None:
        """In small steps: between two of them everybody else has the database."""
        while True:
            more = await self.pack_some(older_than_s)
            await asyncio.sleep(PAUSE_S if more else POLL_S)

    async def pack_some(self, older_than_s: float) -> bool:
        """The oldest batches that were verified so long ago; whether there were any. Raises
        StoreUnavailable."""
        rows = await asked(self.pool.fetch(SQL["packable"], older_than_s, AT_ONCE))
        for row in rows:
            blocks = await asyncio.to_thread(_packed_for_sure, row["leaves"])
            await self._keep(row["batch_id"], row["readings_root"], blocks)
        return bool(rows)

    async def _keep(self, batch_id: int, readings_root: bytes, blocks: Sequence[bytes]) -> None:
        with outages():
            async with self.pool.acquire() as connection, connection.transaction():
                taken = await connection.fetchval(SQL["take_leaves"], batch_id, readings_root)
                if taken is None:
                    return  # undone meanwhile, or packed by another
                records = [(batch_id, number, block) for number, block in enumerate(blocks)]
                await connection.copy_records_to_table("packed_leaves", records=records)


def _packed_for_sure(leaves: bytes) -> list[bytes]:
    blocks = pack_leaves(leaves)
    # What is dropped must come back byte for byte: it cannot be fetched again for sure.
    assert unpack_leaves(blocks) == leaves, "packed leaves did not come back"
    return blocks
