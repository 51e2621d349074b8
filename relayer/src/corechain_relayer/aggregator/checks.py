"""Opens frames from the bus again and trusts nothing in them."""

from collections.abc import Sequence
from dataclasses import dataclass

from corechain.protocol.eip712 import Domain, report_digest
from corechain.protocol.errors import ProtocolError
from corechain.protocol.keys import verify
from corechain.protocol.lanes import lane_of_device
from corechain.protocol.reading import SignedReport
from corechain_relayer.bus.frame import Frame
from corechain_relayer.registry.view import RegistryView


@dataclass(frozen=True, slots=True)
class Opened:
    """A frame's part of one lane: its good reports, and the others with their errors."""

    id: str
    good: tuple[SignedReport, ...]
    bad: tuple[tuple[SignedReport, ProtocolError], ...]


@dataclass(frozen=True, slots=True)
class Divided:
    """A frame's reports of this lane, and those of others: it was divided by another number."""

    id: str
    received_at_ms: int
    ours: tuple[SignedReport, ...]
    others: dict[int, list[SignedReport]]


def divide(id: str, frame: Frame, lane: int, lanes: int) -> Divided:
    by_lane: dict[int, list[SignedReport]] = {}
    for signed in frame.reports:
        by_lane.setdefault(lane_of_device(signed.report.device, lanes), []).append(signed)
    ours = tuple(by_lane.pop(lane, ()))
    return Divided(id, frame.received_at_ms, ours, by_lane)


@dataclass(frozen=True, slots=True)
class FrameChecker:
    """Signatures are verified once more unless the bus is trusted: one forged report would make the
    whole batch refutable. Revocation is the gateway's business: what it acknowledged is kept."""

    domain: Domain
    trust_bus: bool

    def open(self, divided: Divided, view: RegistryView) -> Opened:
        good, bad = [], []
        for signed in divided.ours:
            fault = self._fault(signed, view)
            if fault is None:
                good.append(signed)
            else:
                bad.append((signed, fault))
        return Opened(divided.id, tuple(good), tuple(bad))

    def open_all(self, frames: Sequence[Divided], view: RegistryView) -> list[Opened]:
        return [self.open(divided, view) for divided in frames]

    def _fault(self, signed: SignedReport, view: RegistryView) -> ProtocolError | None:
        try:
            identity = view.identity(signed.report.device)
            if not self.trust_bus:
                verify(identity, report_digest(self.domain, signed.report), signed.signature)
        except ProtocolError as error:
            return error
        return None
