"""Epochs, commitments and owners as the chain tells them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from corechain.deployment import Deployment
from corechain.protocol.events import Event, RootProposed, RootVetoed
from corechain.protocol.logs import decode_log
from corechain.protocol.reading import DeviceId
from corechain.protocol.rewards import Owner
from corechain.service.errors import NodeUnavailable
from corechain.service.rpc import Log, Questions, logs_in_ranges, to_hex
from corechain_relayer.aggregator.position import Committed, committed_in
from corechain_relayer.following import all_told
from corechain_relayer.registry.view import RegistryView
from corechain_relayer.rewards.kept import VIEWS, KeptReading


def told(logs: Iterable[Log]) -> list[RootProposed]:
    """The standing epochs that logs tell of. Raises NodeUnavailable."""
    with all_told():
        return standing([decode_log(list(entry.topics), entry.data) for entry in logs])


def standing(events: Iterable[Event | None]) -> list[RootProposed]:
    """Epochs that were proposed and not vetoed, ascending."""
    epochs: dict[int, RootProposed] = {}
    for event in events:
        if isinstance(event, RootProposed):
            epochs[event.epoch] = event
        elif isinstance(event, RootVetoed):
            epochs.pop(event.epoch, None)
    return [epochs[number] for number in sorted(epochs)]


def left_out(epochs: Sequence[RootProposed]) -> int:
    """The first epoch that a node has left out, 0 where all are there: the contract takes none but
    the next (`isNotNext` in RewardRoots.sol). Without it those after it come out wrong."""
    return next((n for n, one in enumerate(epochs, 1) if one.epoch != n), 0)


@dataclass(frozen=True, slots=True)
class History:
    """Reads events up to a block. `newest`: the newest one that its reader has seen."""

    rpc: Questions
    deployment: Deployment
    range_blocks: int
    newest: int
    kept: KeptReading | None = None
    """Who reads what is final once; None: the node is asked for all of it."""

    async def epochs(self, head: int) -> list[RootProposed]:
        """Raises NodeUnavailable, NodeRefused."""
        epochs = told(await self.roots(0, head))
        missing = left_out(epochs)
        if missing and self.kept is not None:  # perhaps when that block was read for good
            await self.kept.forget()
            return await replace(self, kept=None).epochs(head)
        if missing:
            raise NodeUnavailable(f"the node left out the log of the root of epoch {missing}")
        return epochs

    async def roots(self, first: int, head: int) -> list[Log]:
        """Of proposals and vetoes, from a block on."""
        return await self._logs("CoreToken", first, head)

    async def batches(self, head: int) -> Mapping[int, Committed]:
        return committed_in(await self._logs("DataBatches", 0, head))

    async def owners(self, through_block: int) -> dict[DeviceId, Owner]:
        """Who owned which device at the end of a block."""
        # The contract takes any 64 bits from a proposer: nobody asks for logs of all these blocks.
        # Not up to what a node says now: one that is behind would leave out who has moved.
        last = min(through_block, self.newest)
        logs, view = await self._logs("DeviceRegistry", 0, last), RegistryView()
        with all_told():
            events = (decode_log(list(entry.topics), entry.data) for entry in logs)
            view.apply(event for event in events if event is not None)
        return {device: Owner(known.owner) for device, known in view.devices.items()}

    async def _logs(self, name: str, first: int, last: int) -> list[Log]:
        """Those of a contract that are in `VIEWS`."""
        contract, (_, kinds) = self.deployment.contracts[name], VIEWS[name]
        first = max(first, contract.block)
        if self.kept is not None:
            return await self.kept.logs(name, first, last)
        topics = [[to_hex(kind) for kind in kinds]] if kinds else []
        where = (first, last, self.range_blocks)
        return await logs_in_ranges(self.rpc, [contract.address], topics, *where)
