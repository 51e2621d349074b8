"""From a path and its options to the document of SensorThings: links, `$select`, `$expand`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import msgspec

from corechain.protocol.errors import NotFound
from corechain_indexer.api.sensorthings.entities import Item
from corechain_indexer.api.sensorthings.model import SETS, EntitySet
from corechain_indexer.api.sensorthings.observation_texts import SET, form_of, written
from corechain_indexer.api.sensorthings.options import RESULT_FORMAT, Options
from corechain_indexer.api.sensorthings.stations import CURSOR, Page
from corechain_indexer.errors import InvalidQuery, NotInSubset

if TYPE_CHECKING:
    from corechain_indexer.api.sensorthings.reader import Reader

MAX_LISTS = 500
"""Lists that `$expand` makes questions for: a page of a hundred stations with five."""
MAX_ITEMS = 20_000
"""Entities of one answer, on all levels: some 10 MB."""
SAFE = "$'(),;:@/"
COMPONENTS = ("id", "phenomenonTime", "resultTime", "result", "resultQuality", "parameters")


@dataclass(frozen=True, slots=True)
class _Shown:
    """What is shown of each entity of a list; of links, name and end of address. `properties`: None
    for all."""

    id: bool
    self_link: bool
    properties: Sequence[str] | None
    links: Sequence[tuple[str, str]]

    @classmethod
    def of(cls, kind: EntitySet, options: Options) -> "_Shown":
        chosen = options.select
        return cls(
            not chosen or "id" in chosen or "@iot.id" in chosen,
            options.shows("@iot.selfLink"),
            chosen or None,
            [
                (f"{name}@iot.navigationLink", f"/{name}")
                for name in kind.links
                if options.shows(name) and name not in options.expand
            ],
        )


@dataclass(slots=True)
class Writer:
    """`root`: the address of the service, without a slash at its end."""

    reader: "Reader"
    root: str
    kept: Mapping[str, str] = field(default_factory=dict)
    """Options of ours that hold for the next page, too."""
    lists: int = 0
    items: int = 0

    # ------------------------------------------------------------------ documents

    async def collection(self, address: str, kind: str, page: Page, options: Options) -> Any:
        """A page of a set as a document; its next link is to `address`."""
        found: dict[str, Any] = {}
        if page.count is not None:
            found["@iot.count"] = page.count
        if page.next is not None:
            found["@iot.nextLink"] = self._next(address, page.next, options)
        found["value"] = await self._listed(kind, page.items, options)
        return found

    async def entity(self, item: Item, options: Options) -> dict[str, Any]:
        return (await self._entities(item.set, [item], options))[0]

    def references(self, address: str, page: Page, options: Options) -> Any:
        found: dict[str, Any] = {"value": [self.reference(item) for item in page.items]}
        if page.next is not None:
            found["@iot.nextLink"] = self._next(f"{address}/$ref", page.next, options)
        return found

    def reference(self, item: Item) -> dict[str, str]:
        return {"@iot.selfLink": self._self_link(item)}

    async def data_array(self, address: str, page: Page, options: Options) -> Any:
        """Readings by columns, datastream by datastream (18-088, section 12)."""
        if options.expand:
            raise NotInSubset(RESULT_FORMAT, "dataArray with $expand")
        components = options.select or COMPONENTS
        if not set(components) <= {*COMPONENTS, "@iot.id"}:
            raise InvalidQuery("$select", "names what has no place in a dataArray")
        groups: dict[str, list[Any]] = {}
        for item in await self.reader.completed("Observations", page.items, options):
            told = {"id": item.id, "@iot.id": item.id, **item.properties()}
            link = self._self_link(item.one("Datastream"))
            groups.setdefault(link, []).append([told.get(name) for name in components])
        found: dict[str, Any] = {}
        if page.count is not None:
            found["@iot.count"] = page.count
        if page.next is not None:
            found["@iot.nextLink"] = self._next(address, page.next, options)
        found["value"] = [
            {
                "Datastream@iot.navigationLink": link,
                "components": list(components),
                "dataArray@iot.count": len(rows),
                "dataArray": rows,
            }
            for link, rows in groups.items()
        ]
        return found

    # ------------------------------------------------------------------ entities

    async def _listed(self, kind: str, items: Sequence[Item], options: Options) -> Any:
        """Of a page, each as `_entities` makes it."""
        if kind != SET or options.expand:
            return await self._entities(kind, items, options)
        self._count(items)
        shown = _Shown.of(SETS[kind], options)
        form = form_of(
            self.root,
            shown.properties,
            shown.links,
            has_id=shown.id,
            has_self_link=shown.self_link,
        )
        return written(items, await self.reader.batches_of(items, options), form)

    def _count(self, items: Sequence[Item]) -> None:
        self.items += len(items)
        if self.items > MAX_ITEMS:
            words = f"makes an answer of more than {MAX_ITEMS} entities: ask for a smaller $top"
            raise InvalidQuery("$expand", words)

    async def _entities(
        self, kind: str, items: Sequence[Item], options: Options
    ) -> list[dict[str, Any]]:
        self._count(items)
        completed = await self.reader.completed(kind, items, options)
        shown = _Shown.of(SETS[kind], options)
        # One loop without a question an entity, but for what is opened: a page has a thousand.
        found = [self._entity(item, shown) for item in completed]
        for name in options.expand:
            for document, item in zip(found, completed, strict=True):
                await self._expand(document, item, name, options.expand[name])
        return found

    def _entity(self, item: Item, shown: "_Shown") -> dict[str, Any]:
        id_text = item.id
        link = f"{self.root}/{item.set}('{id_text}')"
        found: dict[str, Any] = {}
        if shown.id:
            found["@iot.id"] = id_text
        if shown.self_link:
            found["@iot.selfLink"] = link
        told = item.properties()
        if shown.properties is None:
            found.update(told)
        else:
            found.update((name, told[name]) for name in shown.properties if name in told)
        for key, end in shown.links:
            found[key] = link + end
        return found

    async def _expand(self, found: dict[str, Any], item: Item, name: str, options: Options) -> None:
        if name in SETS[item.set].one:
            found[name] = await self.entity(item.one(name), options)
            return
        self.lists += 1
        if self.lists > MAX_LISTS:
            words = f"opens more than {MAX_LISTS} lists: ask for a smaller $top"
            raise InvalidQuery("$expand", words)
        kind = SETS[item.set].many[name]
        page = await self.reader.led_to(item, kind, options)
        if page.count is not None:
            found[f"{name}@iot.count"] = page.count
        found[name] = await self._listed(kind, page.items, options)
        if page.next is not None:
            address = f"{self._self_link(item)}/{name}"
            found[f"{name}@iot.nextLink"] = self._next(address, page.next, options)

    # ------------------------------------------------------------------ links

    def _self_link(self, item: Item) -> str:
        return f"{self.root}/{item.set}('{item.id}')"

    def _next(self, address: str, token: str, options: Options) -> str:
        said = {name: text for name, text in options.raw.items() if name not in ("$skip", CURSOR)}
        told = {**said, **self.kept, CURSOR: token}
        return f"{address}?{urlencode(told, safe=SAFE, quote_via=quote)}"


def property_of(item: Item, path: Sequence[str], *, is_value: bool) -> Any:
    """`{"name": …}`, or the value alone. Raises InvalidQuery, NotFound."""
    found: Any = {"id": item.id, **item.properties()}
    for name in path:
        if not isinstance(found, Mapping) or name not in found:
            raise NotFound(f"this entity has no property {'/'.join(path)[:80]}")
        found = found[name]
    if not is_value:
        return {path[-1]: found}
    if found is None:
        raise NotFound(f"the property {path[-1][:40]} is null: it has no value")
    return msgspec.Raw(found.encode() if isinstance(found, str) else msgspec.json.encode(found))
