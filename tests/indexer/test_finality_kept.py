"""An index does not take blocks for final because the node failed to say which are.

given an index whose node named its final block
  ├── when it refuses once: status and marks stay, /ready warns, an ordinary reorg is followed
  └── the same when the refusal is the first answer after a restart, until a rebuild
"""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from support.fake_chain import NO_TAG, FakeChain, fake_chain

from corechain.chain import Chain
from corechain_indexer.settings import Settings
from indexer.modelled import DEPLOYMENT, KEYS
from indexer.support import Driven, World, driven, settings_of

LIMIT = {"code": -32005, "message": "limit exceeded"}


@pytest.fixture
def chain() -> Iterator[FakeChain]:
    with fake_chain(1, final=4) as running:
        yield running


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(Chain("http://unused", DEPLOYMENT), tmp_path, keys=KEYS)


@pytest.fixture
def settings(chain: FakeChain, world: World, database: str, bus_url: str) -> Settings:
    return settings_of(world, database, bus_url, rpc_url=chain.url, confirmations=3)


@pytest_asyncio.fixture
async def index(settings: Settings, world: World) -> AsyncIterator[Driven]:
    async with driven(settings, world) as running:
        yield running


async def grown(chain: FakeChain, index: Driven, blocks: int) -> int:
    """The final block after so many more."""
    for _ in range(blocks):
        chain.mine()
    chain.catch_up()
    while await index.mirror.step():
        pass
    newest = await index.indexer.pool.fetchval("select max(number) from block")
    assert newest == chain.blocks[-1].number
    final: int = await index.indexer.pool.fetchval("select final from chain_mark")
    return final


async def follows_a_reorg(chain: FakeChain, index: Driven) -> None:
    chain.cut(chain.blocks[-1].number - 6)
    assert await grown(chain, index, 8) == 4


async def test_one_refusal_makes_nothing_final(chain: FakeChain, index: Driven) -> None:
    assert await grown(chain, index, 12) == 4
    chain.final = LIMIT
    assert await grown(chain, index, 1) == 4
    assert any("no final block" in warning for warning in index.indexer.warnings())
    assert index.metric("corechain_answers_incomplete_total", reason="final") > 0
    chain.final = 4
    assert await grown(chain, index, 1) == 4
    assert index.indexer.warnings() == []
    await follows_a_reorg(chain, index)


@pytest.mark.parametrize("error", [LIMIT, NO_TAG])
async def test_that_a_node_has_the_tag_is_known_after_a_restart(
    chain: FakeChain, settings: Settings, world: World, error: dict[str, object]
) -> None:
    async with driven(settings, world) as index:
        assert await grown(chain, index, 12) == 4
    chain.final = dict(error)
    async with driven(settings, world) as index:
        assert await grown(chain, index, 1) == 4
        await follows_a_reorg(chain, index)


async def test_a_rebuilt_index_learns_anew_whether_the_node_has_the_tag(
    chain: FakeChain, index: Driven
) -> None:
    await grown(chain, index, 12)
    assert await index.mirror.store.is_tagged()
    await index.mirror.store.roll_back(-1)
    assert not await index.mirror.store.is_tagged()
    chain.final = dict(NO_TAG)
    index.mirror._joining = None  # a new session of the same process
    assert await grown(chain, index, 1) == chain.blocks[-1].number - 3
