"""A node of an old chain, and processes that start on it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from support.fake_chain import FakeChain, fake_chain
from support.long_chain import LongBlocks
from support.processes import PATIENCE_S

from corechain.deployment import DeployedContract
from corechain.service.database import create_pool
from corechain.service.rpc import Questions, Rpc
from corechain_relayer.following import Follower
from corechain_relayer.journal.final_logs import FinalLogs
from corechain_relayer.keeping import KeptLogs
from corechain_relayer.metrics import Metrics
from corechain_relayer.registry.view import RegistryView
from relayer.test_relayer_following import REGISTRY, registered

OLD = 10_000_000
RANGE = 800_000
DEPTH = 8
HANDFUL = 10
FEW = 2
"""Logs at once, where they are thousands: to and from the database."""
PLACES = {900: 1, 1_000_000: 2, 4_000_001: 3, OLD - 300: 4, OLD - 20: 5}
"""Devices by the block of their registration."""
CONTRACT = DeployedContract("DeviceRegistry", REGISTRY, 1)


def blocks_of(height: int = OLD, places: dict[int, int] | None = None) -> LongBlocks:
    found = PLACES if places is None else places
    return LongBlocks(height, {at: [registered(n)] for at, n in found.items() if at <= height})


@dataclass
class OldChain:
    """A node of an old chain, and the database of who follows it."""

    chain: FakeChain
    blocks: LongBlocks
    pool: Any
    opened: list[Questions] = field(default_factory=list)

    def follower(
        self,
        rpc: Questions | None = None,
        chain_id: int = 31_337,
        contract: DeployedContract = CONTRACT,
        reads_on_s: float = 0.0,
    ) -> Follower[RegistryView]:
        """As a process that starts. Each piece is kept at once; by default nobody waits for one
        that was stopped."""
        rpc = rpc or Rpc(self.chain.url)
        self.opened.append(rpc)
        store = FinalLogs(self.pool, chain_id, contract, contract.name, reads_on_s, FEW)
        kept = KeptLogs(store, rpc, 0.0, FEW, PATIENCE_S)  # the machine may be loaded
        how = (contract, RegistryView, 1.0, RANGE, Metrics(), DEPTH, kept)
        return Follower(rpc, *how)

    async def started(self) -> tuple[RegistryView, int, list[int]]:
        """The view of a process that starts, the requests it made, and where its logs begin."""
        before, asked = self.requests, len(self.chain.asked("eth_getLogs"))
        follower = self.follower()
        await follower.refresh_since(0.0)
        queries = [query for (query,) in self.chain.asked("eth_getLogs")[asked:]]
        firsts = [int(q["fromBlock"], 16) for q in queries if "fromBlock" in q]
        return follower.view, self.requests - before, firsts

    @property
    def requests(self) -> int:
        return self.chain._asked[""]

    def is_whole(self, view: RegistryView) -> bool:
        expected = RegistryView()
        for at in sorted(self.blocks.happened):
            expected.apply(event for _, event in self.blocks.happened[at])
        return view == expected

    def at(self, follower: Follower[RegistryView]) -> int:
        """The block that a reading has come to, as its metric has it."""
        return int(follower.metrics.view_read_block.labels("DeviceRegistry")._value.get())

    async def kept(self) -> int | None:
        """The block up to which it is kept."""
        found: int | None = await self.pool.fetchval("select block from final_view")
        return found


@asynccontextmanager
async def old_chain(database: str, height: int = OLD) -> AsyncIterator[OldChain]:
    pool, blocks = create_pool(database), blocks_of(height)
    await pool
    await pool.execute("delete from final_view")
    with fake_chain(splits=False) as chain:
        chain.nodes = [blocks]  # type: ignore[list-item]
        world = OldChain(chain, blocks, pool)
        try:
            yield world
        finally:
            for rpc in world.opened:
                await rpc.close()
            await pool.close()
