"""Keeps a view of one contract's events up with the chain, through reorgs and node outages."""

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar, cast

import structlog

from corechain.deployment import DeployedContract
from corechain.protocol.events import Event, decode_log
from corechain.service.errors import NodeRefused, NodeUnavailable
from corechain.service.rpc import Block, Log, Rpc, logs_in_ranges
from corechain_relayer.metrics import Metrics

log = structlog.get_logger(__name__)

MIN_INTERVAL_S = 0.2
"""Strangers cannot make us ask the node more often than this."""
BEHIND_LIMIT_S = 5.0
"""Nodes behind one address differ for moments, not for so long."""


class View(Protocol):
    """A fold over events: what a follower's `fold` moves unless it is overridden."""

    def apply(self, events: Iterable[Event]) -> None: ...


V = TypeVar("V")


def events_of(logs: Iterable[Log]) -> list[Event]:
    """The events among some logs that are ours, in order."""
    decoded = (decode_log(list(entry.topics), entry.data) for entry in logs)
    return [event for event in decoded if event is not None]


@dataclass(slots=True)
class Follower(Generic[V]):
    """Polls the chain; `view` is always a whole state as of one block."""

    rpc: Rpc
    contract: DeployedContract
    new_view: Callable[[], V]
    poll_s: float
    range_blocks: int
    metrics: Metrics
    view: V = field(init=False)
    _seen: Block | None = None
    _asked_at: float = -1e9
    _behind_since: float | None = None
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    def __post_init__(self) -> None:
        self.view = self.new_view()

    @property
    def seen(self) -> Block | None:
        """The block as of which the view is; None before the first look."""
        return self._seen

    def fold(self, view: V, logs: Sequence[Log]) -> None:
        """Brings a view forward. A view that needs to know where a log stands has another fold."""
        cast(View, view).apply(events_of(logs))

    async def follow_forever(self) -> None:
        while True:
            await self.refresh_or_log()
            await asyncio.sleep(self.poll_s)

    async def refresh_or_log(self) -> None:
        """Makes the view as new as this moment; during an outage it stays as it is."""
        try:
            await self.refresh_since(time.monotonic())
        except (NodeUnavailable, NodeRefused) as error:
            log.warning("view not refreshed", contract=self.contract.name, error=str(error))

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
        if seen is not None and self._is_old(head, seen):
            return
        if seen is not None and not await self._extends(head, seen):
            log.warning(
                "view rebuilt after a reorg", contract=self.contract.name, block=seen.number
            )
            self.metrics.views_rebuilt.labels(self.contract.name).inc()
            seen = None
        await self._advance(seen, head)

    def _is_old(self, head: Block, seen: Block) -> bool:
        """Nothing new, or a node behind the one we asked before; a chain that stays shorter has
        been set back (a reorg, a development chain restarted from an older state)."""
        if head.number >= seen.number:
            self._behind_since = None
            return head.hash == seen.hash
        now = time.monotonic()
        self._behind_since = self._behind_since or now
        return now - self._behind_since < BEHIND_LIMIT_S

    async def _extends(self, head: Block, seen: Block) -> bool:
        if head.number < seen.number:
            return False
        if head.parent == seen.hash:
            return True
        block = await self.rpc.block(seen.number)
        return block is not None and block.hash == seen.hash

    async def _advance(self, seen: Block | None, head: Block) -> None:
        first = self.contract.block if seen is None else seen.number + 1
        logs = await logs_in_ranges(
            self.rpc, [self.contract.address], [], first, head.number, self.range_blocks
        )
        view = self.new_view() if seen is None else self.view
        self.fold(view, logs)
        self.view, self._seen = view, head
        self.metrics.view_block.labels(self.contract.name).set(head.number)
