"""Stations, and the entity sets that are made of them, page by page in the order of their ids."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from corechain.protocol.vocabulary import METRICS, Metric
from corechain_indexer.api.params import decode_cursor, encode_cursor
from corechain_indexer.api.sensorthings.entities import Item, Station, derived
from corechain_indexer.api.sensorthings.judging import holds
from corechain_indexer.api.sensorthings.options import Options
from corechain_indexer.errors import InvalidQuery, NotInSubset
from corechain_indexer.store.latest import newest_in
from corechain_indexer.store.reads import Reads

if TYPE_CHECKING:
    from corechain.service.database import Database

AT_ONCE = 100
"""Stations that one question is about: their newest readings are looked up 13 times each."""
MAX_WALKED, MAX_IN_VAIN = 2_000, 20_000
"""Stations that a page looks at when it has found something, and while it has found nothing: an
empty page is an end to many clients, whatever it says of a next one."""
MAX_COUNTED = 200_000
"""Devices that `$count` counts: two scans of an index, 50 ms."""
BEGINNING = (b"", -1)
CURSOR = "$skiptoken"


@dataclass(frozen=True, slots=True)
class Page:
    """`next`: where the next one begins, for `$skiptoken`; None at the end."""

    items: Sequence[Item]
    next: str | None = None
    count: int | None = None


@dataclass(frozen=True, slots=True)
class Stations:
    """As of a block, or of now. Every method raises StoreUnavailable."""

    pool: "Database"
    newest_block: int | None

    async def one(self, device: bytes) -> Station | None:
        facts = await Reads(self.pool).device(device)
        if facts is None or not self._is_seen(facts["block_number"]):
            return None
        newest = await newest_in(self.pool, [device], self.newest_block)
        return Station(device, facts, newest[device])

    async def after(self, device: bytes, limit: int) -> tuple[list[Station], bytes | None]:
        """The next ones by id, and the id to go on after; None behind the last."""
        rows = await Reads(self.pool).devices(device, limit)
        ids = [row["device"] for row in rows]
        newest = await newest_in(self.pool, ids, self.newest_block) if ids else {}
        found = [
            Station(row["device"], row, newest[row["device"]])
            for row in rows
            if self._is_seen(row["block_number"])
        ]
        return found, ids[-1] if len(ids) == limit else None

    def _is_seen(self, block: int) -> bool:
        return self.newest_block is None or block <= self.newest_block

    async def walk(self, after: bytes, *, first: bytes | None = None) -> AsyncIterator[Station]:
        """All behind an id, `first` before them if it is there."""
        if first and (station := await self.one(first)) is not None:
            yield station
        at: bytes | None = max(after, first or b"")
        while at is not None:
            some, at = await self.after(at, AT_ONCE)
            for station in some:
                yield station

    async def page(
        self, kind: str, options: Options, only: Station | None = None, metric: Metric | None = None
    ) -> Page:
        """Of a set: those of one station, or of all; of datastreams, of one metric or of all.
        Raises InvalidQuery, NotInSubset."""
        device, code = BEGINNING
        if options.cursor is not None:
            place = decode_cursor(options.cursor, BEGINNING, CURSOR)
            device, code = _bytes(place[0]), _number(place[1])
        count = await self._counted(kind, options, only, metric) if options.count else None
        found: list[Item] = []
        walked = 0
        async for station in _alone(only) if only else self.walk(b"", first=device):
            walked += 1
            for item in derived(kind, station):
                is_behind = (station.device, _code(item)) > (device, code)
                is_of = metric is None or item.metric == metric
                if is_behind and is_of and _meets(item, options):
                    found.append(item)
            if len(found) > options.skip + options.top or (
                walked >= MAX_WALKED and len(found) > options.skip
            ):
                break
            if walked >= MAX_IN_VAIN:
                words = f"leads to nothing of the {walked} stations up to {station.name}"
                raise InvalidQuery("query", words)
        else:
            walked = 0
        shown = found[options.skip : options.skip + options.top]
        return Page(shown, self._next(shown, found, options, station if walked else None), count)

    def _next(
        self, shown: Sequence[Item], found: Sequence[Item], options: Options, at: Station | None
    ) -> str | None:
        if len(found) > options.skip + options.top:
            return _token(shown[-1]) if shown else None
        return None if at is None else encode_cursor([at.device, 2**16])

    async def _counted(
        self, kind: str, options: Options, only: Station | None, metric: Metric | None
    ) -> int | None:
        if only is not None:
            return sum(_meets(item, options) for item in derived(kind, only))
        if kind not in ("Things", "Sensors") or options.filter is not None or self.newest_block:
            raise NotInSubset("$count", f"how many {kind} of all stations there are")
        count = await Reads(self.pool).device_count(MAX_COUNTED + 1)
        if count > MAX_COUNTED:
            raise NotInSubset("$count", f"how many {kind} there are beyond {MAX_COUNTED}")
        return count


def properties_page(options: Options) -> Page:
    """Of the vocabulary, by name."""
    (after,) = decode_cursor(options.cursor, (-1,), CURSOR) if options.cursor else (-1,)
    named = sorted(METRICS, key=lambda metric: metric.name)
    every = [Item("ObservedProperties", metric=metric) for metric in named]
    met = [(at, item) for at, item in enumerate(every) if _meets(item, options)]
    left = [pair for pair in met if pair[0] > _number(after)][options.skip :]
    shown = left[: options.top]
    more = encode_cursor([shown[-1][0]]) if shown and len(left) > len(shown) else None
    return Page([item for _, item in shown], more, len(met) if options.count else None)


async def _alone(station: Station) -> AsyncIterator[Station]:
    yield station


def _meets(item: Item, options: Options) -> bool:
    return options.filter is None or holds(options.filter, item.value)


def _code(item: Item) -> int:
    return 0 if item.metric is None else item.metric.code


def _token(item: Item) -> str:
    assert item.station is not None, "of these sets each has one"
    return encode_cursor([item.station.device, _code(item)])


def _bytes(value: int | bytes) -> bytes:
    assert isinstance(value, bytes), "decoded like the model"
    return value


def _number(value: int | bytes) -> int:
    assert isinstance(value, int), "decoded like the model"
    return value
