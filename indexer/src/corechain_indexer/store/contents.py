"""What is in batches: by device, metric and cell, for subscribers who want only some of them."""

import asyncio
from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from corechain.protocol.sealing import LEAF_ROWS
from corechain.service.database import asked
from corechain_indexer.errors import ArchiveUnavailable
from corechain_indexer.store import SQL
from corechain_indexer.store.archive import NO_ARCHIVE, Archive
from corechain_indexer.store.events import BatchEvent

if TYPE_CHECKING:
    from corechain_indexer.store import Asked

SIGN, CELL_BITS = 1 << 63, 1 << 64
"""A cell's unsigned 64 bits are stored as a signed number."""
MAX_KEYS = 64
"""Combinations of device, metric and cell in one filter: what matching it may cost an event."""

Key = tuple[bytes | None, int | None, int | None]
"""Device, metric, cell; None where any will do."""
Shape = tuple[bool, ...]


@dataclass(frozen=True, slots=True)
class Filter:
    """Batches that hold a reading of one of the devices, of one of the metrics, at one of the
    cells, all in one; where none is named any will do. At most `MAX_KEYS` combinations."""

    devices: frozenset[bytes] = frozenset()
    metrics: frozenset[int] = frozenset()
    cells: frozenset[int] = frozenset()
    keys: frozenset[Key] = field(init=False, compare=False)
    shape: Shape = field(init=False, compare=False)

    def __post_init__(self) -> None:
        parts: tuple[Collection[Any], ...] = (self.devices, self.metrics, self.cells)
        keys = frozenset(product(*(part or (None,) for part in parts)))
        object.__setattr__(self, "keys", keys)
        object.__setattr__(self, "shape", tuple(bool(part) for part in parts))

    def __bool__(self) -> bool:
        return any(self.shape)


def _signed(cell: int) -> int:
    return cell - CELL_BITS if cell >= SIGN else cell


def _unsigned(cell: int | None) -> int | None:
    return None if cell is None else cell % CELL_BITS


def _cut(key: Key, shape: Shape) -> Any:
    return tuple(part if wanted else None for part, wanted in zip(key, shape, strict=True))


@dataclass(slots=True)
class Contents:
    """What some batches hold of what some filters want."""

    shapes: frozenset[Shape] = frozenset()
    _known: dict[tuple[int, str], set[Key]] = field(default_factory=lambda: defaultdict(set))

    def add(self, batch: tuple[int, str], held: Key) -> None:
        self._known[batch].update(_cut(held, shape) for shape in self.shapes)

    def may_concern(self, event: BatchEvent, wanted: Filter) -> bool:
        """False only where a batch is known to hold nothing that is wanted. What was undone is gone
        from the tables: whoever was told of it must be told, so everybody is."""
        known = self._known.get((event.batch_id, event.commitment))
        return event.type == "undone" or known is None or not wanted.keys.isdisjoint(known)


@dataclass(frozen=True, slots=True)
class BatchContents:
    """Asks Postgres, by the primary: a replica may not have the batch yet."""

    database: "Asked"
    archive: Archive = NO_ARCHIVE

    async def of(self, events: Iterable[BatchEvent], filters: Collection[Filter]) -> Contents:
        """One query, whatever the number of filters. Raises StoreUnavailable."""
        found = Contents(frozenset(wanted.shape for wanted in filters))
        batches = {event.batch_id for event in events if event.type != "undone"}
        if not batches:
            return found
        rows = await asked(
            self.database.fetch(SQL["batch_contents"], list(batches), *_narrowed(filters))
        )
        for row in rows:
            if row.get("merged"):  # not on shards: nothing is merged there
                await self._add_leaves(found, row["batch_id"])
                continue
            batch = row["batch_id"], "0x" + row["commitment"].hex()
            found.add(batch, (row["device"], row["metric"], _unsigned(row["cell"])))
        return found

    async def _add_leaves(self, found: Contents, batch_id: int) -> None:
        """Of an old batch whose readings are merged with those of others."""
        row = await asked(self.database.fetchrow(SQL["batch_leaves"], batch_id))
        if row is None:
            return
        try:
            leaves = await self.archive.leaves(row)
        except ArchiveUnavailable:
            return  # what it holds is not known: it may concern everybody
        batch = batch_id, "0x" + row["commitment"].hex()
        for key in await asyncio.to_thread(_keys_in, leaves):
            found.add(batch, key)


def _keys_in(leaves: bytes) -> list[Key]:
    """Each device, metric and cell of sorted leaves. Pure and CPU-bound."""
    keys = np.unique(np.frombuffer(leaves, LEAF_ROWS)[["metric", "cell", "device"]])
    return [(bytes(key["device"]), int(key["metric"]), int(key["cell"])) for key in keys]


def _narrowed(filters: Collection[Filter]) -> tuple[list[bytes], list[int], list[int]]:
    """By which columns rows are looked for: of each filter the one that the fewest rows have."""
    devices: set[bytes] = set()
    metrics: set[int] = set()
    cells: set[int] = set()
    for wanted in filters:
        if wanted.devices:
            devices |= wanted.devices
        elif wanted.cells:
            cells |= wanted.cells
        else:
            metrics |= wanted.metrics
    return list(devices), list(metrics), [_signed(cell) for cell in cells]
