"""Signs the receipts of a frame: one tree and one signature a lane, a proof for each request.

Nothing here happens for frames in which nobody asked.
"""

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from corechain.implementation import is_native
from corechain.protocol.frame import Columns
from corechain.protocol.reading import DeviceId
from corechain.protocol.receipt_spans import span_nodes
from corechain.service.workers import Workers
from corechain_relayer.gateway.intake import Fault
from corechain_relayer.metrics import Metrics
from corechain_relayer.receipts.keeper import Keeper, Terms
from corechain_relayer.receipts.signer import ReceiptSigner
from corechain_relayer.receipts.wish import Entry, Wish, is_delivered

INLINE_REPORTS = 2_000 if is_native() else 200
"""Above this many the tree is made in a thread: half a millisecond of the event loop. A step in a
thread costs as much CPU as 400 reports do natively."""
UNSETTLED_DEVICE = "RegistrationNotFinal"
LONG_AGO = "CommittedLongAgo"
Divided = Callable[[Columns, Sequence[int]], Mapping[int, Sequence[int]]]
"""Reports of a frame by the place of their lane."""


@dataclass(frozen=True, slots=True)
class Asking:
    """A request that asks, and where its reports are in the frame."""

    wish: Wish
    start: int
    end: int

    def note(self, indexes: Sequence[int], **outcome: object) -> None:
        """What became of those of these reports of the frame that are ours. `indexes` ascend."""
        low, high = bisect_left(indexes, self.start), bisect_left(indexes, self.end)
        if low == high:
            return
        first, last = indexes[low] - self.start, indexes[high - 1] - self.start
        ours: Sequence[int] = range(first, last + 1)
        if len(ours) != high - low:
            ours = [index - self.start for index in indexes[low:high]]
        self.wish.entries.append(Entry(ours, **outcome))  # type: ignore[arg-type]


@dataclass(slots=True)
class ReceiptDesk:
    """A gateway's. `unsettled`: of some devices those whose registration may still be undone."""

    keeper: Keeper
    unsettled: Callable[[Sequence[DeviceId]], set[DeviceId]]
    signer: ReceiptSigner
    workers: Workers
    metrics: Metrics

    async def serve(
        self, columns: Columns, faults: Sequence[Fault], asking: Sequence[Asking], divided: Divided
    ) -> None:
        """Receipts for what is durable of these requests of a frame: what was accepted, and what
        came before. Asked when all is known of them."""
        delivered = _delivered(faults, asking)
        for place, indexes in divided(columns, delivered).items():
            terms = self.keeper.terms(place)
            if isinstance(terms, str):
                self._refuse(indexes, terms, asking)
                continue
            kept = self._kept(columns, indexes, faults, terms, asking)
            if kept:
                await self._sign(columns, kept, terms, asking)

    def _kept(
        self,
        columns: Columns,
        indexes: Sequence[int],
        faults: Sequence[Fault],
        terms: Terms,
        asking: Sequence[Asking],
    ) -> Sequence[int]:
        """Those that a promise can be kept for; the others hear why."""
        devices = columns.device_ids()
        late = self.unsettled(devices)
        young = [i for i in indexes if devices[i] in late] if late else []
        indexes = self._left(indexes, young, UNSETTLED_DEVICE, asking)
        old = _long_ago(columns, indexes, faults, terms.replays_from)
        return self._left(indexes, old, LONG_AGO, asking)

    def _left(
        self, indexes: Sequence[int], out: Sequence[int], reason: str, asking: Sequence[Asking]
    ) -> Sequence[int]:
        if not out:
            return indexes
        self._refuse(out, reason, asking)
        gone = set(out)
        return [index for index in indexes if index not in gone]

    def _refuse(self, indexes: Sequence[int], reason: str, asking: Sequence[Asking]) -> None:
        self.metrics.receipts_refused.labels(reason).inc(len(indexes))
        for one in asking:
            one.note(indexes, reason=reason)

    async def _sign(
        self, columns: Columns, indexes: Sequence[int], terms: Terms, asking: Sequence[Asking]
    ) -> None:
        part = columns if len(indexes) == len(columns) else columns.select(indexes)
        if len(part) <= INLINE_REPORTS:
            head, levels = self.signer.sign(part, terms)
        else:
            head, levels = await self.workers.run(self.signer.sign, part, terms)
        for one in asking:
            low, high = bisect_left(indexes, one.start), bisect_left(indexes, one.end)
            if low < high:
                proof = low.to_bytes(4, "big") + span_nodes(levels, low, high)
                one.note(indexes, packed=head + proof)
        self.metrics.receipts_signed.inc()
        self.metrics.reports_receipted.inc(len(part))


def _delivered(faults: Sequence[Fault], asking: Sequence[Asking]) -> Sequence[int]:
    """Indexes of the durable reports of requests that ask, ascending."""
    first, end = asking[0].start, asking[-1].end
    are_neighbours = sum(one.end - one.start for one in asking) == end - first
    if are_neighbours and not any(faults):
        return range(first, end)  # nearly always: no step a report
    asked = chain.from_iterable(range(one.start, one.end) for one in asking)
    return [index for index in asked if is_delivered(faults[index])]


def _long_ago(
    columns: Columns, indexes: Sequence[int], faults: Sequence[Fault], since: int
) -> list[int]:
    """Reports that came before and may have been committed before a second: no device signs before
    its newest observation."""
    if not any(faults):
        return []
    firsts, times = columns.firsts, columns.times
    return [
        index
        for index in indexes
        if faults[index] is not None and max(times[firsts[index] : firsts[index + 1]]) < since
    ]
