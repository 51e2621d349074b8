"""An index behind an address with several nodes, one of which tells the head and another the logs.

given nodes that are some blocks behind each other
  ├── at the end the index is that of somebody who asked the best node
  ├── nothing is rolled back, since nothing was undone
  └── the relayer's view of the registry is whole, too
"""

from typing import Any

import pytest
from support.balancer import balancer

from corechain.service.rpc import Rpc
from corechain_relayer.following import Follower
from corechain_relayer.metrics import Metrics
from corechain_relayer.registry.view import RegistryView
from indexer.support import NewDatabase, World, driven, settings_of

NODES: dict[str, dict[str, Any]] = {
    "the logs lag by two blocks": {"by_method": {"eth_getLogs": (2,)}},
    "the logs lag, and are silent about unknown blocks": {
        "by_method": {"eth_getLogs": (2,)}, "silent": True,
    },
    "each call of a batch goes to another node": {"lags": (0, 1, 2, 5), "silent": True},
    "each request goes to another node": {"lags": (0, 1, 2, 5), "splits": False},
    "fresh blocks are null now and then": {"by_method": {"eth_getBlockByNumber": (0, 0, 1, 3)}},
}  # fmt: skip


@pytest.mark.parametrize("name", NODES)
async def test_no_event_is_left_out_and_nothing_rolled_back(
    world: World, database: str, new_database: NewDatabase, bus_url: str, name: str
) -> None:
    with balancer(world.chain.rpc_url, **NODES[name]) as node:
        follower = Follower(
            Rpc(node.url), world.chain.deployment.contracts["DeviceRegistry"], RegistryView, 1.0,
            100, Metrics(),
        )  # fmt: skip
        async with driven(settings_of(world, database, bus_url, rpc_url=node.url), world) as index:
            for _ in range(4):
                world.register_more()
                world.add(hours=1)
                for _ in range(3):
                    await index.mirror.step()
                follower._asked_at = -1e9
                await follower.refresh_or_log()
            node.lags, node.by_method = (0,), {}
            follower._asked_at = -1e9
            await follower.refresh_since(0.0)
            await index.settle()
            assert index.metric("corechain_reorgs_total") == 0
            assert await index.indexer.pool.fetchval("select count(*) from event") > 0
            seen = await index.tables()
        await follower.rpc.close()
    async with driven(settings_of(world, await new_database(), bus_url), world) as best:
        await best.settle()
        assert await best.tables() == seen
        assert len(follower.view.devices) == len(seen["device_event"])
    assert follower.metrics.views_rebuilt.labels("DeviceRegistry")._value.get() == 0
