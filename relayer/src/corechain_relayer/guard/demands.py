"""Open demands of a lane as a fold over DataBatches' logs. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from corechain.protocol.batch import lane_of
from corechain.protocol.events import Answered, BondSlashed, Demanded, Unanswered
from corechain.protocol.evidence import Demand
from corechain.protocol.logs import decode_log
from corechain.protocol.receipt_events import ReceiptDemanded
from corechain.protocol.receipts import receipt_commitment, receipt_subject
from corechain.service.rpc import Log


@dataclass(frozen=True, slots=True)
class OpenDemand:
    """`deadline` in seconds of chain time; `block` is where it was made. The id is the hash of what
    is demanded: the same thing demanded again, after an answer, has the same id."""

    id: bytes
    batch_id: int
    kind: int
    commitment: bytes
    subject: bytes
    deadline: int
    block: int
    report: bytes = b""
    """Of a receipt's demand: the signed report."""
    who: bytes = b""
    """And what shows its device, as in `evidence.signer_of`: 64 bytes of its key come first."""

    @classmethod
    def of_receipt(cls, event: ReceiptDemanded, block: int) -> "OpenDemand":
        what = (
            Demand.RECEIPT,
            receipt_commitment(event.lane, event.since),
            receipt_subject(event.device, event.sequence),
        )
        subject = (event.demand_id, event.lane << 32, *what)
        return cls(*subject, event.deadline, block, event.report, event.who)

    @classmethod
    def of(cls, event: Demanded, block: int) -> "OpenDemand":
        what = (event.kind, event.commitment, event.subject)
        return cls(event.demand_id, event.batch_id, *what, event.deadline, block)

    @property
    def kind_name(self) -> str:
        """As metrics and logs have it; a judge of a later version may know more kinds than we."""
        known = self.kind in list(Demand)
        return Demand(self.kind).name.lower() if known else f"kind-{self.kind}"

    @property
    def what(self) -> str:
        """What is demanded, or a piece of what, for an operator."""
        if not self.report:
            return f"batch {self.batch_id}"
        sequence = int.from_bytes(self.report[20:28], "big")
        return f"report {sequence} of device 0x{self.report[:20].hex()}"

    def fields(self) -> dict[str, object]:
        """What a log line says of it."""
        said: dict[str, object] = {"demand": self.id.hex(), "kind": self.kind_name}
        # A receipt's report is of no batch, as far as the demand knows.
        said |= {"report": self.what} if self.report else {"batch": self.batch_id}
        return said | {"deadline": self.deadline}


@dataclass(frozen=True, slots=True)
class Closing:
    """How a demand ended: `answerer` is None when nobody answered."""

    transaction: bytes
    answerer: bytes | None


@dataclass(slots=True)
class DemandsView:
    """Open demands by id, and how those of the blocks looked at were closed. A demand under a bond
    that was taken is nobody's concern any more: it goes with the bond."""

    lane: int
    open: dict[bytes, OpenDemand] = field(default_factory=dict)
    closings: dict[bytes, list[Closing]] = field(default_factory=dict)

    def take(self, logs: Iterable[Log]) -> None:
        """Goes on by the logs of the following blocks. Raises MalformedLog."""
        for entry in logs:
            event = decode_log(list(entry.topics), entry.data)
            if isinstance(event, Demanded):
                self._demanded(OpenDemand.of(event, entry.block_number))
            elif isinstance(event, ReceiptDemanded):
                self._demanded(OpenDemand.of_receipt(event, entry.block_number))
            elif isinstance(event, Answered):
                self._closed(event.demand_id, Closing(entry.transaction, event.answerer))
            elif isinstance(event, Unanswered):
                self._closed(event.demand_id, Closing(entry.transaction, None))
            elif isinstance(event, BondSlashed) and event.lane == self.lane:
                self.open.clear()

    def _demanded(self, demand: OpenDemand) -> None:
        if lane_of(demand.batch_id) == self.lane:
            self.open[demand.id] = demand

    def _closed(self, demand_id: bytes, closing: Closing) -> None:
        # Also of demands that were made before the first block looked at, or of another lane: a
        # transaction that closed something can never be the answer to what was demanded later.
        self.closings.setdefault(demand_id, []).append(closing)
        self.open.pop(demand_id, None)

    def by_urgency(self) -> list[OpenDemand]:
        """The nearest deadline first; of one deadline those of a batch together, for its data file
        is read once for all of them (`Library` keeps a few)."""
        return sorted(self.open.values(), key=lambda d: (d.deadline, d.commitment, d.id))

    def was_closed_by(self, demand_id: bytes, transaction: bytes) -> bool:
        return any(c.transaction == transaction for c in self.closings.get(demand_id, ()))
