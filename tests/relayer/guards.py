"""A guard on real servers, in the test's own process, driven step by step."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.processes import PATIENCE_S

from corechain.devnet.settings import GUARD_KEY
from corechain.protocol.evidence import Demand, Dossier, Evidence, position_of
from corechain.service.database import create_pool, migrate, writer
from corechain_relayer.guard.alerts import Alerts
from corechain_relayer.guard.chain import DisputesContract
from corechain_relayer.guard.parts import Parts, new_guard
from corechain_relayer.guard.service import Guard
from corechain_relayer.guard.standing import OpenDemands
from corechain_relayer.guard.store import QUEUE
from corechain_relayer.journal.sql import migrations
from corechain_relayer.metrics import Metrics
from corechain_relayer.registry.follower import RegistryFollower
from corechain_relayer.registry.view import RegistryView
from corechain_relayer.settings import PREFIX, Settings
from corechain_relayer.submitter.journal import IntentJournal
from corechain_relayer.submitter.node import Node
from corechain_relayer.submitter.plan import Policy
from corechain_relayer.submitter.service import Submitter
from corechain_relayer.submitter.signer import Signer
from relayer.channels import send_in_one_block
from relayer.demands import Challenger
from relayer.lane import CountingRpc
from relayer.support import ADMIN, Chain, settings_for

CALM = Policy(5, 60, 0.0, 10**12, refused_pause_s=0.05, ordered=False, in_flight=64)
URGENT_CAP = 10**13
DEMAND_GAS = 400_000
KINDS = (Demand.READING, Demand.SOURCE, Demand.STATISTICS)


class CountingPool:
    """A pool that counts its statements."""

    def __init__(self, pool: Any) -> None:
        self.pool, self.statements = pool, 0

    def __getattr__(self, name: str) -> Any:
        """What keeps the logs of final blocks does not count."""
        return getattr(self.pool, name)

    async def fetch(self, *words: Any) -> Any:
        self.statements += 1
        return await self.pool.fetch(*words)

    async def execute(self, *words: Any) -> Any:
        self.statements += 1
        return await self.pool.execute(*words)


@dataclass
class GuardStand:
    """A guard and its submitter. `policy` while there is no hurry."""

    chain: Chain
    rpc: CountingRpc
    pool: CountingPool
    parts: Parts
    guard: Guard
    submitter: Submitter
    policy: Policy = CALM
    urgent_cap: int = URGENT_CAP

    async def turn(self) -> bool:
        """One round of both; whether the submitter did something."""
        await self.guard.round()
        return await self.step()

    async def step(self) -> bool:
        self.submitter.policy = self.guard.pace.policy(self.policy, self.urgent_cap)
        self.submitter.node.max_fee = self.submitter.policy.max_fee
        return await self.submitter.step()

    async def until(self, wanted: Callable[[], bool], limit_s: float = PATIENCE_S) -> None:
        """Rounds until it is so."""
        deadline = time.monotonic() + limit_s
        while not wanted():
            assert time.monotonic() < deadline, f"not within {limit_s} s"
            if not await self.turn():
                await asyncio.sleep(0.02)

    async def until_answered(self, limit_s: float = PATIENCE_S) -> None:
        """No demand is open, and the guard knows it."""
        await self.guard.round()
        await self.until(lambda: not self.guard.follower.view.open, limit_s)

    async def restart(self) -> None:
        """What a new process knows: chain, journal and files."""
        old = self.submitter
        parts = (old.journal, old.node, old.signer, old.settled, self.policy, old.metrics)
        self.submitter = Submitter(*parts)
        self.guard = await new_guard(self.parts, self.guard.contract)


@asynccontextmanager
async def open_guard(
    chain: Chain, deployment: Path, database: str, folder: Path
) -> AsyncIterator[GuardStand]:
    """`folder` has `data`, with the data files."""
    await migrate(database, migrations())
    found = settings_for(chain.url, deployment, "redis://127.0.0.1:1/0", database, folder, "none")
    settings = Settings(**{k.removeprefix(PREFIX).lower(): v for k, v in found.items()})
    rpc, opened, metrics = CountingRpc(chain.url), create_pool(database), Metrics()
    await opened
    pool: Any = CountingPool(opened)
    registry = RegistryFollower(
        rpc,
        chain.deployment.contracts["DeviceRegistry"],
        RegistryView,
        settings.poll_s,
        settings.log_range_blocks,
        metrics,
        chain_id=chain.deployment.chain_id,
    )
    parts = Parts(settings, chain.deployment, rpc, pool, registry, metrics, Alerts(metrics))
    signer, node = Signer.of(GUARD_KEY, chain.deployment.chain_id), Node(rpc, 64, 10**12, 0)
    contract = DisputesContract(rpc, chain.deployment, signer.address)
    guard = await new_guard(parts, contract)
    async with writer(database, signer.lock) as connection:
        journal = IntentJournal(connection, QUEUE)
        submitter = Submitter(journal, node, signer, OpenDemands(contract), CALM, metrics)
        yield GuardStand(chain, rpc, pool, parts, guard, submitter)
    await rpc.close()
    await opened.close()


def demand_calls(chain: Chain, batches: Sequence[Dossier], number: int) -> list[bytes]:
    """So many different demands, of three kinds by turns, spread over the batches."""
    challenger = Challenger(chain)
    wanted = [
        (kind, batch, position)
        for position in range(max(len(batch.leaves) for batch in batches))
        for batch in batches
        for kind in KINDS
        if position < len(batch.leaves)
    ]
    assert len(wanted) >= number, f"the batches have only {len(wanted)} things to demand"
    return [challenger.call(k, b, _asking(k, b, at)) for k, b, at in wanted[:number]]


def _asking(kind: Demand, batch: Dossier, position: int) -> Evidence:
    if kind is Demand.SOURCE:
        return Evidence([batch.reading(position)], [batch.witness()])
    return position_of(position)


def demand_all(chain: Chain, calls: Sequence[bytes]) -> dict[str, Any]:
    """All in one block: the block."""
    return send_in_one_block(chain, "DataBatches", calls, ADMIN, DEMAND_GAS)
