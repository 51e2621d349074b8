"""Lists of the clients against a real API: what a limit cuts off is said, and can be had.

given three verified batches
  ├── lists put together by their cursors are everything, once
  ├── batches after an id are those, however they are paged
  └── the newest come first, of all lanes, where that is asked for
given a device that has no reading: it is no station
given two state channels: all are listed, and those of a party
"""

import asyncio
from typing import Any, cast

import pytest
import pytest_asyncio
from support.http import Script, answers

from corechain import AsyncClient, Client, Deployment, InvalidValue, Page
from corechain.account import account_from_key
from corechain.devnet.settings import ADMIN_KEY
from corechain.http import LoopClients
from corechain_indexer.api.params import encode_cursor
from indexer.support import Driven, World, device_of, get


@pytest_asyncio.fixture
async def served(world: World, indexer: Driven) -> Driven:
    for _ in range(3):
        world.add(hours=2)
    await indexer.settle()
    return indexer


def client_of(world: World, served: Driven) -> AsyncClient:
    here = "http://indexer"
    made = AsyncClient(here, here, world.chain.rpc_url, world.chain.deployment)
    made.__dict__["_clients"] = LoopClients(served.api)
    return made


async def test_lists_put_together_by_their_cursors_are_everything_once(
    world: World, served: Driven
) -> None:
    device = cast("Any", device_of(world))
    async with client_of(world, served) as client:
        for ask in (
            client.batches,
            client.devices,
            lambda **page: client.readings(device=device, **page),
            lambda **page: client.rejections(1, **page),
        ):
            whole = await ask(limit=1000)
            assert whole.next_cursor is None
            found: list[Any] = []
            page: Page[Any] = await ask(limit=1)
            while page.next_cursor is not None:
                found += page
                page = await ask(limit=1, cursor=page.next_cursor)
            assert [*found, *page] == whole
            assert len(whole) > 1


async def test_batches_after_an_id_are_those_however_they_are_paged(
    world: World, served: Driven
) -> None:
    async with client_of(world, served) as client, served.api() as api:
        first = await client.batches(limit=1, after=1)
        assert [batch["batch_id"] for batch in first] == [2]
        rest = await client.batches(limit=5, after=1, cursor=first.next_cursor)
        assert [batch["batch_id"] for batch in rest] == [3]
        assert await client.batches(after=3) == []
        table = await api.get("/v1/batches?after=1&limit=1&format=csv")
        following = await api.get("/v1/batches" + table.links["next"]["url"])
        assert [text.splitlines()[1][0] for text in (table.text, following.text)] == ["2", "3"]
        whole = await api.get("/v1/batches?after=1&format=csv")
        assert len(whole.text.splitlines()) == 3
        await get(api, "/v1/batches", 400, after="x")


async def test_the_newest_batches_come_first_in_whatever_pages(
    world: World, served: Driven
) -> None:
    async with served.api() as api, client_of(world, served) as client:
        newest = await client.batches(2, newest_first=True, state="verified")
        assert [batch["batch_id"] for batch in newest] == [3, 2]
        for asked, expected in (
            ({}, [3, 2, 1]),
            ({"after": 1}, [3, 2]),
            ({"state": "verified"}, [3, 2, 1]),
            ({"state": "withheld"}, []),
        ):
            cursor: dict[str, Any] | None = {}
            found: list[int] = []
            while cursor is not None:
                page = await get(api, "/v1/batches", order="newest", limit=2, **asked, **cursor)
                found += [batch["batch_id"] for batch in page["items"]]
                cursor = {"cursor": page["next_cursor"]} if page["next_cursor"] else None
            assert found == expected
        oldest = await get(api, "/v1/batches", limit=1)
        # A place in the one order is none in the other.
        await get(api, "/v1/batches", 400, order="newest", cursor=oldest["next_cursor"])
        beyond = encode_cursor([2**63 - 1, 2**63 - 1])
        assert len((await get(api, "/v1/batches", order="newest", cursor=beyond))["items"]) == 3


async def test_stations_are_devices_with_readings_and_their_newest_values(
    world: World, served: Driven
) -> None:
    silent = world.register_more()
    await served.settle()
    async with served.api() as api:
        whole = await get(api, "/v1/stations", metric="pressure")
        devices = [key.identity.device for key in world.keys]
        assert [row["device"] for row in whole["items"]] == sorted("0x" + d.hex() for d in devices)
        assert silent.identity.device not in devices
        assert whole["metrics"] == [1, 4]
        for row in whole["items"]:
            latest = await get(api, "/v1/latest", device=row["device"])
            assert row["newest"] == latest["items"][1]
            assert row["cell"] == latest["items"][1]["cell"]
        found: list[Any] = []
        cursor: dict[str, Any] = {}
        for _ in range(3):  # devices; one of these pages has no station
            page = await get(api, "/v1/stations", metric="pressure", limit=1, **cursor)
            found += page["items"]
            cursor = {"cursor": page["next_cursor"]}
        assert (found, page["next_cursor"]) == (whole["items"], None)
        nothing = await get(api, "/v1/stations", metric="wind_speed")
        assert [row["newest"] for row in nothing["items"]] == [None, None]
    async with client_of(world, served) as client:
        stations = await client.stations("pressure")
        assert [each.device for each in stations] == sorted(devices)
        for each, row in zip(stations, whole["items"], strict=True):
            assert each.newest is not None
            assert each.newest.value == row["newest"]["value"] / 100
            assert f"{each.cell:015x}" == row["cell"]
            at = each.newest.batch_id, each.newest.position
            assert await client.reading(*at) == each.newest.reading
            owned = await client.device(each.device)
            assert (owned.revoked, owned.provenance) == (False, each.provenance)
        device = stations[0].device
        buckets = await client.series("pressure", device)
        parts = await client.series("pressure", device, limit=1)
        assert parts.next_start == buckets[1].start
        assert [*parts, *await client.series("pressure", device, parts.next_start)] == buckets
        assert sum(each.count for each in buckets) == len(
            await client.readings(device=device, metric="pressure")
        )
        assert all(each.min <= each.mean <= each.max for each in buckets)


async def test_state_channels_are_listed_with_both_parties(world: World, served: Driven) -> None:
    payer = account_from_key(ADMIN_KEY)
    parties = ["0x" + name * 20 for name in ("0a", "0b")]
    for party in parties:
        world.open_state_channel(party)
    await served.settle()
    async with served.api() as api:
        found = await get(api, "/v1/state-channels")
        assert sorted(each["party_b"] for each in found["items"]) == parties
        assert {each["state"] for each in found["items"]} == {"open"}
        assert {(each["deposit"], each["balance_a"]) for each in found["items"]} == {("150", "100")}
        first = await get(api, "/v1/state-channels", limit=1)
        rest = await get(api, "/v1/state-channels", cursor=first["next_cursor"])
        assert [*first["items"], *rest["items"]] == found["items"]
        for party, count in ((parties[1], 1), (payer.address, 2), ("0x" + "0c" * 20, 0)):
            listed = await get(api, "/v1/state-channels", party=party)
            assert len(listed["items"]) == count
            assert all(party.lower() in (x["party_a"], x["party_b"]) for x in listed["items"])
    async with client_of(world, served) as client:
        mine = await client.state_channels(parties[1])
        assert [each.terms.party_b for each in mine] == [bytes.fromhex(parties[1][2:])]
        assert (mine[0].deposit, mine[0].balance_a, mine[0].state) == (150, 100, "open")
        assert await client.find_channel(mine[0].channel_id) == mine[0]
        assert await client.payment_channels() == []
        assert (await client.network()).contracts == client.contracts.contracts


async def test_the_blocking_client_says_where_a_list_goes_on() -> None:
    script = Script(200, b'{"items":[{"batch_id":1,"device":"0x"}],"next_cursor":"there"}')
    with answers(script) as url, Client(url, url, url, Deployment(31337, {})) as client:
        for ask in (client.batches, client.devices):
            found = await asyncio.to_thread(ask, 1)
            assert (found, found.next_cursor) == ([{"batch_id": 1, "device": "0x"}], "there")


@pytest.mark.parametrize("wrong", [{"cursor": ""}, {"cursor": 7}, {"cursor": "é"}, {"after": "x"}])
def test_a_place_that_is_none_is_not_sent(wrong: dict[str, Any]) -> None:
    url = "http://127.0.0.1:1"
    with Client(url, url, url, Deployment(31337, {})) as client, pytest.raises(InvalidValue):
        client.batches(**wrong)
