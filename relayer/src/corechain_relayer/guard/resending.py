"""Puts a demanded report on the bus again, as the gateway had done once."""

import asyncio
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

import structlog

from corechain.protocol.eip712 import Domain, report_digest
from corechain.protocol.errors import ProtocolError
from corechain.protocol.frame import columns_of
from corechain.protocol.keys import KeyType, verify
from corechain.service.supervision import stop_all
from corechain_relayer.bus.base import Bus
from corechain_relayer.bus.frame import FrameKeys, PackedFrame, Place, frame_of_columns
from corechain_relayer.guard.answers import Unanswerable
from corechain_relayer.guard.demands import OpenDemand
from corechain_relayer.journal.demanded import Batches, DemandedReports
from corechain_relayer.registry.follower import RegistryFollower

log = structlog.get_logger(__name__)

REPORT_KEY_BYTES, PUBLIC_KEY_BYTES = 28, 64
"""Device ‖ sequence; x ‖ y."""
AGAIN_S = 60.0
"""A report that is in no batch after so long is appended once more: it may have been lost again.
The aggregator drops what it has already."""
APPEND_S = 20.0
"""In so long the bus has to take it; the next round tries again."""


@dataclass(slots=True)
class Resender:
    """Of one lane. It opens the bus when there is something to send, and not before: a guard has a
    deadline, and all its other answers need no bus."""

    open_bus: Callable[[], Bus]
    place: Place
    keys: FrameKeys
    domain: Domain
    registry: RegistryFollower
    demanded: DemandedReports
    clock: Callable[[], float] = time.monotonic
    _sent_at: dict[bytes, float] = field(default_factory=dict)

    async def resend(self, demand: OpenDemand, searched: Batches) -> None:
        """Returns when the report is durable on the bus, or was so lately. `searched`: the batches
        that do not have it. Raises Unanswerable, StoreUnavailable, BusUnavailable, BusNotDurable,
        BusFull, BusRestarted."""
        now = self.clock()
        if now - self._sent_at.get(demand.id, float("-inf")) < AGAIN_S:
            return
        columns = columns_of(demand.report)
        key = self._require_good(demand)
        # First, so that the aggregator knows why it comes: it may be too low for anything else.
        await self.demanded.note(demand.id, demand.report[:REPORT_KEY_BYTES], key, searched)
        # Sealed after every check, as the gateway does it.
        frame = frame_of_columns(int(time.time() * 1000), columns, self.keys, self.place)
        await self._append(frame)
        self._sent_at[demand.id] = now
        log.warning("demanded report is on the bus again", **demand.fields())

    def _require_good(self, demand: OpenDemand) -> bytes | None:
        """Whoever opens the frame relies on its seal: the contract has looked at the signature, and
        so do we, by the key that our registry knows, or that the demand shows of an id that it
        knows. The key, where the aggregator may need it."""
        (signed,) = columns_of(demand.report).reports()
        shown = demand.who[:PUBLIC_KEY_BYTES]
        self.registry.introduce({signed.report.device: shown})
        try:
            identity = self.registry.view.identity(signed.report.device)
            verify(identity, report_digest(self.domain, signed.report), signed.signature)
        except ProtocolError as error:
            raise Unanswerable("not to be sealed", f"{error.name}: {error}") from error
        return identity.public_key if identity.key_type is KeyType.P256 else None

    async def _append(self, frame: PackedFrame) -> None:
        bus = self.open_bus()
        writing = asyncio.create_task(bus.write_forever())
        try:
            async with asyncio.timeout(APPEND_S):
                await bus.inspect()
                await bus.enter(self.place.lane)
                # Not limited: one report more than the bus would take costs less than the bond.
                await bus.append(self.place.lane, frame, limited=False)
        except TimeoutError:
            raise Unanswerable(
                "bus away", f"it did not take the report in {APPEND_S:g} s"
            ) from None
        finally:
            await stop_all([writing])
            await bus.close()

    def keep(self, open_demands: Collection[bytes]) -> None:
        """Forgets what is known of all other demands."""
        for demand_id in self._sent_at.keys() - set(open_demands):
            del self._sent_at[demand_id]
