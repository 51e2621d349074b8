"""An index is a function of the chain, whatever happens to the process that builds it.

given an indexer that is killed (-9) at random points, on a chain that forks up to 200 blocks deep,
with nodes that lag, one of three that lies, and Postgres and Valkey killed or hanging in between
  └── in the end every row of every derived table is the one of an index that was built at once

`make torture-index KILLS=100` is the long run; `SEED` names one.
"""

import os
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

import pytest
from asyncpg import PostgresError
from support.fake_chain import FakeChain
from support.liar import LyingChain
from support.processes import until
from support.provider import Habits, serving

from corechain.chain import Chain
from corechain.devnet.postgres import PostgresServer
from corechain.devnet.servers import ValkeyServer
from corechain.protocol.errors import CoreChainError
from corechain_indexer.service import Indexer
from corechain_indexer.settings import Settings
from indexer.modelled import DEPLOYMENT, KEYS, Model
from indexer.support import World, driven, settings_of
from indexer.torture import CONFIRMATIONS, Process, Torture, asked_kills, derived, write_manifest

KILLS = 1
"""In `make test`: a start costs seconds of a busy machine. The first one meets everything."""


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(Chain("http://unused", DEPLOYMENT), tmp_path, keys=KEYS)


@pytest.fixture
def torture(world: World, tmp_path: Path) -> Iterator[Torture]:
    """With servers of its own, as they are killed."""
    seed = int(os.environ.get("SEED") or 11)
    with ExitStack() as stack:
        postgres = stack.enter_context(PostgresServer(tmp_path / "postgres"))
        valkey = stack.enter_context(ValkeyServer(tmp_path / "valkey"))
        chain = FakeChain("", Habits())
        nodes = [LyingChain("", Habits(), blocks=chain.blocks, silent=True) for _ in range(3)]
        for node in nodes:
            node.nodes = [list(chain.blocks)]
            stack.enter_context(serving(node))
        settings = {
            "INDEXER_RPC_URL": ",".join(node.url for node in nodes),
            "INDEXER_DEPLOYMENT": str(write_manifest(tmp_path / "31337.json")),
            "INDEXER_DATABASE_URL": postgres.create_database("tortured"),
            "INDEXER_REDIS_URL": valkey.url,
            "INDEXER_DATA_URLS": f"file://{tmp_path}/{{commitment}}.ccdf",
            "INDEXER_CONFIRMATIONS": str(CONFIRMATIONS),
            "INDEXER_LOG_RANGE_BLOCKS": "30",
            "INDEXER_POLL_S": "0.05",
            "INDEXER_RETRY_AFTER_S": "0.05",
            "INDEXER_HTTP_PORT": "0",
        }
        process = Process(settings, tmp_path / "indexer.log")
        stack.callback(process.kill)
        model = Model(chain, world, CONFIRMATIONS)
        yield Torture(chain, nodes, model, process, [postgres, valkey], random.Random(seed))


@asynccontextmanager
async def looking(settings: Settings) -> AsyncIterator[Indexer]:
    """The stores of an index that another process writes."""
    indexer = Indexer(settings, DEPLOYMENT)
    try:
        await indexer.pool
        yield indexer
    finally:
        await indexer.close()


async def newest(index: Indexer) -> dict[str, list[str]]:
    """The newest value of each metric of each device, as queries are answered."""
    found = {}
    for key in KEYS:
        device = key.identity.device
        values = await index.latest.of(device)
        found[device.hex()] = sorted(repr(value) for value in values)
    return found


async def test_killed_at_random_points_it_is_in_the_end_as_one_built_at_once(
    torture: Torture, world: World, database: str, bus_url: str
) -> None:
    torture.run(asked_kills(KILLS))
    options = {
        "rpc_url": torture.nodes[0].url, "confirmations": CONFIRMATIONS, "log_range_blocks": 50,
    }  # fmt: skip
    tortured = torture.process.settings["INDEXER_DATABASE_URL"]
    cache = torture.process.settings["INDEXER_REDIS_URL"]
    async with (
        driven(settings_of(world, database, bus_url, **options), world) as fresh,
        looking(settings_of(world, tortured, cache, **options)) as seen,
    ):
        await fresh.settle()
        expected = await derived(fresh.indexer) | await newest(fresh.indexer)

        async def is_equal() -> bool:
            try:
                return await derived(seen) | await newest(seen) == expected
            except (CoreChainError, PostgresError, OSError):
                return False  # its database may still recover, or have no tables yet

        try:
            await until(is_equal, pause_s=0.3)
        except TimeoutError:
            assert await derived(seen) | await newest(seen) == expected
    counts = f"{torture.kills} kills, {torture.outages} outages, {torture.lies} lying nodes"
    print(f"\n{counts}, reorgs of {torture.depths} blocks")
    assert len(expected["segment"]) > 0
