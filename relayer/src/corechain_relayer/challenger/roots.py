"""Vetoes of wrong reward roots: each proposed root is recomputed from chain and data files."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from corechain.deployment import Deployment
from corechain.protocol.eip712 import uint_word
from corechain.protocol.events import RootProposed
from corechain.service.errors import FileWithheld
from corechain.service.files.download import Unfit
from corechain.service.files.fetch import FileSources
from corechain.service.rpc import Questions
from corechain_relayer.aggregator.files import data_path
from corechain_relayer.aggregator.position import Committed
from corechain_relayer.calldata import selector
from corechain_relayer.challenger.alerts import WRONG_ROOT, ChallengerAlerts
from corechain_relayer.challenger.calls import DisputesCalls
from corechain_relayer.challenger.opening import kept, opened
from corechain_relayer.challenger.store import NOTHING_SENT, ChallengerStore
from corechain_relayer.rewards.epochs import Ledger, RewardsNotReproducible
from corechain_relayer.rewards.history import History

log = structlog.get_logger(__name__)

VETO = selector("veto(uint32)")


def veto_call(epoch: int) -> bytes:
    return VETO + uint_word(epoch)


@dataclass(slots=True)
class RootWatch:
    """Level-triggered: each round asks for the root in its window. Never vetoes what it cannot
    recompute: a missing file is an alert, and no reason to stop rewards."""

    rpc: Questions
    deployment: Deployment
    range_blocks: int
    sources: FileSources
    folder: Path
    """Of all data files since the first epoch: a root depends on all of them."""
    calls: DisputesCalls
    """As the guardian asks."""
    store: ChallengerStore
    alerts: ChallengerAlerts
    work: asyncio.Event
    _right: set[tuple[int, bytes]] = field(default_factory=set)

    async def watch_forever(self, poll_s: float) -> None:
        while True:
            await self.round()
            await asyncio.sleep(poll_s)

    async def round(self) -> None:
        """Raises NodeUnavailable, NodeRefused, StoreUnavailable."""
        head = await self.rpc.head()
        history = History(self.rpc, self.deployment, self.range_blocks)
        epochs = await history.epochs(head.number)
        if not epochs or epochs[-1].active_at <= head.timestamp:
            self.alerts.keep(WRONG_ROOT, set())
        elif (epochs[-1].epoch, epochs[-1].root) not in self._right:
            batches = await history.batches(head.number)
            await self._judge(epochs[:-1], epochs[-1], batches, history)

    async def _judge(
        self,
        before: list[RootProposed],
        newest: RootProposed,
        batches: Mapping[int, Committed],
        history: History,
    ) -> None:
        name = f"epoch {newest.epoch}"
        ledger = Ledger(batches, self.folder, history.owners, self.deployment.rewards)
        try:
            await self._fetch(batches, newest.through_block)
            root = await ledger.root_of(before, newest)
        except (FileWithheld, RewardsNotReproducible) as error:
            text = f"{name}: its root cannot be recomputed, so it is not vetoed: {error}"
            self.alerts.say(WRONG_ROOT, name, text)
            self.alerts.looked(WRONG_ROOT)
            return
        if root == newest.root:
            self._right.add((newest.epoch, newest.root))
            self.alerts.keep(WRONG_ROOT, set())
            log.info("reward root is right", epoch=newest.epoch)
        else:
            await self._veto(newest, name)

    async def _veto(self, newest: RootProposed, name: str) -> None:
        call, target = veto_call(newest.epoch), self.deployment.address("CoreToken")
        said = await self.calls.said_to(call, target)
        what = f"the contract refuses its veto: {said}" if said else "it is vetoed"
        text = f"{name}: the root 0x{newest.root.hex()} is not that of the data; {what}"
        self.alerts.say(WRONG_ROOT, name, text)
        self.alerts.looked(WRONG_ROOT)
        if said:
            return
        purpose = f"veto:{newest.epoch}:{newest.root.hex()}"
        before = (await self.store.sent()).get(purpose, NOTHING_SENT)
        if await self.store.record(purpose, before, target, call):
            log.warning("recorded", purpose=purpose)
        self.work.set()

    async def _fetch(self, batches: Mapping[int, Committed], through: int) -> None:
        """Every file that the root depends on. Raises FileWithheld."""
        for batch, entry in sorted(batches.items()):
            if entry.block <= through and not data_path(self.folder, entry.commitment).exists():
                await self._fetch_one(batch, entry.commitment)

    async def _fetch_one(self, batch: int, commitment: bytes) -> None:
        async def judge(content: bytes) -> None:
            found = await asyncio.to_thread(opened, content, batch, commitment)
            if not found.fits:
                raise Unfit("its words do not hash to the commitment")
            await asyncio.to_thread(kept, self.folder, commitment, content)

        await self.sources.first_fit(commitment, judge)
