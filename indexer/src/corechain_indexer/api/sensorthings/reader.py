"""What a path of SensorThings leads to: which store is asked for which entities."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from corechain.protocol.errors import NotFound
from corechain.protocol.reading import Reading
from corechain.protocol.vocabulary import BY_CODE
from corechain_indexer.api.params import BOUNDS, FORMAT, FRESH, Params
from corechain_indexer.api.sensorthings.answers import Writer, property_of
from corechain_indexer.api.sensorthings.entities import Item, Station, derived, newest_row
from corechain_indexer.api.sensorthings.judging import pinned
from corechain_indexer.api.sensorthings.model import SETS, EntitySet, Named, named_by
from corechain_indexer.api.sensorthings.observations import Observations, Observed
from corechain_indexer.api.sensorthings.options import RESULT_FORMAT, Options, options_of
from corechain_indexer.api.sensorthings.paths import Resource, Step, resource_of
from corechain_indexer.api.sensorthings.stations import Page, Stations, properties_page
from corechain_indexer.api.trees import Batch, TreeCache
from corechain_indexer.errors import InvalidQuery, NotInSubset, Unavailable
from corechain_indexer.store.archive import Archive
from corechain_indexer.store.page_groups import Pages
from corechain_indexer.store.reads import Reads

if TYPE_CHECKING:
    from asyncpg import Record

    from corechain.service.database import Database

PINS = (("Datastream", "id"), ("Datastream", "@iot.id"))
PLAIN = Options()


@dataclass(slots=True)
class Reader:
    """Of one question. Every method raises StoreUnavailable, ArchiveUnavailable."""

    pool: "Database"
    trees: TreeCache
    pages: Pages
    archive: Archive
    newest_block: int | None
    stations: Stations = field(init=False)
    observations: Observations = field(init=False)

    def __post_init__(self) -> None:
        self.stations = Stations(self.pool, self.newest_block)
        self.observations = Observations(self.pool, self.pages, self.archive, self.newest_block)

    # ------------------------------------------------------------------ along a path

    async def at(self, steps: Sequence[Step]) -> Item:
        """The entity that a path ends with. Raises NotFound."""
        item: Item | None = None
        for step in steps:
            if step.entity is not None:
                named = await self._named(step.set.name, step.entity)
                if item is not None and not await self._leads(item, step, named):
                    raise NotFound(f"{step.link} of this entity has no such id")
                item = named
            else:
                assert item is not None, "a path begins with a set"
                item = item.one(step.link)
        assert item is not None, "a path has steps"
        return item

    async def _leads(self, item: Item, step: Step, to: Item) -> bool:
        """Whether an entity is among those that a link of another one leads to."""
        if step.set.name == "Datastreams" and item.set == "ObservedProperties":
            return to.metric == item.metric
        is_same = to.station is not None and to.station.device == _station(item).device
        if item.set == "Datastreams":
            return is_same and to.metric == item.metric
        if item.set == "FeaturesOfInterest":
            return is_same and to.row is not None and to.row[6] & 2**64 - 1 == item.cell
        return is_same

    async def _named(self, kind: str, named: Named) -> Item:
        """Raises NotFound."""
        if kind == "ObservedProperties":
            return Item(kind, metric=named.metric)
        if kind == "Observations":
            return await self._observation(named)
        assert named.device is not None, "in all other ids"
        station = await self.stations.one(named.device)
        item = Item(kind, station, named.metric, named.cell)
        if station is None or (
            named.metric is not None and newest_row(station, named.metric) is None
        ):
            raise NotFound(f"no entity of {kind} has this id")
        if kind == "Locations" and item not in derived(kind, station):
            raise NotFound("the station is not there, or not any more")
        return item

    async def _observation(self, named: Named) -> Item:
        assert named.batch is not None, "in its id"
        assert named.position is not None, "in its id"
        batch = await Reads(self.pool).batch(named.batch)
        is_there = batch is not None and batch["state"] == "verified"
        if batch is None or not is_there or named.position >= batch["reading_count"]:
            raise NotFound("no verified batch has this leaf")
        if self.newest_block is not None and batch["block_number"] > self.newest_block:
            raise NotFound("the batch was committed later")
        trees = await self.trees.of(Batch(named.batch, batch["commitment"]), [named.position])
        leaf = Reading.unpack(trees.leaves[named.position])
        station = await self.stations.one(leaf.device)
        if station is None or leaf.metric not in BY_CODE:
            raise NotFound("the reading is of no station that is known")
        cell = leaf.cell - (leaf.cell >> 63 << 64)
        place = leaf.metric, leaf.observed_at, named.batch, named.position
        row = (*place, leaf.value, leaf.flag, cell, batch["finality"])
        return Item("Observations", station, BY_CODE[leaf.metric], row=row, batch=batch)

    # ------------------------------------------------------------------ sets

    async def every(self, kind: str, options: Options) -> Page:
        """A page of a whole set."""
        if kind == "ObservedProperties":
            return properties_page(options)
        if kind == "HistoricalLocations":
            return _nothing(options)
        if kind != "Observations":
            return await self.stations.page(kind, options)
        text = pinned(options.filter, PINS)
        if text is None:
            return await self.observations.every(self.stations, options)
        named = named_by("Datastreams", text)
        station = await self.stations.one(named.device) if named and named.device else None
        if named is None or station is None:
            return _nothing(options)
        return await self.observations.page(Observed(station, named.metric), options)

    async def led_to(self, item: Item, kind: str, options: Options) -> Page:
        """A page of what an entity leads to."""
        if kind == "HistoricalLocations":
            return _nothing(options)
        if kind == "Observations":
            observed = Observed(_station(item), item.metric, item.cell)
            return await self.observations.page(observed, options)
        if item.set == "ObservedProperties":
            return await self.stations.page(kind, options, metric=item.metric)
        return await self.stations.page(kind, options, _station(item))

    # ------------------------------------------------------------------ what is told besides

    async def completed(self, kind: str, items: Sequence[Item], options: Options) -> Sequence[Item]:
        """With what another question is needed for, where it is shown. Raises Unavailable."""
        if kind == "Observations" and options.shows("parameters"):
            return await self._with_batches(items, options)
        if kind == "Datastreams" and options.shows("phenomenonTime"):
            asked = (self._begun(item) for item in items)
            return await asyncio.gather(*asked)  # together: one question for sixteen
        return items

    async def _begun(self, item: Item) -> Item:
        assert item.metric is not None, "a datastream"
        first = await self.observations.first_at(_station(item), item.metric)
        return item._replace(first_at=first)

    async def batches_of(self, items: Sequence[Item], options: Options) -> "Mapping[int, Record]":
        """Those of readings, by their ids, where they are shown. Raises Unavailable."""
        ids = sorted({item.row[2] for item in items if item.row is not None})
        if not ids or not options.shows("parameters"):
            return {}
        rows = {row["batch_id"]: row for row in await Reads(self.pool).headers_of(ids)}
        if len(rows) != len(ids):
            raise Unavailable("a batch of the answer changed while it was made; ask again")
        return rows

    async def _with_batches(self, items: Sequence[Item], options: Options) -> Sequence[Item]:
        if all(item.batch is not None for item in items):
            return items
        rows = await self.batches_of(items, options)
        return [item._replace(batch=rows[item.row[2]]) for item in items if item.row is not None]


def _station(item: Item) -> Station:
    assert item.station is not None, "only of properties is there none"
    return item.station


def _nothing(options: Options) -> Page:
    return Page((), None, 0 if options.count else None)


# --------------------------------------------------------------------------- a question


def raw_options(params: Params, kind: EntitySet) -> dict[str, str]:
    """All that is said, but for what every path of the API takes. Raises InvalidQuery."""
    found = {}
    for name in params.values:
        text = params.text(name)
        assert text is not None, "it is there"
        if name.startswith("$"):
            found[name] = text
        elif name not in (*FRESH, *BOUNDS, FORMAT):
            raise InvalidQuery(name[:40], "is not a parameter of this path")
    return found


async def answered(params: Params, reader: Reader, root: str, text: str) -> Any:
    """What a path below the root answers. Raises NotFound, InvalidQuery, NotInSubset."""
    resource = resource_of(text)
    last, raw = resource.last, raw_options(params, resource.last.set)
    form = raw.pop(RESULT_FORMAT, None)
    if form is not None and (form != "dataArray" or not _is_list_of_readings(resource)):
        raise NotInSubset(RESULT_FORMAT, f"{form[:40]} of this path")
    options = options_of(last.set, raw)
    kept = {name: told for name in BOUNDS if (told := params.text(name)) is not None}
    writer = Writer(reader, root, kept)
    if not last.is_list:
        return await _of_one(reader, writer, resource, options)
    if len(resource.steps) == 1:
        page = await reader.every(last.set.name, options)
    else:
        owner = await reader.at(resource.steps[:-1])
        page = await reader.led_to(owner, last.set.name, options)
    address = f"{root}/{text.removesuffix('/$ref')}"
    if resource.is_ref:
        return writer.references(address, page, options)
    if form is not None:
        with_form = replace(options, raw={**options.raw, RESULT_FORMAT: form})
        return await writer.data_array(address, page, with_form)
    return await writer.collection(address, last.set.name, page, options)


def _is_list_of_readings(resource: Resource) -> bool:
    return resource.last.is_list and resource.last.set is SETS["Observations"]


async def _of_one(reader: Reader, writer: Writer, resource: Resource, options: Options) -> Any:
    item = await reader.at(resource.steps)
    for name in options.raw:
        if name not in ("$select", "$expand") or resource.inside or resource.is_ref:
            raise InvalidQuery(name[:40], "is for lists, and this is one entity or property")
    if resource.is_ref:
        return writer.reference(item)
    if not resource.inside:
        return await writer.entity(item, options)
    (whole,) = await reader.completed(item.set, [item], PLAIN)
    return property_of(whole, resource.inside, is_value=resource.is_value)
