"""Answers demands for reports of receipts: what is in a batch is shown, what is lost comes again.

The log of the demand holds the whole report, so a relayer that lost it (an older backup, a dead
letter, a stolen gateway key) puts it on the bus, waits for its batch, and answers with that; and so
it does where the batch has left the ring. Every step is found again from chain, journal and files:
nothing is remembered but what was looked at.
"""

from bisect import bisect_left
from collections.abc import AsyncIterator, Collection
from contextlib import suppress
from dataclasses import dataclass

from corechain.protocol.errors import TransportError
from corechain.protocol.evidence import Demand, Evidence
from corechain.protocol.keys import KeyType
from corechain.protocol.reading import DeviceId
from corechain_relayer.guard.answers import BatchData, Unanswerable
from corechain_relayer.guard.buried import BuriedBatches
from corechain_relayer.guard.demands import OpenDemand
from corechain_relayer.guard.finding import ReportFinder
from corechain_relayer.guard.library import Library
from corechain_relayer.guard.resending import Resender

NOT_IN_A_BATCH, NOT_COMMITTED = "not in a batch", "not committed"
FILES_MISSING = "data files missing"
"""Reasons of alerts."""


@dataclass(frozen=True, slots=True)
class ReceiptAnswers:
    """Of one lane. Without a `resender` it only says what could be done (`relayer demands`)."""

    finder: ReportFinder
    library: Library
    buried: BuriedBatches
    resender: Resender | None = None

    async def look(self, demands: Collection[OpenDemand]) -> None:
        """For all that receipts promised among some demands, at once."""
        wanted = [demand for demand in demands if demand.kind == Demand.RECEIPT]
        if not wanted:
            return
        # An outage ends the look at each of them, where it is said of each.
        with suppress(TransportError):
            await self.finder.find_all(wanted)

    def place_of(self, demand: OpenDemand) -> bytes:
        """Demands with the same place need the same data file, as far as is known."""
        if demand.kind != Demand.RECEIPT:
            return demand.commitment
        return b"receipt:" + (self.finder.batch_of(demand) or b"")

    async def candidates(self, demand: OpenDemand) -> AsyncIterator[Evidence]:
        """What may answer: the report in a batch; nothing at all, which the contract takes where
        the device is revoked or the admin has closed the lane. Raises Unanswerable where neither is
        taken yet, TransportError."""
        commitment = await self.finder.find(demand)
        while commitment is not None:
            yield inclusion(demand, await self.library.batch(commitment))
            if not await self.buried.has(commitment, demand):
                break
            commitment = await self.finder.find_beside(demand, commitment)
        yield Evidence()
        if commitment is not None:
            name = f"0x{commitment.hex()}"
            raise Unanswerable(NOT_COMMITTED, f"its batch {name} is not in the ring, or not yet")
        look = self.finder.last_look(demand)
        missing = await self.buried.beside(look.missing)
        if missing:
            detail = f"{len(missing)} data files of batches that may have it are missing"
            raise Unanswerable(FILES_MISSING, f"{detail}: put them back from a backup")
        if self.resender is None:
            raise Unanswerable(NOT_IN_A_BATCH, "the guard puts it on the bus again")
        await self.resender.resend(demand, look.searched)
        raise Unanswerable(NOT_IN_A_BATCH, "it was lost; it is on the bus again")

    def keep(self, open_demands: Collection[bytes]) -> None:
        """Forgets what is known of all other demands: they are closed."""
        self.finder.keep(open_demands)
        if self.resender is not None:
            self.resender.keep(open_demands)


def inclusion(demand: OpenDemand, data: BatchData) -> Evidence:
    """The report of this device and sequence in its batch, whatever its content. Raises
    Unanswerable."""
    key = demand.report[:28]
    reports = data.dossier.reports
    position = bisect_left(reports, key)  # in a batch they ascend by device and sequence
    if position == len(reports) or reports[position][:28] != key:
        raise Unanswerable("broken data file", "the batch has no report of this sequence")
    found = data.written.identities.get(DeviceId(key[:20]))
    on_p256 = found is not None and found.key_type is KeyType.P256
    public_key = found.public_key if found is not None and on_p256 else None
    return data.dossier.inclusion(position, None, public_key)
