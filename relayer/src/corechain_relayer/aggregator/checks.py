"""Opens frames from the bus again and trusts nothing in them."""

from collections.abc import Sequence
from dataclasses import dataclass

from corechain.protocol.eip712 import Domain, report_digest
from corechain.protocol.errors import ProtocolError
from corechain.protocol.keys import verify
from corechain.protocol.reading import SignedReport
from corechain_relayer.bus.base import Delivery
from corechain_relayer.bus.frame import MalformedFrame, unpack_frame
from corechain_relayer.registry.view import RegistryView


@dataclass(frozen=True, slots=True)
class Opened:
    """A readable frame: its good reports, and the others with their errors."""

    delivery: Delivery
    good: tuple[SignedReport, ...]
    bad: tuple[tuple[SignedReport, ProtocolError], ...]


@dataclass(frozen=True, slots=True)
class FrameChecker:
    """Signatures are verified once more unless the bus is trusted: one forged report would make the
    whole batch refutable. Revocation is the gateway's business: what it acknowledged is kept."""

    domain: Domain
    trust_bus: bool

    def open(self, delivery: Delivery, view: RegistryView) -> Opened | MalformedFrame:
        try:
            frame = unpack_frame(delivery.payload)
        except MalformedFrame as error:
            return error
        good, bad = [], []
        for signed in frame.reports:
            fault = self._fault(signed, view)
            if fault is None:
                good.append(signed)
            else:
                bad.append((signed, fault))
        return Opened(delivery, tuple(good), tuple(bad))

    def open_all(
        self, deliveries: Sequence[Delivery], view: RegistryView
    ) -> list[Opened | MalformedFrame]:
        return [self.open(delivery, view) for delivery in deliveries]

    def _fault(self, signed: SignedReport, view: RegistryView) -> ProtocolError | None:
        try:
            identity = view.identity(signed.report.device)
            if not self.trust_bus:
                verify(identity, report_digest(self.domain, signed.report), signed.signature)
        except ProtocolError as error:
            return error
        return None
