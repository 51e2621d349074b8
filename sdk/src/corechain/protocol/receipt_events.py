"""The events of DataBatches about receipts (docs/protocol.md, "Receipts")."""

from dataclasses import dataclass

from corechain.protocol.events import Event
from corechain.protocol.reading import BODY_HEAD, OBSERVATION_BYTES, SIGNATURE_BYTES, DeviceId


@dataclass(frozen=True, slots=True)
class ReceiptSignerNamed(Event):
    SIGNATURE = "ReceiptSignerNamed(uint16 indexed,address indexed,uint40)"
    lane: int
    signer: bytes
    since: int


@dataclass(frozen=True, slots=True)
class ReceiptSignerDismissed(Event):
    """`until` (seconds): receipts with a later `commit_by` are nobody's."""

    SIGNATURE = "ReceiptSignerDismissed(uint16 indexed,address indexed,uint40,uint40)"
    lane: int
    signer: bytes
    since: int
    until: int


@dataclass(frozen=True, slots=True)
class ReceiptDemanded(Event):
    """A report that a receipt promised is demanded until `deadline` (seconds). `shown`: the signed
    report, then what shows its device."""

    SIGNATURE = "ReceiptDemanded(bytes32 indexed,uint16 indexed,uint40,uint40,bytes)"
    demand_id: bytes
    lane: int
    since: int
    deadline: int
    shown: bytes

    @property
    def device(self) -> DeviceId:
        return DeviceId(self.shown[:20])

    @property
    def sequence(self) -> int:
        return int.from_bytes(self.shown[20:28], "big")

    @property
    def report(self) -> bytes:
        """The signed report: body ‖ signature 64."""
        return self.shown[: self._report_bytes]

    @property
    def who(self) -> bytes:
        """Its key and fleet as in `evidence.signer_of`: a device on P-256 has its key here."""
        return self.shown[self._report_bytes :]

    @property
    def _report_bytes(self) -> int:
        # The contract lets no other report pass than one that is as long as its count says.
        count = int.from_bytes(self.shown[28:30], "big")
        return BODY_HEAD.size + OBSERVATION_BYTES * count + SIGNATURE_BYTES


RECEIPT_EVENTS: tuple[type[Event], ...] = (
    ReceiptSignerNamed,
    ReceiptSignerDismissed,
    ReceiptDemanded,
)
