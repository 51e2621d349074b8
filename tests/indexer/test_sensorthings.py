"""SensorThings over a real index, and by its stock client, frost-sta-client, over a socket.

given stations with readings
  ├── the stock client reads stations, datastreams and observations, page after page
  ├── every link of every entity leads somewhere, and ids say what they name
  ├── next links show everything once while new data comes, forward and backward
  ├── a reorg takes readings away, and the next link of before goes on
  ├── what a filter, an order, a count and a dataArray say is what the readings are
  ├── a page of readings asks Postgres what ours asks, and once for the batches
  ├── an observation is proven by its parameters
  └── what is hostile, or not of our part, is refused by its name, and counted
"""

import asyncio
import io
from collections.abc import AsyncIterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import frost_sta_client as fsc
import httpx
import pytest
import pytest_asyncio

from corechain_indexer.api.sensorthings import observations, stations
from corechain_indexer.api.sensorthings.model import SETS
from corechain_indexer.api.sensorthings.options import Options
from corechain_indexer.api.sensorthings.paths import ROOT, resource_of
from corechain_indexer.api.sensorthings.reader import Reader
from corechain_indexer.api.trees import TreeCache
from corechain_indexer.store import SQL
from corechain_indexer.store.archive import NO_ARCHIVE
from corechain_indexer.store.page_groups import Pages
from corechain_indexer.store.pages import PageOf
from indexer.asked import AskedPool
from indexer.support import CELL, Driven, World, device_of, get
from indexer.test_openapi_conformance import serving

HERE = f"http://indexer{ROOT}"
NEWEST_FIRST = "phenomenonTime desc"


class Counted(AskedPool):
    """With the other questions of a pool."""

    async def fetchrow(self, query: str, *arguments: Any) -> Any:
        self.asked.append(query)
        return await self.pool.fetchrow(query, *arguments)


@pytest_asyncio.fixture
async def api(served: Driven) -> AsyncIterator[httpx.AsyncClient]:
    async with served.api() as client:
        yield client


def stream(world: World, metric: str = "air_temperature") -> str:
    return f"{ROOT}/Datastreams('{device_of(world)}:{metric}')"


async def followed(api: httpx.AsyncClient, link: str) -> Any:
    """As `get`, which would leave out the link's own options."""
    response = await api.get(link)
    assert response.status_code == 200, response.text
    return response.json()


async def walked(api: httpx.AsyncClient, path: str, **options: Any) -> list[Any]:
    """All pages."""
    page = await get(api, path, **{f"${name}": value for name, value in options.items()})
    found = page["value"]
    while link := page.get("@iot.nextLink"):
        page = await followed(api, link)
        found += page["value"]
    return list(found)


def shown_by_the_docs(url: str) -> list[str]:
    """What the program that docs/sensorthings.md begins with prints."""
    page = (Path(__file__).parents[2] / "docs" / "sensorthings.md").read_text()
    program = page.split("```python\n")[1].split("```")[0]
    told = io.StringIO()
    with redirect_stdout(told):
        exec(program.replace("http://127.0.0.1:8702", url), {})
    return told.getvalue().splitlines()


def read(url: str) -> list[tuple[str, str, str, list[tuple[str, float]]]]:
    """As a user of the stock client does it."""
    service, told = fsc.SensorThingsService(url), []
    for thing in service.things().query().list():
        place = thing.get_locations().query().list().get(0)
        for datastream in thing.get_datastreams().query().list():
            query = datastream.get_observations().query().top(5).orderby("phenomenonTime", "ASC")
            items = [(item.phenomenon_time, item.result) for item in query.list()]
            told.append((thing.id, place.name, datastream.unit_of_measurement.symbol, items))
    found = service.observations().find(service.observations().query().top(1).list().get(0).id)
    assert found.parameters["batch"] == 1
    assert service.things().find(told[0][0]).name == told[0][0]
    with pytest.raises(Exception, match="405"):
        service.create(fsc.Thing(name="new", description="none"))
    return told


@pytest.mark.filterwarnings("ignore:furl.pathstr is deprecated")
async def test_the_stock_client_reads_stations_and_observations(
    world: World, served: Driven
) -> None:
    async with serving(served) as url:
        told = await asyncio.to_thread(read, f"{url}{ROOT}")
        lines = await asyncio.to_thread(shown_by_the_docs, url)
    assert len(lines) == 4 * 3
    of = f"{device_of(world)} air_temperature of {device_of(world)}"
    assert f"{of} 2013-02-03T03:00:00Z 0.33 °C" in lines
    devices = sorted("0x" + key.identity.device.hex() for key in world.keys)
    assert [row[0] for row in told] == [devices[0]] * 2 + [devices[1]] * 2
    assert {row[1] for row in told} == {f"{CELL:015x}"}
    assert {row[2] for row in told} == {"°C", "hPa"}
    (temperatures,) = (r[3] for r in told if r[0] == device_of(world) and r[2] == "°C")
    assert temperatures[:2] == [("2013-02-01T00:00:00Z", 0.1), ("2013-02-01T01:00:00Z", 0.11)]
    assert [len(row[3]) for row in told] == [12] * 4


async def test_every_link_leads_somewhere(api: httpx.AsyncClient) -> None:
    root = await get(api, ROOT)
    assert [one["name"] for one in root["value"]] == list(SETS)
    assert root == await get(api, f"{ROOT}/")
    open_links = [one["url"] for one in root["value"]]
    seen: set[str] = set()
    while open_links:
        link = open_links.pop(0)
        if link in seen or len(seen) > 40:
            continue
        seen.add(link)
        document = await followed(api, link)
        for entity in document.get("value", [document])[:1]:
            if "@iot.id" in entity:
                again = await followed(api, entity["@iot.selfLink"])
                assert again["@iot.id"] == entity["@iot.id"]
                open_links += [v for k, v in entity.items() if k.endswith("@iot.navigationLink")]
    assert {link.removeprefix(HERE).split("(")[0] for link in seen} >= {f"/{name}" for name in SETS}


async def test_next_links_show_everything_once_while_data_comes(
    world: World, served: Driven, api: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(observations, "FIRST_WINDOW_S", 900)  # narrow, and wide, and narrow
    path = stream(world) + "/Observations"
    whole = await walked(api, path)
    assert [one["result"] for one in whole] == [
        (10 * batch + hour) / 100 for batch in (1, 2, 3) for hour in range(4)
    ]
    for options in ({}, {"orderby": NEWEST_FIRST}, {"orderby": "phenomenonTime asc,id"}):
        for top in (1, 5):
            page = await get(api, path, **{"$top": top, **{f"${k}": v for k, v in options.items()}})
            found = page["value"]
            if top == 5 and "orderby" in options:
                world.add(hours=1)
                await served.settle()
            while link := page.get("@iot.nextLink"):
                page = await followed(api, link)
                found += page["value"]
            ids = [one["@iot.id"] for one in found]
            assert len(ids) == len(set(ids))
            before = [one["@iot.id"] for one in whole]
            assert [i for i in ids if i in before] == (
                before[::-1] if options.get("orderby") == NEWEST_FIRST else before
            )
    skipped = await walked(api, path, top=4, skip=3)
    assert [one["@iot.id"] for one in skipped][:9] == [one["@iot.id"] for one in whole][3:]
    every = await walked(api, f"{ROOT}/Observations", top=7)
    assert len({one["@iot.id"] for one in every}) == len(every) == 2 * 2 * (12 + 2)
    for name in ("Things", "Datastreams", "Locations", "Sensors", "ObservedProperties"):
        one_by_one = await walked(api, f"{ROOT}/{name}", top=1)
        assert one_by_one == await walked(api, f"{ROOT}/{name}")
    assert len(await walked(api, f"{ROOT}/ObservedProperties('pressure')/Datastreams", top=1)) == 2


async def test_a_reorg_takes_readings_away_and_next_links_go_on(
    world: World, served: Driven, api: httpx.AsyncClient
) -> None:
    path, options = stream(world) + "/Observations", {"$orderby": NEWEST_FIRST, "$top": 3}
    before = [one["@iot.id"] for one in await walked(api, path, orderby=NEWEST_FIRST)]
    fork = world.fork_here()
    world.add(hours=4)
    await served.settle()
    page = await get(api, path, **options)
    gone = page["value"][0]
    assert gone["result"] == 0.43
    fork.return_to()
    world.add(hours=1)
    world.rpc("anvil_mine", "0x3")  # the branch that is longer is the chain
    await served.settle()
    await get(api, f"{ROOT}/Observations('{gone['@iot.id']}')", 404)
    newest = await get(api, path, **options)
    assert [one["result"] for one in newest["value"]] == [0.4, 0.33, 0.32]
    assert newest["value"][0]["parameters"]["transaction"] != gone["parameters"]["transaction"]
    rest, link = list[str](), page["@iot.nextLink"]
    while link is not None:
        following = await followed(api, link)
        rest += [one["@iot.id"] for one in following["value"]]
        link = following.get("@iot.nextLink")
    assert rest[-len(before) :] == before
    assert len(rest) == len(set(rest)) == len(before) + 1
    told = await get(api, stream(world))
    assert told["phenomenonTime"].endswith("/" + newest["value"][0]["phenomenonTime"])


async def test_what_is_asked_for_is_what_is_there(world: World, api: httpx.AsyncClient) -> None:
    path, device = stream(world) + "/Observations", device_of(world)

    async def results(text: str, **more: Any) -> list[float]:
        return [one["result"] for one in await walked(api, path, filter=text, **more)]

    day = "phenomenonTime ge 2013-02-02T00:00:00Z and phenomenonTime lt 2013-02-03T00:00:00Z"
    assert await results(day) == [0.2, 0.21, 0.22, 0.23]
    assert await results(f"({day}) and result gt 0.21", orderby=NEWEST_FIRST) == [0.23, 0.22]
    assert await results("result lt 0.11 or result gt 0.32", top=1) == [0.1, 0.33]
    assert await results(f"Datastream/Thing/name eq '{device}' and result lt 0.11") == [0.1]
    assert await results("phenomenonTime gt 2013-02-02T00:00:00Z and result lt 0") == []
    assert (await get(api, path, **{"$filter": day, "$count": "true"}))["@iot.count"] == 4
    pin = f"Datastream/id eq '{device}:air_temperature'"
    page = await get(api, f"{ROOT}/Observations", **{"$filter": pin, "$count": "true"}, status=400)
    assert page["type"].endswith("NotInSubset")
    assert len(await walked(api, f"{ROOT}/Observations", filter=pin, top=5)) == 12
    counts = {"Things": 2, "Sensors": 2, "ObservedProperties": 13, "Observations": 48}
    for name, count in counts.items():
        page = await get(api, f"{ROOT}/{name}", **{"$count": "true", "$top": 0})
        assert (page["@iot.count"], page["value"]) == (count, [])
    square = "POLYGON((-180 -80, 180 -80, 180 80, -180 80, -180 -80))"
    text = f"st_within(location, geography'{square}') and startswith(name,'{CELL:x}')"
    assert len(await walked(api, f"{ROOT}/Locations", filter=text)) == 2
    columns = await get(api, path, **{"$resultFormat": "dataArray", "$select": "result,id",
                                      "$top": 2})  # fmt: skip
    (only,) = columns["value"]
    assert only["components"] == ["result", "id"]
    assert (only["dataArray"], only["dataArray@iot.count"]) == ([[0.1, "1:4"], [0.11, "1:5"]], 2)
    assert "resultFormat=dataArray" in columns["@iot.nextLink"]
    final = await get(api, path, finality="pending", **{"$top": 1})
    assert "finality=pending" in final["@iot.nextLink"]
    assert (await get(api, f"{path}('1:0')", as_of=1, status=404))["status"] == 404


async def test_stations_come_with_their_newest_values_for_no_question_each(
    world: World, served: Driven, api: httpx.AsyncClient
) -> None:
    inner = f"Observations($top=1;$orderby={NEWEST_FIRST};$select=result,@iot.id)"
    expand = f"Locations($select=location),Datastreams($select=name,phenomenonTime;$expand={inner})"
    page = await get(api, f"{ROOT}/Things", **{"$select": "name", "$expand": expand})
    (thing,) = (one for one in page["value"] if one["name"] == device_of(world))
    assert set(thing) == {"name", "Locations", "Datastreams"}
    longitude, latitude = thing["Locations"][0]["location"]["coordinates"]
    assert -180 <= longitude <= 180
    assert -90 <= latitude <= 90
    first = thing["Datastreams"][0]
    assert first["phenomenonTime"] == "2013-02-01T00:00:00Z/2013-02-03T03:00:00Z"
    assert [one["result"] for one in first["Observations"]] == [0.33]
    rest = await followed(api, first["Observations@iot.nextLink"])
    assert rest["value"][0]["result"] == 0.32
    entity = await get(api, stream(world), **{"$expand": "Thing,ObservedProperty"})
    assert entity["unitOfMeasurement"]["definition"].endswith("#Cel")
    assert entity["ObservedProperty"]["definition"].endswith("/air_temperature/")
    assert entity["Thing"]["@iot.id"] == device_of(world)
    references = await get(api, f"{ROOT}/Things/$ref")
    assert [set(one) for one in references["value"]] == [{"@iot.selfLink"}] * 2
    assert await get(api, f"{stream(world)}/Thing/$ref") in references["value"]
    assert await get(api, f"{ROOT}/Observations('1:4')/result") == {"result": 0.1}
    bare = await api.get(
        f"{stream(world)}/Observations('1:4')/Datastream/unitOfMeasurement/symbol/$value"
    )
    assert (bare.text, bare.headers["content-type"]) == ("°C", "text/plain; charset=utf-8")
    await get(api, f"{ROOT}/Observations('1:0')/resultTime/$value", 404)
    # What proves it is named by its id and its parameters.
    page = await get(api, stream(world) + "/Observations", **{"$top": 1})
    (told,) = page["value"]
    batch, leaf = told["parameters"]["batch"], told["parameters"]["leaf"]
    assert told["@iot.id"] == f"{batch}:{leaf}"
    proof = await get(api, f"/v1/batches/{batch}/readings/{leaf}/proof")
    assert proof["readings_root"] == told["parameters"]["readings_root"]
    assert proof["commitment"] == told["parameters"]["commitment"]
    assert told["resultQuality"]["name"] == "pass"
    # Of a list it is written as text, alone as a document.
    for chosen in ("", "result", "resultTime", "id,parameters", "resultQuality,Datastream,@iot.id"):
        select = {"$select": chosen} if chosen else {}
        page = await get(api, stream(world) + "/Observations", **select)
        for one, place in zip(page["value"], range(4), strict=False):
            alone = await get(api, f"{ROOT}/Observations('{batch}:{leaf + place}')", **select)
            assert list(one.items()) == list(alone.items())
    twice = await api.get(stream(world) + "/Observations", params={"$select": "result,result"})
    assert twice.text.count('"result"') == len(twice.json()["value"])


async def test_a_page_asks_what_our_own_asks_and_once_for_its_batches(
    world: World, served: Driven
) -> None:
    counted = Counted(served.indexer.pool)
    pool: Any = counted
    pages = Pages(pool)
    reader = Reader(pool, TreeCache(pool, 0), pages, NO_ARCHIVE, None)
    stream_ = await reader.at(resource_of(stream(world).removeprefix(f"{ROOT}/")).steps)
    device = world.keys[0].identity.device
    await pages.rows(PageOf(device, 1, 0, 2**40), 1_001)
    counted.asked.clear()
    await pages.rows(PageOf(device, 1, 0, 2**40), 1_001)
    own = list(counted.asked)
    counted.asked.clear()
    every = Options(top=1_000)
    page = await reader.led_to(stream_, "Observations", every)
    assert len(await reader.completed("Observations", page.items, every)) == 12
    assert counted.asked == [*own, SQL["headers_of"]]
    counted.asked.clear()
    newest = Options(top=1, by_time=True, newest_first=True)
    assert len((await reader.led_to(stream_, "Observations", newest)).items) == 1
    assert counted.asked == [], "it came with its station"
    things = await reader.every("Things", Options())
    assert (len(things.items), len(counted.asked)) == (2, 2)


async def test_what_is_hostile_or_unknown_is_refused_by_its_name(
    world: World, served: Driven, api: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = "Datastreams/Thing/" * 60 + "Datastreams"
    observed = stream(world) + "/Observations"
    before = await served.tables()
    for path, options, status in (
        (f"{ROOT}/Things", {"$expand": deep}, 400),
        (f"{ROOT}/Things", {"$top": "-5"}, 400),
        (f"{ROOT}/Things", {"$filter": "name eq '' or 1=1; drop table batch --"}, 400),
        (f"{ROOT}/Things", {"$filter": "Datastreams/name eq 'x'"}, 400),
        (f"{ROOT}/Things", {"$filter": "nonsense eq 'x'"}, 400),
        (f"{ROOT}/Things", {"limit": "3"}, 400),
        (f"{ROOT}/Things", {"$skiptoken": "e30="}, 400),
        (f"{ROOT}/Things", {"$resultFormat": "dataArray"}, 400),
        (f"{ROOT}/Things('{device_of(world)}')", {"$top": "1"}, 400),
        (f"{ROOT}/Things('0x{'00' * 20}')", {}, 404),
        (f"{ROOT}/Things('{device_of(world)}')/Datastreams('0x{'11' * 20}:co2')", {}, 404),
        (f"{ROOT}/Datastreams('{device_of(world)}:co2')/Observations", {}, 404),
        (f"{ROOT}/Observations('99:0')", {}, 404),
        (f"{ROOT}/Observations('1:99999')", {}, 404),
        (f"{ROOT}/Observations", {"$orderby": NEWEST_FIRST}, 400),
        (f"{ROOT}/Datastreams", {"$count": "true"}, 400),
        (observed, {"$filter": "parameters/batch eq 1"}, 400),
        (observed, {"$resultFormat": "csv"}, 400),
        (observed, {"$skiptoken": "WyIiLC0xLC0xLC0xLC0xXQ=="}, 400),
        (observed, {"$top": "10", "$apply": "x"}, 400),
    ):  # fmt: skip
        answer = await api.get(path, params=options)
        assert answer.status_code == status, (path, options, answer.text)
        assert answer.headers["content-type"] == "application/problem+json"
    for method in ("POST", "PATCH", "PUT", "DELETE"):
        refused = await api.request(method, f"{ROOT}/Things", json={"name": "x"})
        assert (refused.status_code, refused.headers["allow"]) == (405, "GET, HEAD, OPTIONS")
    assert served.metric("corechain_requests_refused_total", reason="NotInSubset") >= 6
    assert await served.tables() == before
    page = await get(api, observed, **{"$top": "100000000"})
    assert len(page["value"]) == 12
    strange = await api.get(f"{ROOT}/Things", headers={"host": 'x"><script>'})
    assert strange.json()["value"][0]["@iot.selfLink"].startswith(f"{ROOT}/Things(")
    odd = await api.get(f"{ROOT}/Things", headers={"host": "[::::]"})
    assert odd.status_code == 200, "a host that urllib refuses is no fault of ours"
    monkeypatch.setattr(observations, "MAX_SCANNED", 4)
    monkeypatch.setattr(observations, "MAX_LIMIT", 2)
    assert (
        "phenomenonTime" in (await get(api, observed, 400, **{"$filter": "result gt 9"}))["detail"]
    )
    found = await walked(api, observed, filter="result gt 0.1")
    assert len(found) == 11, "a page that was cut short goes on"
    monkeypatch.setattr(observations, "MAX_WALKED", 1)
    await get(api, f"{ROOT}/Observations", 400)
    monkeypatch.setattr(stations, "MAX_IN_VAIN", 1)
    await get(api, f"{ROOT}/Things", 400, **{"$filter": "name eq 'x'"})
