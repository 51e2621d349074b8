"""What each path does: check the parameters, ask a store, shape the answer."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import msgspec

from corechain.protocol.errors import NotFound, UnknownBatch, UnknownDevice
from corechain.protocol.reading import Reading
from corechain.protocol.rewards import Owner, RewardSchedule
from corechain_indexer.api import channel_schemas, rows, schemas
from corechain_indexer.api.freshness import newest_block
from corechain_indexer.api.head import NodeHead
from corechain_indexer.api.history import ALL_METRICS, HistoryQuestion, HistoryReader
from corechain_indexer.api.known import Kept
from corechain_indexer.api.params import (
    BATCHES,
    BOUNDS,
    HOUR_S,
    MAX_BATCH_ID,
    MAX_BLOCK,
    MAX_LIMIT,
    MINUTE_S,
    Params,
    address,
    channel_id,
    encode_cursor,
    in_range,
)
from corechain_indexer.api.proofs import ReadingProver
from corechain_indexer.api.reading_pages import ReadingsPage
from corechain_indexer.api.regions import Region, RegionReader
from corechain_indexer.api.rewards import RewardClaims
from corechain_indexer.api.rows import hexed
from corechain_indexer.api.sensorthings import documents
from corechain_indexer.api.sensorthings.service import SensorThings
from corechain_indexer.api.statistics import Question, StatisticsReader
from corechain_indexer.api.trees import Batch, TreeCache
from corechain_indexer.errors import InvalidQuery
from corechain_indexer.store.archive import NO_ARCHIVE, Archive
from corechain_indexer.store.coverage import Gap
from corechain_indexer.store.epochs import EpochStore
from corechain_indexer.store.latest import Latest
from corechain_indexer.store.page_columns import PageColumns
from corechain_indexer.store.page_groups import Pages
from corechain_indexer.store.pages import FIRST_PLACE, PageOf, cursor_of, named
from corechain_indexer.store.reads import Marks, Reads
from corechain_indexer.store.series import SegmentSeries, Series

if TYPE_CHECKING:
    from asyncpg import Record

    from corechain.service.database import Database

R = TypeVar("R")
T = TypeVar("T")
Facts = tuple[Marks, "Sequence[Record]"]


def _page(
    found: Sequence[R],
    limit: int,
    shape: Callable[[R], T],
    place: Callable[[R], Sequence[int | bytes]],
) -> tuple[list[T], str | None]:
    """Items, and the cursor of the next page: one row more than the limit was asked for."""
    shown = found[:limit]
    more = encode_cursor(place(shown[-1])) if len(found) > limit else None
    return [shape(row) for row in shown], more


NEWEST_PLACE = (MAX_BLOCK, 2**31 - 1)
"""Behind the last log of the last block that there can be."""


def _place_of(row: "Record") -> Sequence[int]:
    return [row["block_number"], row["log_index"]]


@dataclass(frozen=True, slots=True)
class Handlers:
    """One method a path."""

    pool: "Database"
    node_head: NodeHead
    place: schemas.Network
    latest_values: Latest
    buckets: Series
    trees: TreeCache
    claims: RewardClaims
    reader: StatisticsReader
    regions: RegionReader
    prover: ReadingProver
    rewards: RewardSchedule
    facts: Kept[Facts]
    """What the status is made of, but for the node's head."""
    gaps: Callable[[], Awaitable[Sequence[Gap]]]
    pages: Pages
    past: HistoryReader
    archive: Archive = NO_ARCHIVE

    @property
    def reads(self) -> Reads:
        return Reads(self.pool)

    @property
    def epoch_store(self) -> EpochStore:
        return EpochStore(self.pool)

    @property
    def _sensorthings(self) -> SensorThings:
        return SensorThings(self.pool, self.pages, self.trees, self.archive)

    async def sensorthings(self, params: Params) -> documents.SensorThingsRoot:
        return self._sensorthings.root(params)

    async def sensorthings_resource(self, params: Params) -> msgspec.Raw | Mapping[str, object]:
        """A `documents.SensorThingsDocument`, or a bare value."""
        return await self._sensorthings.resource(params)

    async def _facts(self) -> Facts:
        return await self.reads.marks(), await self.reads.state_counts()

    async def status(self, params: Params) -> schemas.Status:
        params.only()
        marks, counts = await self.facts.get("status", self._facts)
        indexed = max(0, marks.indexed)
        head = await self.node_head.number(at_least=indexed)
        return schemas.Status(
            self.place.chain_id,
            head is not None,
            head,
            indexed,
            None if head is None else head - indexed,
            max(0, marks.safe),
            max(0, marks.final),
            {row["state"]: row["count"] for row in counts},
            sum(row["readings"] for row in counts),
            sum(row["rejected"] for row in counts),
            [rows.catching_up(gap) for gap in await self.gaps()],
        )

    async def network(self, params: Params) -> schemas.Network:
        params.only()
        return self.place

    async def devices(self, params: Params) -> schemas.Devices:
        params.only("limit", "cursor")
        limit, after = params.limit(), params.cursor_bytes()
        found = await self.reads.devices(after, limit + 1)
        return schemas.Devices(*_page(found, limit, rows.device, lambda row: [row["device"]]))

    async def device(self, params: Params) -> schemas.Device:
        params.only()
        device = address("device", params.request.path_params["device"])
        row = await self.reads.device(device)
        if row is None:
            raise UnknownDevice(device)
        return rows.device(row)

    async def batches(self, params: Params) -> schemas.Batches:
        params.only("limit", "cursor", "after", "state", "order", *BOUNDS)
        limit, state = params.limit(), params.state()
        after = params.number("after", 0, 0, MAX_BATCH_ID)
        if params.newest_first():
            place = params.cursor(NEWEST_PLACE)
            bound = await newest_block(self.pool, params)
            found = await self.reads.newest_batches(place, after, limit + 1, state, bound)
            return schemas.Batches(*_page(found, limit, rows.batch, _place_of))
        # Both hold: the address of the next page keeps what was asked and adds its cursor.
        after = max(after, params.cursor_number(0))
        bound = await newest_block(self.pool, params)
        found = await self.reads.batches(after, limit + 1, state, bound)
        return schemas.Batches(*_page(found, limit, rows.batch, lambda row: [row["batch_id"]]))

    async def _batch(self, params: Params) -> "Record":
        text = params.request.path_params["id"]
        batch_id = in_range("batch id", text, 1, MAX_BATCH_ID)
        found = await self.reads.batch(batch_id)
        if found is None:
            raise UnknownBatch(batch_id)
        return found

    async def batch(self, params: Params) -> schemas.Batch:
        params.only()
        return rows.batch(await self._batch(params))

    async def rejections(self, params: Params) -> schemas.Rejections:
        params.only("limit", "cursor")
        limit, after = params.limit(), params.cursor_number(-1)
        batch_id = (await self._batch(params))["batch_id"]
        found = await self.reads.rejections(batch_id, after, limit + 1)
        page = _page(found, limit, rows.rejection, lambda row: [row["ordinal"]])
        return schemas.Rejections(*page, batch_id)

    async def proof(self, params: Params) -> schemas.ReadingProof:
        params.only()
        row = await self._batch(params)
        if row["state"] != "verified":
            raise NotFound(f"batch {row['batch_id']} is {row['state']}, not verified")
        text = params.request.path_params["position"]
        position = in_range("position", text, 0, row["reading_count"] - 1)
        trees = await self.trees.of(Batch(row["batch_id"], row["commitment"]), [position])
        return schemas.ReadingProof(
            row["batch_id"],
            row["block_number"],
            row["finality"],
            hexed(trees.leaves[position]),
            position,
            [hexed(node) for node in trees.readings.proof(position)],
            hexed(rows.header_of(row).rest_hash),
            hexed(row["readings_root"]),
            hexed(row["commitment"]),
            Reading.unpack(trees.leaves[position]).provenance,
        )

    async def readings(self, params: Params) -> schemas.Readings | ReadingsPage:
        params.only("device", "metric", "from", "to", "proofs", "limit", "cursor", *BOUNDS)
        limit, metric, (start, end) = params.limit(), params.metric(), params.window()
        device, proven = params.device(), params.flag("proofs")
        if device is None:
            raise InvalidQuery("device", "is required")
        place = params.cursor(FIRST_PLACE)
        bound = await newest_block(self.pool, params)
        page = PageOf(device, metric.code if metric else None, start, end, newest_block=bound)
        page_behind = page.behind(place)
        found = await self.pages.rows(page_behind, limit + 1) if page_behind else ()
        if isinstance(found, PageColumns) and not proven:
            return ReadingsPage(device, found, limit)
        shown = found[:limit]
        proofs = await self.prover.prove(named(device, shown)) if proven else []
        more = encode_cursor(cursor_of(device, shown[-1])) if len(found) > limit else None
        return schemas.Readings(rows.readings(device, shown), more, proofs)

    async def statistics(self, params: Params) -> schemas.Statistics:
        params.only("metric", "device", "cell", "resolution", "from", "to", *BATCHES, *BOUNDS)
        metric, device, (start, end) = params.metric(), params.device(), params.window()
        if metric is None:
            raise InvalidQuery("metric", "is required")
        if device is None and not params.has("cell"):
            raise InvalidQuery("device", "or cell is required")
        if device is not None and params.has("resolution"):
            raise InvalidQuery("resolution", "is of a region, and not of a device")
        bound = await newest_block(self.pool, params)
        batches = params.batches()
        if batches is not None and (device is None or not params.has("cell")):
            raise InvalidQuery("first_batch", "is of a device at a cell")
        if device is None:
            region = Region(params.region(metric), start, end, bound)
            return await self.regions.answer(region)
        question = Question(metric, device, params.cell(), start, end, bound, batches)
        return await self.reader.answer(question)

    async def history(self, params: Params) -> schemas.History:
        params.only(
            *("metric", "device", "cell", "resolution", "from", "to", "order", "since_block"),
            *("cursor", *BOUNDS),
        )
        device, metric, (start, end) = params.device(), params.metric(), params.window()
        if device is None and not params.has("cell"):
            raise InvalidQuery("device", "or cell is required")
        if device is not None and params.has("resolution"):
            raise InvalidQuery("resolution", "is of a region, and not of a device")
        question = HistoryQuestion(
            ALL_METRICS if metric is None else [metric.code],
            device,
            params.cells() if params.has("cell") else (),
            params.resolution(),
            start,
            end,
            params.newest_first(),
            params.block("since_block") or 0,
            await newest_block(self.pool, params),
            # With a finality it ends where that is, and nobody is told where the node is.
            shows_behind=params.finality() == "pending",
        )
        if not question.cells:
            question = replace(question, cells=await self.past.cells_of(question))
        return await self.past.answer(question, params.history_cursor())

    async def series(self, params: Params) -> schemas.Series:
        params.only("metric", "device", "from", "to", "bucket", "limit", *BOUNDS)
        metric, device, (start, end) = params.metric(), params.device(), params.window()
        bucket = params.bucket()
        if metric is None or device is None:
            raise InvalidQuery("metric" if metric is None else "device", "is required")
        # A window is widened to whole hours, or minutes.
        step = MINUTE_S if bucket % HOUR_S else HOUR_S
        start, end = start - start % step, end - end % step + step - 1
        limit = params.number("limit", MAX_LIMIT, 1, MAX_LIMIT)
        # One more than is shown: whether the window goes on is said, not guessed.
        asked_for = (device, metric.code, start, end, bucket, limit + 1)
        bound = await newest_block(self.pool, params)
        if bound is None:
            found = await self.buckets.read(*asked_for)
        else:  # the series database does not know of blocks
            found = await SegmentSeries(self.pool, self.archive).up_to(bound, *asked_for)
        items = [
            schemas.Bucket(b.start, b.count, b.sum / b.count / metric.scale, b.sum, b.min, b.max)
            for b in found[:limit]
        ]
        next_from = found[limit].start if len(found) > limit else None
        return schemas.Series(metric.code, bucket, items, next_from)

    async def latest(self, params: Params) -> msgspec.Raw:
        """A `schemas.Latest`."""
        params.only("device", *BOUNDS)
        device = params.device()
        if device is None:
            raise InvalidQuery("device", "is required")
        bound = await newest_block(self.pool, params)
        values = self.latest_values
        items = await (
            values.json_of(device) if bound is None else values.json_up_to(device, bound)
        )
        return rows.latest(device, items)

    async def stations(self, params: Params) -> schemas.Stations:
        params.only("metric", "limit", "cursor")
        limit, after, metric = params.limit(), params.cursor_bytes(), params.metric()
        if metric is None:
            raise InvalidQuery("metric", "is required")
        found = await self.reads.devices(after, limit + 1)
        shown = found[:limit]
        more = encode_cursor([shown[-1]["device"]]) if len(found) > limit else None
        # Together they are a few questions to Redis: `Latest` gathers who asks at about one time.
        values = await asyncio.gather(*(self.latest_values.of(row["device"]) for row in shown))
        items = [
            rows.station(row, newest, metric.code)
            for row, newest in zip(shown, values, strict=True)
            if newest
        ]
        codes = sorted({value.metric for newest in values for value in newest})
        return schemas.Stations(items, codes, more)

    async def reward(self, params: Params) -> schemas.Reward:
        params.only()
        owner = Owner(address("owner", params.request.path_params["owner"]))
        epoch = await self.epoch_store.claimable(int(time.time()))
        if epoch is None:
            raise NotFound("no reward root is claimable yet")
        claim = await self.claims.of(epoch, owner)
        return schemas.Reward(
            hexed(owner),
            epoch["epoch"],
            hexed(epoch["root"]),
            str(claim.cumulative),
            str(await self.epoch_store.claimed(owner)),
            claim.position,
            [hexed(node) for node in claim.proof],
        )

    async def epochs(self, params: Params) -> schemas.Epochs:
        params.only("limit", "cursor")
        limit, after = params.limit(), params.cursor_number(0)
        found = await self.epoch_store.page(after, limit + 1)
        shape = partial(rows.epoch, schedule=self.rewards)
        return schemas.Epochs(*_page(found, limit, shape, lambda row: [row["epoch"]]))

    async def channels(self, params: Params) -> channel_schemas.PaymentChannels:
        params.only("payer", "limit", "cursor")
        limit, after = params.limit(), params.cursor_bytes()
        found = await self.reads.payment_channels(params.payer(), after, limit + 1)
        page = _page(found, limit, rows.payment_channel, lambda row: [row["channel_id"]])
        return channel_schemas.PaymentChannels(*page)

    async def state_channels(self, params: Params) -> channel_schemas.StateChannels:
        params.only("party", "limit", "cursor")
        limit, after = params.limit(), params.cursor_bytes()
        found = await self.reads.state_channels(params.party(), after, limit + 1)
        page = _page(found, limit, rows.state_channel, lambda row: [row["channel_id"]])
        return channel_schemas.StateChannels(*page)

    async def channel(
        self, params: Params
    ) -> channel_schemas.PaymentChannel | channel_schemas.StateChannel:
        params.only()
        wanted = channel_id(params.request.path_params["id"])
        payment = await self.reads.payment_channel(wanted)
        if payment is not None:
            return rows.payment_channel(payment)
        state = await self.reads.state_channel(wanted)
        if state is None:
            raise NotFound(f"no channel {hexed(wanted)}")
        return rows.state_channel(state)
