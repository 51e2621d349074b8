"""Epochs, commitments and owners as the chain tells them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from corechain.deployment import Deployment
from corechain.protocol.events import Event, RootProposed, RootVetoed
from corechain.protocol.logs import decode_log
from corechain.protocol.reading import DeviceId
from corechain.protocol.rewards import Owner
from corechain.service.errors import NodeUnavailable
from corechain.service.rpc import Log, Questions, logs_in_ranges, to_hex
from corechain.service.words import LARGEST_BLOCK
from corechain_relayer.aggregator.position import Committed, committed_in
from corechain_relayer.following import all_told
from corechain_relayer.registry.view import RegistryView
from corechain_relayer.rewards.kept import VIEWS, KeptReading
from corechain_relayer.turns import in_turns


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


def around(logs: Iterable[Log], epoch: int) -> tuple[int, int]:
    """The blocks between which the proposal of an epoch must be that some logs do not tell of."""
    first, last = 0, LARGEST_BLOCK
    with all_told():
        for entry in logs:
            event = decode_log(list(entry.topics), entry.data)
            if isinstance(event, RootProposed) and event.epoch < epoch:
                first = entry.block_number
            elif isinstance(event, RootProposed) and event.epoch > epoch:
                last = min(last, entry.block_number)
    return first, last


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
        logs = await self.roots(0, head)
        epochs = told(logs)
        missing = left_out(epochs)
        # Perhaps when that block was read for good.
        if missing and await self.reread_roots(logs, missing):
            return await self.epochs(head)
        if missing:
            raise NodeUnavailable(f"the node left out the log of the root of epoch {missing}")
        return epochs

    async def roots(self, first: int, head: int) -> list[Log]:
        """Of proposals and vetoes, from a block on."""
        return await self._logs("CoreToken", first, head)

    async def reread_roots(self, logs: Sequence[Log], missing: int) -> bool:
        """Asks the node once more for the proposal of an epoch that some logs do not tell of: it is
        between those of the epochs before it and behind it. Whether there is one."""
        if self.kept is None:
            return False
        first, last = around(logs, missing)
        return bool(await self.kept.reread("CoreToken", first, min(last, self.newest)))

    async def reread_data(self, first: int, last: int) -> bool:
        """Asks the node once more for all that rewards of some blocks are made of; whether
        something was left out when it was read for good."""
        if self.kept is None:
            return False
        last = min(last, self.newest)
        return bool(
            await self.kept.reread("DataBatches", first, last)
            + await self.kept.reread("DeviceRegistry", first, last)
        )

    async def reread_owners(self, last: int) -> bool:
        """As `reread_data`, for all owners there were up to a block: on an old chain this takes
        long."""
        if self.kept is None:
            return False
        return bool(await self.kept.reread("DeviceRegistry", 0, min(last, self.newest)))

    async def batches(self, head: int) -> Mapping[int, Committed]:
        found: dict[int, Committed] = {}
        async for piece in in_turns(await self._logs("DataBatches", 0, head)):
            found |= committed_in(piece)
        return found

    async def owners(self, through_block: int) -> dict[DeviceId, Owner]:
        """Who owned which device at the end of a block."""
        # The contract takes any 64 bits from a proposer: nobody asks for logs of all these blocks.
        # Not up to what a node says now: one that is behind would leave out who has moved.
        last, view = min(through_block, self.newest), RegistryView()
        async for piece in in_turns(await self._logs("DeviceRegistry", 0, last)):
            with all_told():
                events = (decode_log(list(entry.topics), entry.data) for entry in piece)
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
