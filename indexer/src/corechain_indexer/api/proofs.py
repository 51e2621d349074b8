"""What proves a page of readings: for every batch that occurs in it, one multiproof."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from corechain.protocol.levels import BLOCK, OpenedTrees
from corechain.protocol.merkle import depth_of
from corechain.protocol.reading import DeviceId, Reading
from corechain_indexer.api import schemas
from corechain_indexer.api.rows import header_of, hexed
from corechain_indexer.api.trees import AT_ONCE, Batch, BatchGone, TreeCache
from corechain_indexer.errors import Unavailable
from corechain_indexer.store.files import to_unsigned
from corechain_indexer.store.pages import StoredReading
from corechain_indexer.store.reads import Reads

if TYPE_CHECKING:
    from asyncpg import Record

    from corechain.service.database import Database


@dataclass(frozen=True, slots=True)
class ReadingProver:
    """Proves readings of a page against the trees of their batches."""

    pool: "Database"
    trees: TreeCache

    async def prove(self, found: Sequence[StoredReading]) -> list[schemas.BatchProof]:
        """Of all rows, by batch. Raises Unavailable when a batch changed since they were read."""
        headers = await self._headers({row.batch_id for row in found})
        batches: dict[int, list[StoredReading]] = {}
        for row in found:
            batches.setdefault(row.batch_id, []).append(row)
        chosen = [headers[batch] for batch in batches]
        proofs: list[schemas.BatchProof] = []
        for first in range(0, len(chosen), AT_ONCE):
            some = chosen[first : first + AT_ONCE]
            trees = await self._trees(some, batches)
            rows = [batches[header["batch_id"]] for header in some]
            # One hop to a thread for all: small batches take less than the hop.
            proofs += await asyncio.to_thread(_proofs, some, trees, rows)
        return proofs

    async def _headers(self, batches: set[int]) -> Mapping[int, "Record"]:
        headers = await Reads(self.pool).headers_of(sorted(batches))
        if len(headers) != len(batches):
            raise _changed()
        return {row["batch_id"]: row for row in headers}

    async def _trees(
        self, headers: Sequence["Record"], rows: Mapping[int, Sequence[StoredReading]]
    ) -> list[OpenedTrees]:
        names = [Batch(header["batch_id"], header["commitment"]) for header in headers]
        blocks = {name: {row.position // BLOCK for row in rows[name.batch_id]} for name in names}
        try:
            opened = await self.trees.opened(await self.trees.upper(names), blocks)
        except BatchGone:
            raise _changed() from None
        return [opened[name] for name in names]


def _proofs(
    headers: Sequence["Record"],
    trees: Sequence[OpenedTrees],
    rows: Sequence[Sequence[StoredReading]],
) -> list[schemas.BatchProof]:
    return [
        schemas.BatchProof(
            header["batch_id"],
            header["block_number"],
            hexed(header_of(header).rest_hash),
            depth_of(len(tree.leaves)),
            hexed(_nodes(tree, some)),
        )
        for header, tree, some in zip(headers, trees, rows, strict=True)
    ]


def _nodes(trees: OpenedTrees, rows: Sequence[StoredReading]) -> bytes:
    """Of the rows' positions. Raises Unavailable when they are not the leaves that stand there."""
    leaves = {row.position: _leaf(row) for row in rows}
    try:
        if any(trees.leaves[at] != leaf for at, leaf in leaves.items()):
            raise _changed()
        return b"".join(trees.readings.multiproof(sorted(leaves)))
    except IndexError:
        raise _changed() from None


def _leaf(row: StoredReading) -> bytes:
    device, cell = DeviceId(row.device), to_unsigned(row.cell)
    return Reading(row.metric, cell, device, row.observed_at, row.value, flag=row.flag).pack()


def _changed() -> Unavailable:
    # Rows, headers and leaves are read one after the other: a reorganisation may come in between.
    return Unavailable("a batch of the answer changed while it was made; ask again")
