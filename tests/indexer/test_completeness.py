"""While a contract or an event is taken up, no answer is made of what is there of it so far.

given an index by an older version, or of a smaller deployment, and queries of this one
  ├── what is made of the missing rows is refused as CatchingUp; all else is answered
  ├── `/v1/status` and `/ready`, which stays 200, say what is taken up and how far it is
  ├── when it is there the queries are answered, and nothing is asked any more
  ├── a crowd that asks meanwhile is one look
  └── also by a process that only answers, before any mirror of this version has run
given an index of before contracts were kept account of, and one more contract: that one comes too
given an index that is begun, or begun anew: nothing is missing
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import httpx
import pytest
from support.fake_chain import FakeChain

from corechain.chain import Chain
from corechain.deployment import Deployment
from corechain.protocol import events as e
from corechain.service.database import create_pool, migrate
from corechain_indexer.api import completeness
from corechain_indexer.api.routes import ENDPOINTS
from corechain_indexer.following import Role
from corechain_indexer.kinds import CONTRACT_OF_TABLE, KINDS
from corechain_indexer.maintenance import forget_everything
from corechain_indexer.settings import Settings
from corechain_indexer.store import MIGRATIONS
from indexer.modelled import DEPLOYMENT, Model
from indexer.support import Driven, World, driven
from indexer.test_decoding import (  # noqa: F401 (fixtures)
    begun,
    chain,
    fresh,
    happen,
    model,
    older,
    settings,
    small_ranges,
)

if TYPE_CHECKING:
    from corechain.service.database import Database

CHANNELS, DEVICES = "/v1/channels", "/v1/devices"
LATE = "PaymentChannels"


@pytest.fixture(autouse=True)
def look_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(completeness, "LOOK_S", 0.0)


def smaller(world: World) -> World:
    """The same world to somebody whose manifest lacks a contract."""
    rest = {name: found for name, found in DEPLOYMENT.contracts.items() if name != LATE}
    return replace(world, chain=Chain("http://unused", Deployment(DEPLOYMENT.chain_id, rest)))


@asynccontextmanager
async def asked(index: Driven, *roles: Role) -> AsyncIterator[httpx.AsyncClient]:
    app = index.indexer.api(roles=roles or tuple(Role)).app(queries=True)
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://indexer") as api:
        yield api


async def refusal(api: httpx.AsyncClient, path: str) -> str:
    answer = await api.get(path)
    assert answer.status_code == 503, answer.text
    assert answer.headers["retry-after"] == "1"
    assert answer.json()["type"] == "urn:corechain:error:CatchingUp"
    return str(answer.json()["detail"])


@pytest.fixture
async def late(
    begun: Model,  # noqa: F811
    settings: Settings,  # noqa: F811
) -> AsyncIterator[Driven]:
    """An index that has all but one contract, by a process that knows of it."""
    async with driven(settings, smaller(begun.world)) as index:
        await index.settle()
    happen(begun, 20, 8)  # the ones before are final by now: they are stored step by step
    async with driven(settings, begun.world) as index:
        yield index


async def test_a_contract_that_is_taken_up_is_in_no_answer(late: Driven) -> None:
    async with asked(late) as api:
        assert "block 0 of" in await refusal(api, CHANNELS)
        for _ in range(2):
            assert await late.mirror.step()
        (gap,) = (await api.get("/v1/status")).json()["catching_up"]
        assert gap["contract"] == LATE
        assert gap["event"] is None
        assert gap["from"] == 1
        ready = await api.get("/ready")
        assert ready.json()["catching_up"] == [{k: v for k, v in gap.items() if k != "event"}]
        assert (await api.get(DEVICES)).json()["items"]
        await refusal(api, CHANNELS)
        await late.settle()
        assert len((await api.get(CHANNELS)).json()["items"]) == 2
        assert (await api.get("/v1/status")).json()["catching_up"] == []
        assert "catching_up" not in (await api.get("/ready")).json()


async def test_an_event_that_is_taken_up_is_in_no_answer(
    begun: Model,  # noqa: F811
    settings: Settings,  # noqa: F811
) -> None:
    with older(e.DeviceTransferred):
        async with driven(settings, begun.world) as index:
            await index.settle()
    async with driven(settings, begun.world) as index, asked(index, Role.API) as api:
        assert "DeviceTransferred" in await refusal(api, DEVICES)
        assert (await api.get(CHANNELS)).status_code == 200
        (gap,) = (await api.get("/v1/status")).json()["catching_up"]
        assert (gap["event"], gap["contract"], gap["at"]) == ("DeviceTransferred", None, 0)
        await index.settle()
        assert (await api.get(DEVICES)).json()["items"]
        assert (await api.get("/v1/status")).json()["catching_up"] == []


async def test_a_complete_index_is_asked_once(
    begun: Model,  # noqa: F811
    settings: Settings,  # noqa: F811
) -> None:
    async with driven(settings, begun.world) as index:
        await index.settle()
        complete = index.indexer.completeness
        await complete.require(["batch"])
        assert complete._complete == {"primary"}
        await index.indexer.pool.execute("delete from source")
        await complete.require(["batch"])


async def test_a_crowd_that_asks_an_incomplete_index_is_one_look(database: str) -> None:
    questions = 0

    class Counted:
        async def fetchrow(self, *arguments: Any) -> Any:
            nonlocal questions
            questions += 1
            return await pool.fetchrow(*arguments)

    await migrate(database, MIGRATIONS)
    async with create_pool(database) as pool:
        await pool.execute("truncate block cascade")
        looked_at = completeness.Completeness(cast("Database", Counted()), DEPLOYMENT.contracts)
        leaving, *staying = (asyncio.create_task(looked_at.gaps()) for _ in range(20))
        await asyncio.sleep(0)
        leaving.cancel()
        assert await asyncio.gather(*staying) == [()] * 19
        assert questions == 1
        assert await looked_at.gaps() == ()
        assert questions == 2  # it cannot say yet, and so is asked again


async def test_an_index_that_is_begun_lacks_nothing(
    begun: Model,  # noqa: F811
    settings: Settings,  # noqa: F811
) -> None:
    async with driven(settings, begun.world) as index, asked(index) as api:
        assert (await api.get(DEVICES)).json()["items"] == []
        assert index.indexer.completeness._complete == set()
        await index.settle()
        assert (await api.get(DEVICES)).json()["items"]
    await forget_everything(settings)
    async with driven(settings, begun.world) as index, asked(index) as api:
        assert (await api.get(DEVICES)).json()["items"] == []
        await index.mirror.step()
        assert (await api.get("/v1/status")).json()["catching_up"] == []


async def test_an_old_index_takes_up_what_came_with_the_new_version(
    begun: Model,  # noqa: F811
    settings: Settings,  # noqa: F811
    chain: FakeChain,  # noqa: F811
) -> None:
    """It kept no account of its contracts, and one more is in the manifest at the same time."""
    async with AsyncExitStack() as stack:
        index = await stack.enter_async_context(driven(settings, smaller(begun.world)))
        await index.settle()
        await index.indexer.pool.execute("delete from source")
        assert not (await index.tables())["payment_channel"]
    async with driven(settings, begun.world) as index:
        await index.settle()
        found = await index.tables()
        assert found["payment_channel"]
        assert found == await fresh(index)


def test_every_path_names_tables_that_are_mirrored() -> None:
    tables = {made.table for made in KINDS.values()}
    assert tables == set(CONTRACT_OF_TABLE)
    for endpoint in ENDPOINTS:
        assert tables.issuperset(endpoint.reads), endpoint.path
        # What these two tell of was not mirrored: the index itself, and its manifest.
        assert endpoint.reads or endpoint.name in ("status", "network", "sensorthings")
