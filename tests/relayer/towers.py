"""A watchtower on real servers, in the test's own process, driven step by step."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from support.processes import PATIENCE_S

from corechain.service.database import create_pool, migrate, writer
from corechain_relayer.following import Follower
from corechain_relayer.journal.sql import migrations
from corechain_relayer.metrics import Metrics
from corechain_relayer.submitter.journal import IntentJournal
from corechain_relayer.submitter.node import Node
from corechain_relayer.submitter.plan import Policy
from corechain_relayer.submitter.service import Submitter
from corechain_relayer.submitter.signer import Signer
from corechain_relayer.watchtower.channels import ChannelsView
from corechain_relayer.watchtower.fleet import Fleet
from corechain_relayer.watchtower.service import QUEUE, Watchtower
from corechain_relayer.watchtower.standing import AnsweredChallenges
from corechain_relayer.watchtower.store import EvidenceStore
from relayer.channels import OpenChannel, versions
from relayer.lane import CountingRpc
from relayer.support import WATCHTOWER_KEY, Chain

CALM = Policy(5, 60, 0.0, 10**12, refused_pause_s=0.05, ordered=False, in_flight=64)
URGENT_CAP = 10**13


@dataclass
class TowerStand:
    """A tower and its submitter. `policy` while there is no hurry."""

    chain: Chain
    rpc: CountingRpc
    pool: Any
    tower: Watchtower
    submitter: Submitter
    policy: Policy = CALM

    async def hold(self, channels: Sequence[OpenChannel], version: int = 7) -> None:
        for at, channel in enumerate(channels):
            assert await self.tower.store.keep(channel.signed(version, at))

    async def look(self) -> None:
        await self.tower.follower.refresh_since(time.monotonic())
        await self.tower.round()

    async def turn(self) -> bool:
        """One round of both; whether the submitter did something."""
        await self.look()
        return await self.step()

    async def step(self) -> bool:
        self.submitter.policy = self.tower.pace.policy(self.policy, URGENT_CAP)
        self.submitter.node.max_fee = self.submitter.policy.max_fee
        return await self.submitter.step()

    async def until(self, wanted: Callable[[], Awaitable[bool] | bool]) -> None:
        """Rounds until it is so."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            said = wanted()
            if said if isinstance(said, bool) else await said:
                return
            assert time.monotonic() < deadline, f"not within {PATIENCE_S} s"
            if not await self.turn():
                await asyncio.sleep(0.02)

    async def until_answered(self, channels: Sequence[OpenChannel], version: int = 7) -> None:
        await self.until(lambda: set(versions(self.chain, channels)) == {version})

    def restart(self) -> None:
        """What a new process knows: journal and evidence."""
        old, tower = self.submitter, self.tower
        parts = (old.journal, old.node, old.signer, old.settled, self.policy, old.metrics)
        self.submitter = Submitter(*parts)
        fleet = Fleet(self.rpc, tower.contract, tower.fleet.address, tower.fleet.stagger_s)
        shared = (tower.contract, tower.metrics, tower.work, tower.again_s)
        self.tower = Watchtower(follower(self.chain, self.rpc), tower.store, fleet, *shared)

    def sent(self) -> int:
        """Transactions of the tower's key that are in blocks."""
        sender = "0x" + self.submitter.signer.address.hex()
        return int(self.chain.rpc("eth_getTransactionCount", sender, "latest"), 16)

    def in_pool(self) -> dict[int, dict[str, Any]]:
        """Transactions of the tower's key that wait for a block, by nonce."""
        content, sender = self.chain.rpc("txpool_content"), self.submitter.signer.address.hex()
        found = {**content["pending"], **content["queued"]}
        mine = [of for who, of in found.items() if who.lower() == "0x" + sender]
        return {int(nonce): tx for by_nonce in mine for nonce, tx in by_nonce.items()}


def follower(chain: Chain, rpc: CountingRpc) -> Follower[ChannelsView]:
    contract = chain.deployment.contracts["StateChannels"]
    new_view = partial(ChannelsView, chain.deployment.chain_id, contract.address)
    return Follower(rpc, contract, new_view, 0.1, 10_000, Metrics())


@asynccontextmanager
async def open_tower(
    chain: Chain, database: str, key: str = WATCHTOWER_KEY, stagger_s: float = 0.0
) -> AsyncIterator[TowerStand]:
    await migrate(database, migrations())
    rpc, pool, metrics = CountingRpc(chain.url), create_pool(database), Metrics()
    await pool
    signer, node = Signer.of(key, chain.deployment.chain_id), Node(rpc, 64, 10**12, 0)
    contract = chain.deployment.address("StateChannels")
    fleet = Fleet(rpc, contract, signer.address, stagger_s)
    shared = (contract, metrics, asyncio.Event(), 0.0)
    tower = Watchtower(follower(chain, rpc), EvidenceStore(pool), fleet, *shared)
    async with writer(database, signer.lock) as connection:
        journal = IntentJournal(connection, QUEUE)
        settled = AnsweredChallenges(node, chain.deployment)
        submitter = Submitter(journal, node, signer, settled, CALM, metrics)
        yield TowerStand(chain, rpc, pool, tower, submitter)
    await rpc.close()
    await pool.close()
