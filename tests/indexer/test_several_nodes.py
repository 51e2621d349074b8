"""An index over several nodes that must agree, one of which lies.

given three nodes, of which another one lies in another way each time
  ├── the index is that of somebody who asked the honest one
  └── the liar is counted and named by its number, never by its address
given settings that name several nodes
  └── a majority must agree unless another number is set; more than there are is refused
"""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from support.liar import DECEITS, Liar, liar
from support.processes import until

from corechain.service.errors import NodeUnavailable
from corechain.service.quorum import Quorum
from corechain.service.rpc import Rpc
from corechain.service.settings import InvalidSetting, load
from corechain_indexer.settings import Settings
from corechain_indexer.source import node_of
from indexer.support import Driven, NewDatabase, World, driven, settings_of

LIES = ("a log left out", "other data in a log", "another hash at a height", "a filter of zeros",
        "all is final", "a head of another branch")  # fmt: skip


@pytest.fixture
def nodes(anvil: str) -> Iterator[list[Liar]]:
    with ExitStack() as stack:
        yield [stack.enter_context(liar(anvil)) for _ in range(3)]


async def caught_up(index: Driven, head: int) -> bool:
    try:
        await index.settle()
    except NodeUnavailable:
        return False
    tip = await index.mirror.store.tip()
    return tip is not None and tip.number == head


async def test_the_index_is_the_one_of_the_honest_nodes(
    world: World,
    nodes: list[Liar],
    database: str,
    new_database: NewDatabase,
    bus_url: str,
) -> None:
    urls = ",".join(node.url for node in nodes)
    async with driven(settings_of(world, database, bus_url, rpc_url=urls), world) as index:
        assert isinstance(index.indexer.rpc, Quorum)
        for place, name in enumerate(LIES):
            nodes[place % 3].lie = DECEITS[name]
            world.register_more()
            world.add(hours=1)
            await until(lambda: caught_up(index, world.head))
            nodes[place % 3].lie = None
        seen = await index.tables()
        assert index.metric("corechain_reorgs_total") == 0
        nodes[1].body = b"nonsense"
        await until(lambda: named(index, world))
        warning = index.indexer.warnings()[-1]
        assert not any(node.url in warning or node.url[-5:] in warning for node in nodes)
    async with driven(settings_of(world, await new_database(), bus_url), world) as best:
        await until(lambda: caught_up(best, world.head))
        told = await best.tables()
    assert told == seen


async def named(index: Driven, world: World) -> bool:
    """Whether `/ready` and the metric name the second node, after one more look at all of them."""
    index.indexer.rpc.stir()
    await index.mirror.step()
    counted = index.metric("corechain_rpc_quarantined_total", node="2", reason="unavailable")
    return counted >= 1 and "node 2 of 3 is left out" in " ".join(index.indexer.warnings())


ENVIRONMENT = {
    "INDEXER_DEPLOYMENT": "unused.json",
    "INDEXER_DATABASE_URL": "postgresql://unused",
    "INDEXER_REDIS_URL": "redis://unused",
    "INDEXER_DATA_URLS": "",
}


def settings(urls: str, **more: str) -> Settings:
    return load(Settings, ENVIRONMENT | {"INDEXER_RPC_URL": urls} | more)


async def test_a_majority_must_agree_unless_another_number_is_set() -> None:
    one = settings("http://a")
    assert (one.node_urls, one.quorum) == (["http://a"], 1)
    for count, quorum in ((2, 2), (3, 2), (4, 3), (5, 3)):
        several = settings(" , ".join(f"https://node{n}" for n in range(count)))
        assert (len(several.node_urls), several.quorum) == (count, quorum)
    assert settings("http://a,http://b", INDEXER_RPC_QUORUM="1").quorum == 1
    rpc = node_of(one)
    assert isinstance(rpc, Rpc)
    await rpc.close()


def test_heads_are_listened_for_at_the_nodes_or_where_it_is_said() -> None:
    assert settings("http://a,http://b").head_urls == ["http://a", "http://b"]
    other = settings("http://a", INDEXER_WS_URL="ws://a:8546/path")
    assert other.head_urls == ["ws://a:8546/path"]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"INDEXER_RPC_URL": " , "}, "names no URL"),
        ({"INDEXER_RPC_URL": "http://a,ftp://b"}, "http or https://"),
        ({"INDEXER_RPC_URL": "http://a,http://a"}, "names a URL twice"),
        ({"INDEXER_RPC_QUORUM": "2"}, "RPC_QUORUM: is more than RPC_URL has nodes"),
        ({"INDEXER_RPC_URL": "http://a,http://[::b"}, "without a host"),
        ({"INDEXER_RPC_URL": "http://a:99999"}, "with a port that is none"),
        ({"INDEXER_WS_URL": "http://a"}, "ws or wss://"),
    ],
)
def test_nodes_that_cannot_agree_are_refused_at_start(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(InvalidSetting, match=why):
        load(Settings, ENVIRONMENT | {"INDEXER_RPC_URL": "http://a"} | changes)
