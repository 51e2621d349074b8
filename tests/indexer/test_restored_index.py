"""An index that is older than its chain.

given a dump of an index (pg_dump), after which the chain went on and forked
  when it is restored (pg_restore) and mirrors on
    its tables are those of an index that was never away
given an index that was restored, or has lost commits
  when its mirror begins
    no label of an answer from before stands: numbers of changes are given out again
(a book of vouchers that is older than the chain: test_payments)
"""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.fake_chain import FakeChain, fake_chain
from support.processes import PATIENCE_S

from corechain.chain import Chain
from corechain.devnet.postgres import PostgresServer
from corechain.service.database import connect
from corechain_indexer.following import Follower
from indexer.modelled import DEPLOYMENT, KEYS, Model
from indexer.support import World, driven, settings_of
from indexer.test_any_order import CONFIRMATIONS
from indexer.test_decoding import happen


@pytest.fixture
def chain() -> Iterator[FakeChain]:
    with fake_chain(1, blooms=True) as running:
        yield running


@pytest.fixture
def model(chain: FakeChain, tmp_path: Path) -> Model:
    world = World(Chain("http://unused", DEPLOYMENT), tmp_path, keys=KEYS)
    return Model(chain, world, CONFIRMATIONS)


async def test_a_restored_index_becomes_what_one_is_that_was_never_away(
    model: Model,
    database: str,
    empty_database: str,
    bus_url: str,
    postgres_server: PostgresServer,
    tmp_path: Path,
) -> None:
    nodes = {"rpc_url": model.chain.url, "confirmations": CONFIRMATIONS, "log_range_blocks": 50}
    happen(model, 0, 5)
    steady = settings_of(model.world, database, bus_url, **nodes)
    async with driven(steady, model.world) as index:
        await index.settle()
        # In custom format, by the servers' own tools, as docs/operators/backup.md says.
        dump = str(postgres_server.directory / f"{tmp_path.name}.dump")
        tool = postgres_server._tool
        await asyncio.to_thread(tool, "pg_dump", "--format=custom", f"--file={dump}", database)
        before = await index.tables()
        happen(model, 5, 2)
        await index.settle()
        model.chain.cut(model.chain.blocks[-1].number - 4)  # also of blocks that the dump has
        happen(model, 20, 6)
        await index.settle()
        wanted = await index.tables()
    restored = settings_of(model.world, empty_database, bus_url, **nodes)
    options = "--exit-on-error", f"--dbname={empty_database}"
    await asyncio.to_thread(tool, "pg_restore", *options, dump)
    async with driven(restored, model.world) as index:
        assert await index.tables() == before
        await index.settle()
        assert await index.tables() == wanted
        assert wanted != before


async def test_no_label_from_before_stands_when_a_mirror_begins(
    model: Model, tables: str, bus_url: str
) -> None:
    settings = settings_of(model.world, tables, bus_url, rpc_url=model.chain.url)
    connection = await connect(tables)
    life = await connection.fetchval("select life from change")
    follower = Follower(settings, DEPLOYMENT)
    follower.begin()
    try:
        async with asyncio.timeout(PATIENCE_S):
            while await connection.fetchval("select life from change") == life:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
    finally:
        await follower.close()
        await connection.close()
