"""What proves a page of readings: for every batch that occurs in it, one multiproof."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from corechain.protocol.errors import NotFound
from corechain.protocol.merkle import depth_of
from corechain.protocol.reading import DeviceId, Reading
from corechain.service.database import asked
from corechain_indexer.api import schemas
from corechain_indexer.api.rows import header_of, hexed
from corechain_indexer.api.trees import BatchTrees, TreeCache
from corechain_indexer.errors import Unavailable
from corechain_indexer.store import SQL
from corechain_indexer.store.files import to_unsigned

if TYPE_CHECKING:
    from asyncpg import Record

    from corechain.service.database import Database

MAX_LEAVES = 1_000_000
"""A tree that is not in memory is hashed anew, about 2 µs a leaf: two seconds a page, at most. A
page ends before the batch that would take it over the limit, but holds one batch at least."""


@dataclass(frozen=True, slots=True)
class ReadingProver:
    """Proves rows of the table of readings against the trees of their batches."""

    pool: "Database"
    trees: TreeCache
    max_leaves: int = MAX_LEAVES

    async def prove(
        self, found: Sequence["Record"]
    ) -> tuple[Sequence["Record"], list[schemas.BatchProof]]:
        """As many of the rows as can be proven at once, from the first, and their proofs.

        Raises Unavailable when a batch changed since the rows were read.
        """
        headers = await self._headers({row["batch_id"] for row in found})
        shown = self._affordable(found, headers)
        batches: dict[int, list[Record]] = {}
        for row in shown:
            batches.setdefault(row["batch_id"], []).append(row)
        trees = [await self._trees(headers[batch]) for batch in batches]
        chosen = [headers[batch] for batch in batches]
        # One hop to a thread for all: small batches take less than the hop.
        proofs = await asyncio.to_thread(_proofs, chosen, trees, list(batches.values()))
        return shown, proofs

    async def _headers(self, batches: set[int]) -> Mapping[int, "Record"]:
        headers = await asked(self.pool.fetch(SQL["headers_of"], sorted(batches)))
        if len(headers) != len(batches):
            raise _changed()
        return {row["batch_id"]: row for row in headers}

    def _affordable(
        self, found: Sequence["Record"], headers: Mapping[int, "Record"]
    ) -> Sequence["Record"]:
        leaves, counted = 0, set[int]()
        for index, row in enumerate(found):
            batch = row["batch_id"]
            if batch not in counted:
                leaves += headers[batch]["reading_count"]
                if counted and leaves > self.max_leaves:
                    return found[:index]
                counted.add(batch)
        return found

    async def _trees(self, header: "Record") -> BatchTrees:
        try:
            trees = await self.trees.of(header["batch_id"], header["commitment"])
        except NotFound:
            raise _changed() from None
        if trees.commitment != header["commitment"]:
            raise _changed()
        return trees


def _proofs(
    headers: Sequence["Record"], trees: Sequence[BatchTrees], rows: Sequence[Sequence["Record"]]
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


def _nodes(trees: BatchTrees, rows: Sequence["Record"]) -> bytes:
    """Of the rows' positions. Raises Unavailable when they are not the leaves that stand there."""
    leaves = {row["position"]: _leaf(row) for row in rows}
    if any(trees.leaves[at] != leaf for at, leaf in leaves.items() if at < len(trees.leaves)):
        raise _changed()
    try:
        return b"".join(trees.readings.multiproof(sorted(leaves)))
    except IndexError:
        raise _changed() from None


def _leaf(row: "Record") -> bytes:
    device, cell = DeviceId(row["device"]), to_unsigned(row["cell"])
    reading = Reading(
        row["metric"], cell, device, row["observed_at"], row["value"], flag=row["flag"]
    )
    return reading.pack()


def _changed() -> Unavailable:
    # Rows, headers and leaves are read one after the other: a reorganisation may come in between.
    return Unavailable("a batch of the answer changed while it was made; ask again")
