"""Demands whose deadline is over: the bond falls, or at least the fee comes back."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from corechain.service.rpc import Block
from corechain_relayer.challenger.calls import DisputesCalls
from corechain_relayer.guard.demands import OpenDemand


@dataclass(slots=True)
class Expiring:
    """Says whose an open demand is, and which are to be expired. Raises NodeUnavailable."""

    calls: DisputesCalls
    _mine: dict[tuple[bytes, int], bool] = field(default_factory=dict)
    """By demand and the block it was made in: what was answered can be demanded again under its id,
    by somebody else."""

    async def due(self, open_: Iterable[OpenDemand], head: Block) -> list[OpenDemand]:
        """Those of ours that nobody answered in time."""
        over = [demand for demand in open_ if head.timestamp > demand.deadline]
        return [demand for demand in over if await self._is_ours(demand)]

    async def _is_ours(self, demand: OpenDemand) -> bool:
        key = (demand.id, demand.block)
        if key not in self._mine:
            demander = await self.calls.demander(demand.id)
            if demander is None:  # by a node that has not seen the demand: it is asked again
                return False
            self._mine[key] = demander == self.calls.sender
        return self._mine[key]

    def forget(self) -> None:
        """A reorg may have changed all of it."""
        self._mine.clear()
