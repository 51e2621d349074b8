"""Audits an index against a node, a second one at best, and against itself.

For a range of blocks: does the node tell the same events and blocks, is every stored leaf under the
root that the chain has, and is what is served made of those leaves. Reads only, but for archive
files when it is to heal them, and may run beside an indexer.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from corechain.deployment import Deployment
from corechain.protocol.columns import rows_of
from corechain.protocol.errors import NotMirrored, TransportError
from corechain.protocol.levels import UpperLevels
from corechain.protocol.reading import READING_BYTES
from corechain.protocol.roots import hash_rows, merkle_root, statistics_root
from corechain.service.database import create_pool
from corechain.service.files.fetch import FileSources
from corechain.service.rpc import Questions, Rpc, logs_in_ranges
from corechain_indexer.api.rows import header_of
from corechain_indexer.errors import ArchiveUnavailable
from corechain_indexer.healing import Healer
from corechain_indexer.judge import Expected, Mismatch
from corechain_indexer.projections import Row, raw_row
from corechain_indexer.settings import Settings
from corechain_indexer.source import check_chain, node_of
from corechain_indexer.store.archive import NO_ARCHIVE, Archive
from corechain_indexer.store.audited import Audited
from corechain_indexer.store.opened import routed, shards_of
from corechain_indexer.store.reads import Reads
from corechain_indexer.store.segments import Segments

if TYPE_CHECKING:
    from asyncpg import Record

    from corechain.service.database import Database
    from corechain_indexer.store.packing import Row as Stored

EXAMPLES = 20
"""Shown of each kind of finding; the counts are complete."""
BATCHES_AT_ONCE = 4
"""Of the largest batches: 16 MB of leaves, and as many rows at the worst to compare them with."""


@dataclass(slots=True)
class Report:
    """What an audit has looked at, and what it found wrong. Checksums: SHA-256 over all events."""

    first_block: int
    last_block: int
    events: int = 0
    events_of_node: int = 0
    checksum: str = ""
    checksum_of_node: str = ""
    blocks: int = 0
    batches: int = 0
    leaves: int = 0
    healed: int = 0
    """Archive files that were missing or damaged, and are right now."""
    checked: bool = True
    """False where the range has no block of ours: none is final yet, or the contracts came later.
    Nothing was compared, so nothing is known to be right."""
    findings: dict[str, int] = field(default_factory=dict)
    examples: list[str] = field(default_factory=list)

    def find(self, kind: str, example: str) -> None:
        self.findings[kind] = self.findings.get(kind, 0) + 1
        if self.findings[kind] <= EXAMPLES:
            self.examples.append(f"{kind}: {example}")

    @property
    def is_clean(self) -> bool:
        return self.checked and not self.findings

    def document(self) -> dict[str, Any]:
        return asdict(self) | {"clean": self.is_clean}


@dataclass(frozen=True, slots=True)
class Auditor:
    """Compares `pool`'s index with the node at `rpc`."""

    pool: "Database"
    rpc: Questions
    addresses: Sequence[bytes]
    range_blocks: int
    archive: Archive = NO_ARCHIVE
    healer: Healer | None = None
    """Who makes archive files anew, if that is wanted."""

    async def audit(self, first: int, last: int | None = None) -> Report:
        """Up to `last`, or the newest final block: what is newer may change while we look. Where
        or `last` is before `first`, the report is one of nothing checked.

        Raises NotMirrored, NodeUnavailable, NodeRefused, StoreUnavailable.
        """
        marks = await Reads(self.pool).marks()
        newest = marks.final if last is None else last
        if newest < first:
            return Report(first, newest, checked=False)
        if newest > marks.indexed:
            raise NotMirrored(newest, marks.indexed)
        report = Report(first, newest)
        await self._compare_events(report)
        await self._compare_blocks(report)
        async for row in self._batches(report):
            await self._judge(report, row)
        await self._look_for_strays(report)
        return report

    # ---------------------------------------------------------------- against the node

    async def _compare_events(self, report: Report) -> None:
        ours, theirs = hashlib.sha256(), hashlib.sha256()
        for start in range(report.first_block, report.last_block + 1, self.range_blocks):
            end = min(start + self.range_blocks - 1, report.last_block)
            kept = [tuple(row) for row in await self._kept.events(start, end)]
            logs = await logs_in_ranges(self.rpc, self.addresses, [], start, end, self.range_blocks)
            told = [raw_row(entry) for entry in logs]
            report.events += len(kept)
            report.events_of_node += len(told)
            for digest, rows in ((ours, kept), (theirs, told)):
                for row in rows:
                    digest.update(repr(row).encode())
            _differences(report, kept, told)
        report.checksum, report.checksum_of_node = ours.hexdigest(), theirs.hexdigest()

    async def _compare_blocks(self, report: Report) -> None:
        """The blocks that are kept: the ends of ranges, and all that were not final yet."""
        kept = await self._kept.blocks(report.first_block, report.last_block)
        report.blocks = len(kept)
        told = await self.rpc.blocks([row["number"] for row in kept])
        for row, block in zip(kept, told, strict=True):
            if row["hash"] != block.hash:
                report.find("another block", f"{block.number} is 0x{block.hash.hex()} for the node")

    # -------------------------------------------------------------------- against itself

    async def _batches(self, report: Report) -> AsyncIterator["Record"]:
        after = -1
        span = (report.first_block, report.last_block)
        while rows := await self._kept.batches(*span, after, BATCHES_AT_ONCE):
            for row in rows:
                yield row
            after = rows[-1]["batch_id"]

    async def _judge(self, report: Report, row: "Stored") -> None:
        batch_id = row["batch_id"]
        report.batches += 1
        found = await self._found(report, row)
        if found is None:
            return
        row, leaves = found
        report.leaves += len(leaves) // READING_BYTES
        for kind in await asyncio.to_thread(_wrong_roots, row, leaves):
            report.find(kind, f"batch {batch_id}")
        # A length that is wrong has been found above.
        whole = leaves[: len(leaves) - len(leaves) % READING_BYTES]
        derived = await asyncio.to_thread(Segments.of, batch_id, whole)
        kept = {tuple(segment) for segment in await self._kept.segments(batch_id)}
        if kept - set(derived.rows()):
            report.find("segments that are not of the leaves", f"batch {batch_id}")
        if set(derived.rows()) - kept:
            report.find("segments that are missing", f"batch {batch_id}")

    async def _found(self, report: Report, row: "Stored") -> "tuple[Stored, bytes] | None":
        """The batch with its tree levels, and its leaves; None where they cannot be read, which is
        a finding."""
        try:
            found = await self._read(row)
        except ArchiveUnavailable as error:
            return await self._healed(report, row, error.why)
        if row["archived"] is None or self.healer is None:
            return found
        # With checksums of its own, a file can be wrong and not damaged.
        wrong = await asyncio.to_thread(_wrong_roots, *found)
        return await self._healed(report, row, "it has other leaves") if wrong else found

    async def _read(self, row: "Stored") -> "tuple[Stored, bytes]":
        """From Postgres, and the archive. Raises ArchiveUnavailable."""
        leaves = await self.archive.leaves(row)
        if row["archived"] is not None and row["tree_levels"] is None:
            row = {**row, "tree_levels": await self.archive.levels(row["archived"])}
        return row, leaves

    async def _healed(
        self, report: Report, row: "Stored", why: str
    ) -> "tuple[Stored, bytes] | None":
        batch_id = row["batch_id"]
        if self.healer is not None:
            try:
                await self.healer.heal(batch_id, row["commitment"])
                found = await self._read(row)
            except (TransportError, Mismatch) as error:
                why = f"{why}; it cannot be made anew: {error}"
            else:
                report.healed += 1
                return found
        report.find("an archive that cannot be read", f"batch {batch_id}: {why}")
        return None

    async def _look_for_strays(self, report: Report) -> None:
        for batch_id in await self._kept.stray_segments():
            report.find("segments of no verified batch", f"batch {batch_id}")
        for batch_id in await self._kept.wrong_merges():
            report.find("merged readings that do not add up", f"up to batch {batch_id}")

    @property
    def _kept(self) -> Audited:
        return Audited(self.pool)


def _differences(report: Report, kept: Sequence[Row], told: Sequence[Row]) -> None:
    ours, theirs = ({row[:2]: row for row in rows} for rows in (kept, told))
    for place in sorted(ours.keys() | theirs.keys()):
        where = f"block {place[0]}, log {place[1]}"
        if place not in ours:
            report.find("an event that is missing", where)
        elif place not in theirs:
            report.find("an event that the node does not know", where)
        elif ours[place] != theirs[place]:
            report.find("another event", where)


def _wrong_roots(row: "Stored", leaves: bytes) -> list[str]:
    """What of a stored batch does not follow from its leaves, or not lead to its commitment."""
    header = header_of(row)
    if not leaves or len(leaves) != header.reading_count * READING_BYTES:
        return ["leaves that are too few or too many"]
    columns = rows_of(leaves, READING_BYTES)
    hashes = hash_rows(columns)
    found = {
        "leaves under another root": merkle_root(hashes) != row["readings_root"],
        "leaves under another root of statistics": statistics_root(columns, hashes)
        != header.statistics_root,
        "a header under another commitment": header.commitment(row["readings_root"])
        != row["commitment"],
        "tree levels that are not of the leaves": row["tree_levels"] is not None
        and row["tree_levels"] != UpperLevels.of(leaves).packed,
    }
    return [kind for kind, is_wrong in found.items() if is_wrong]


async def audit_index(
    settings: Settings,
    deployment: Deployment,
    node: str | None,
    first: int,
    last: int | None,
    *,
    heal: bool = False,
) -> Report:
    """`Auditor.audit` of the index, by the node of the settings where no other is named; with
    `heal` archive files that are missing or damaged are made anew from the data sources.

    Raises WrongNode too.
    """
    rpc = Rpc(node, settings.rpc_timeout_s) if node else node_of(settings)
    archive, shards = Archive(settings.archive_dir), shards_of(settings)
    addresses = [contract.address for contract in deployment.contracts.values()]
    limits = settings.fetch_timeout_s, settings.max_file_bytes
    sources = FileSources(settings.data_templates, *limits)
    expected = Expected(deployment.chain_id, deployment.address("DeviceRegistry"))
    healer = Healer(archive, sources, expected) if heal else None
    try:
        await check_chain(rpc, deployment.chain_id)
        async with create_pool(settings.session_url) as pool:
            if shards is not None:
                await shards.prepare(pool, new=False)
            ranges = settings.log_range_blocks
            auditor = Auditor(routed(pool, shards), rpc, addresses, ranges, archive, healer)
            return await auditor.audit(max(first, deployment.first_block), last)
    finally:
        if shards is not None:
            await shards.close()
        archive.close()
        await sources.close()
        await rpc.close()
