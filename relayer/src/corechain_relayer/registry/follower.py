"""Keeps a registry view up with the chain, through reorgs and node outages."""

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

import structlog

from corechain.deployment import DeployedContract
from corechain.protocol.events import Event, decode_log
from corechain.protocol.reading import DeviceId
from corechain_relayer.errors import NodeRefused, NodeUnavailable
from corechain_relayer.metrics import Metrics
from corechain_relayer.registry.view import RegistryView
from corechain_relayer.rpc import Block, Log, Rpc, logs_in_ranges

log = structlog.get_logger(__name__)

MIN_INTERVAL_S = 0.2
"""Strangers cannot make us ask the node more often than this."""


def _events(logs: Iterable[Log]) -> list[Event]:
    decoded = (decode_log(list(entry.topics), entry.data) for entry in logs)
    return [event for event in decoded if event is not None]


@dataclass(slots=True)
class RegistryFollower:
    """Polls the chain; `view` is always a whole state as of one block."""

    rpc: Rpc
    contract: DeployedContract
    poll_s: float
    range_blocks: int
    metrics: Metrics
    view: RegistryView = field(default_factory=RegistryView)
    _seen: Block | None = None
    _asked_at: float = -1e9
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def follow_forever(self) -> None:
        while True:
            await self._refresh_or_log()
            await asyncio.sleep(self.poll_s)

    async def _refresh_or_log(self) -> None:
        try:
            await self.refresh_since(time.monotonic())
        except (NodeUnavailable, NodeRefused) as error:
            log.warning("registry not refreshed", error=str(error))

    async def refresh_for(self, devices: Iterable[DeviceId]) -> None:
        """Asks the node once more when one of the devices is unknown; an outage changes nothing."""
        if self.view.unknown(devices):
            await self._refresh_or_log()

    async def refresh_since(self, moment: float) -> None:
        """Makes the view as new as `moment` (monotonic seconds) at least. Callers share it."""
        async with self._lock:
            if self._asked_at >= moment:
                return
            await asyncio.sleep(max(0.0, self._asked_at + MIN_INTERVAL_S - time.monotonic()))
            self._asked_at = time.monotonic()
            await self._refresh()

    async def _refresh(self) -> None:
        head = await self.rpc.head()
        seen = self._seen
        if seen is not None and (head.hash == seen.hash or head.number < seen.number):
            return  # nothing new, or a node behind the one we asked before
        if seen is not None and not await self._extends(head, seen):
            log.warning("registry view rebuilt after a reorg", block=seen.number)
            self.metrics.registry_rebuilds.inc()
            seen = None
        await self._advance(seen, head)

    async def _extends(self, head: Block, seen: Block) -> bool:
        if head.parent == seen.hash:
            return True
        block = await self.rpc.block(seen.number)
        return block is not None and block.hash == seen.hash

    async def _advance(self, seen: Block | None, head: Block) -> None:
        first = self.contract.block if seen is None else seen.number + 1
        logs = await logs_in_ranges(
            self.rpc, self.contract.address, [], first, head.number, self.range_blocks
        )
        view = RegistryView() if seen is None else self.view
        view.apply(_events(logs))
        self.view, self._seen = view, head
        self.metrics.devices.set(len(view.devices))
        self.metrics.registry_block.set(head.number)
