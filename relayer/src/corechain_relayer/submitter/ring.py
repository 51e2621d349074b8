"""Says in time that a lane seals more batches than its ring takes (IDataBatches, `RingFull`).

The contract keeps 8,192 words a lane and overwrites none before its challenge window is over. A
lane that seals faster goes on for one lap, and then waits more and more behind its own batches.
"""

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from corechain.deployment import Deployment
from corechain.protocol.batch import RING_SIZE, batch_id
from corechain.service.database import asked
from corechain.service.errors import NodeUnavailable
from corechain.service.rpc import Questions
from corechain_relayer.calldata import selector
from corechain_relayer.journal.batches import NUMBER_MAX, lane_queue
from corechain_relayer.journal.sql import query
from corechain_relayer.metrics import Metrics

if TYPE_CHECKING:
    from corechain.service.database import Database

CHALLENGE_WINDOW = selector("challengeWindow()")
PACED_BATCHES = 1_024
"""The pace is that of so many batches: a burst is no pace, and a change of settings shows in hours,
long before a lap is over."""
LOOK_S = 60.0


@dataclass(slots=True)
class RingWatch:
    """Of one lane. `warning`: for `/ready`."""

    pool: "Database"
    rpc: Questions
    deployment: Deployment
    lane: int
    metrics: Metrics
    warning: str | None = None
    _window_s: int = field(default=0, init=False)

    async def watch_forever(self) -> None:
        """Raises StoreUnavailable, NodeUnavailable, NodeRefused."""
        while True:
            await self.look()
            await asyncio.sleep(LOOK_S)

    async def look(self) -> None:
        pace_s = await self._pace_s()
        shown = self.metrics.ring_load.labels(lane_queue(self.lane))
        if pace_s is None:
            # Not what it was: a lane that rests would be called overloaded for ever.
            self.warning = None
            shown.set(0.0)
            return
        lasting_s = await self._challenge_window_s() / RING_SIZE
        load = lasting_s / pace_s if pace_s > 0 else float("inf")
        shown.set(load)
        self.warning = self._sentence(pace_s, lasting_s) if load > 1 else None

    async def _pace_s(self) -> float | None:
        """Seconds between two batches; None before there are enough of them."""
        first, last = batch_id(self.lane, 0), batch_id(self.lane, NUMBER_MAX)
        seconds = await asked(self.pool.fetchval(query("lane_pace"), first, last, PACED_BATCHES))
        return None if seconds is None else float(seconds) / PACED_BATCHES

    async def _challenge_window_s(self) -> int:
        if not self._window_s:  # immutable in the contract
            word = await self.rpc.eth_call(self.deployment.address("DataBatches"), CHALLENGE_WINDOW)
            if len(word) != 32:
                raise NodeUnavailable(f"challengeWindow: {len(word)} bytes are no number")
            self._window_s = int.from_bytes(word, "big")
        return self._window_s

    def _sentence(self, pace_s: float, lasting_s: float) -> str:
        return (
            f"lane {self.lane} seals a batch every {pace_s:.1f} s, but its ring takes one every "
            f"{lasting_s:.1f} s for good: when it is full, commits wait (RingFull); raise "
            "RELAYER_MAX_AGE_S and RELAYER_MAX_READINGS or leave them to the chain (not set), or "
            "divide the devices into more lanes"
        )
