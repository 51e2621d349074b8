"""Lists as tables: a page of one, or all of it, page by page, while the client reads it.

An export holds neither a transaction nor a connection between two pages: it asks for page after
page as a client would, and keeps one in memory. It is of one chain: where a rollback takes a block
away that it may have shown, it is cut off (the client sees a body without an end).
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import structlog

from corechain.protocol.errors import ProtocolError, TransportError
from corechain_indexer.api.freshness import newest_block
from corechain_indexer.api.media.encoders import Encoder, encoder_for
from corechain_indexer.api.media.formats import Format
from corechain_indexer.api.media.tables import Row, Table, following
from corechain_indexer.api.params import MAX_LIMIT, Params
from corechain_indexer.errors import Unavailable
from corechain_indexer.metrics import Metrics
from corechain_indexer.store.reads import Reads

if TYPE_CHECKING:
    from corechain.service.database import Database

log = structlog.get_logger(__name__)

EXPORTS_AT_ONCE = 8
"""Exports that a process has under way: each keeps asking for pages as fast as its client reads."""
INLINE_ROWS = 100
"""Encoded in half a millisecond, which is little more than a hop to a thread and back."""
NO_BLOCK = 2**62
"""Beyond every block: a rollback to anywhere takes something away."""
Answer = Callable[[Params], Awaitable[Any]]


class ExportCut(TransportError):
    """A rollback has taken blocks away that an export may have shown."""


@dataclass(frozen=True, slots=True)
class _Base:
    """What an export stands on: all blocks up to one, as they were after the last rollback."""

    block: int
    rollback: int


@dataclass(slots=True)
class Exports:
    """Makes tables of the answers of a handler."""

    pool: "Database"
    metrics: Metrics
    _open: int = 0

    async def page(
        self, table: Table, form: Format, answer: Answer, params: Params
    ) -> tuple[bytes, Mapping[str, str] | None]:
        """One page as a whole body, and the parameters of the next one. Raises what the handler
        raises, NotAcceptable."""
        encoder = encoder_for(form, table.columns)
        found = await answer(params)
        rows = await self._rows(table, found)
        parts = [encoder.begin(), await _encoded(encoder, rows), encoder.end()]
        return b"".join(parts), following(found)

    async def whole(
        self, table: Table, form: Format, answer: Answer, params: Params
    ) -> AsyncIterator[bytes]:
        """All pages. What is wrong with the query is raised before there is an iterator."""
        if self._open >= EXPORTS_AT_ONCE:
            raise Unavailable(f"{EXPORTS_AT_ONCE} exports are under way already")
        encoder = encoder_for(form, table.columns)
        wanted, base = await self._based(params, bounded=table.bounded)
        first = await answer(wanted)
        rows = await self._rows(table, first)
        return self._pages(_Export(table, encoder, answer, wanted, base), first, rows)

    async def _based(self, params: Params, *, bounded: bool) -> tuple[Params, _Base]:
        """The question about one fixed block, where it can be asked so."""
        # In this order: a rollback in between is noticed, and cuts the export off.
        rollback = await Reads(self.pool).newest_rollback()
        changed = {"limit": str(MAX_LIMIT)}
        if not bounded:
            return params.going_on(changed), _Base(NO_BLOCK, rollback)
        block = await newest_block(self.pool, params)
        if block is None:
            block = (await Reads(self.pool).marks()).indexed
        if block >= 0:
            changed["as_of"] = str(block)
        return params.going_on(changed), _Base(block, rollback)

    async def _rows(self, table: Table, answer: Any) -> list[Row]:
        batches = table.batches(answer)
        found = await Reads(self.pool).headers_of(sorted(batches)) if batches else ()
        origins = {row["batch_id"]: row for row in found}
        if origins.keys() != batches:
            raise Unavailable("a batch of the answer changed while it was made; ask again")
        return list(table.rows(answer, origins))

    async def _pages(self, export: "_Export", first: Any, rows: list[Row]) -> AsyncIterator[bytes]:
        self._open += 1
        try:
            yield export.encoder.begin()
            yield await _encoded(export.encoder, rows)
            found, params = first, export.params
            while more := following(found):
                params = params.going_on(more)
                found = await export.answer(params)
                rows = await self._rows(export.table, found)
                await self._require_base(export.base)
                yield await _encoded(export.encoder, rows)
            await self._require_base(export.base)
            yield await asyncio.to_thread(export.encoder.end)
        except (TransportError, ProtocolError) as error:
            # The head of the answer is out: all that is left is to hang up without its end.
            self.metrics.exports_cut.labels(error.name).inc()
            log.warning("export cut off", error=str(error))
            raise ExportCut(str(error)) from error
        finally:
            self._open -= 1

    async def _require_base(self, base: _Base) -> None:
        if await Reads(self.pool).is_rolled_back(base.block, base.rollback):
            raise ExportCut(f"blocks up to {base.block} were rolled back")


@dataclass(frozen=True, slots=True)
class _Export:
    table: Table
    encoder: Encoder
    answer: Answer
    params: Params
    base: _Base


async def _encoded(encoder: Encoder, rows: list[Row]) -> bytes:
    if len(rows) <= INLINE_ROWS:
        return encoder.page(rows)
    # A whole page takes milliseconds: elsewhere, so that nobody else's request waits for it.
    return await asyncio.to_thread(encoder.page, rows)
