"""Epochs, commitments and owners as the chain tells them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from corechain.deployment import Deployment
from corechain.protocol.events import Event, RootProposed, RootVetoed
from corechain.protocol.logs import decode_log, topic_of
from corechain.protocol.reading import DeviceId
from corechain.protocol.rewards import Owner
from corechain.service.rpc import Log, Questions, logs_in_ranges, to_hex
from corechain_relayer.aggregator.position import Committed, committed_batches
from corechain_relayer.following import all_told
from corechain_relayer.registry.view import RegistryView


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


@dataclass(frozen=True, slots=True)
class History:
    """Reads events up to a block. `newest`: the newest one that its reader has seen."""

    rpc: Questions
    deployment: Deployment
    range_blocks: int
    newest: int

    async def epochs(self, head: int) -> list[RootProposed]:
        """Raises NodeUnavailable, NodeRefused."""
        return told(await self.roots(0, head))

    async def roots(self, first: int, head: int) -> list[Log]:
        """Of proposals and vetoes, from a block on."""
        contract = self.deployment.contracts["CoreToken"]
        topics = [[to_hex(topic_of(kind)) for kind in (RootProposed, RootVetoed)]]
        return await logs_in_ranges(
            self.rpc,
            [contract.address],
            topics,
            max(first, contract.block),
            head,
            self.range_blocks,
        )

    async def batches(self, head: int) -> Mapping[int, Committed]:
        first = self.deployment.contracts["DataBatches"].block
        return await committed_batches(self.rpc, self.deployment, first, head, self.range_blocks)

    async def owners(self, through_block: int) -> dict[DeviceId, Owner]:
        """Who owned which device at the end of a block."""
        contract = self.deployment.contracts["DeviceRegistry"]
        # The contract takes any 64 bits from a proposer: nobody asks for logs of all these blocks.
        # Not up to what a node says now: one that is behind would leave out who has moved.
        last = min(through_block, self.newest)
        logs = await logs_in_ranges(
            self.rpc, [contract.address], [], contract.block, last, self.range_blocks
        )
        view = RegistryView()
        with all_told():
            events = (decode_log(list(entry.topics), entry.data) for entry in logs)
            view.apply(event for event in events if event is not None)
        return {device: Owner(known.owner) for device, known in view.devices.items()}
