"""Demands whose deadline is over: the bond falls, or at least the fee comes back.

Anyone may expire a demand, and all of it goes to who made it: half of the bond, and the fee. So
ours are expired at once, and those of others only where an operator wants frauds punished at the
price of gas, after they had their time, and while we have no claim of our own to that bond. But
what we would have demanded ourselves ends in any case: a cheat that demands it of itself first, and
lets it lie, would keep its bond, and contracts pay by data of a bond that stands.
"""

from collections.abc import Collection, Iterable, Mapping, Set
from dataclasses import dataclass, field

from corechain.protocol.batch import lane_of
from corechain.service.rpc import Block
from corechain_relayer.challenger.calls import Asker, DisputesCalls
from corechain_relayer.guard.demands import OpenDemand

WANTED_AFTER_S = 600
"""So long after its deadline what we wanted too is left to who demanded it."""


@dataclass(slots=True)
class Expiring:
    """Says whose open demands are, and which are to be expired. Raises NodeUnavailable."""

    calls: DisputesCalls
    others_after_s: float = 0.0
    """0: those of others are left to them."""
    _askers: dict[tuple[bytes, int], Asker] = field(default_factory=dict)
    """By demand and the block it was made in: what was answered can be demanded again under its id,
    by somebody else."""
    _wanted: set[bytes] = field(default_factory=set)

    def want(self, number: bytes, open_: Collection[bytes]) -> bool:
        """Whether that is demanded already, by whomever: then we want it to have an end."""
        is_open = number in open_
        if is_open:
            self._wanted.add(number)
        return is_open

    async def due(
        self,
        open_: Iterable[OpenDemand],
        head: Block,
        bonds: Mapping[int, int],
        accused: Set[int],
    ) -> list[OpenDemand]:
        """Those that nobody answered in time. `bonds`: since when the bond of a lane answers.
        `accused`: lanes whose bond we may take for ourselves."""
        asked = [(demand, await self._asker(demand)) for demand in self._over(open_, head)]
        ours = [d for d, by in asked if by is not None and by.address == self.calls.sender]
        claimed = accused | {lane_of(demand.batch_id) for demand in ours}
        others = [
            demand
            for demand, by in asked
            # Under a bond that is gone there is nothing to punish: the fee is theirs to fetch.
            if by is not None and bonds.get(lane_of(demand.batch_id)) == by.since
            if demand not in ours and self._is_late(demand, head)
        ]
        return ours + [demand for demand in others if lane_of(demand.batch_id) not in claimed]

    def _is_late(self, demand: OpenDemand, head: Block) -> bool:
        """Of somebody else's."""
        late_s = head.timestamp - demand.deadline
        is_punished = bool(self.others_after_s) and late_s > self.others_after_s
        return is_punished or (demand.id in self._wanted and late_s > WANTED_AFTER_S)

    def _over(self, open_: Iterable[OpenDemand], head: Block) -> list[OpenDemand]:
        return [demand for demand in open_ if head.timestamp > demand.deadline]

    async def _asker(self, demand: OpenDemand) -> Asker | None:
        key = (demand.id, demand.block)
        found = self._askers.get(key) or await self.calls.asker(demand.id)
        if found is not None:  # else by a node that has not seen the demand: it is asked again
            self._askers[key] = found
        return found

    def forget(self) -> None:
        """A reorg may have changed all of it."""
        self._askers.clear()
