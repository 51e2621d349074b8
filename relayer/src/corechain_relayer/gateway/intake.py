"""What the gateway thinks of a request, without a socket: decode, look up, check, verify."""

from collections.abc import Sequence
from dataclasses import dataclass

from corechain.protocol.cells import require_cell
from corechain.protocol.eip712 import Domain, report_digest
from corechain.protocol.errors import (
    AncientTimestamp,
    FutureTimestamp,
    MalformedReport,
    ProtocolError,
    UnknownMetric,
    UnsupportedMediaType,
    WrongChain,
)
from corechain.protocol.keys import verify
from corechain.protocol.reading import DeviceId, SignedReport, unpack_observations, unpack_reports
from corechain.protocol.report_json import DeclaredReport, reports_from_json
from corechain.protocol.vocabulary import BY_CODE
from corechain_relayer.registry.view import RegistryView

JSON, PACKED = "application/json", "application/vnd.corechain.reports"

Decoded = DeclaredReport | ProtocolError
Judged = SignedReport | ProtocolError


@dataclass(frozen=True, slots=True)
class TimeLimits:
    """How far `observed_at` may lie from the gateway's clock, in seconds."""

    max_age_s: int
    max_future_s: int

    def check(self, observed_at: int, now: float) -> None:
        """Raises AncientTimestamp or FutureTimestamp."""
        earliest, latest = int(now) - self.max_age_s, int(now) + self.max_future_s
        if observed_at < earliest:
            raise AncientTimestamp(observed_at, earliest)
        if observed_at > latest:
            raise FutureTimestamp(observed_at, latest)


def decode(media_type: str, body: bytes) -> list[Decoded]:
    """The reports of a request body; a bad item of a JSON list stands as its error.

    Raises UnsupportedMediaType, MalformedReport, ValueOutOfRange.
    """
    if media_type == JSON:
        return _decode_json(body)
    if media_type != PACKED:
        raise UnsupportedMediaType(f"send {JSON} or {PACKED}")
    reports = unpack_reports(body)
    if not reports:
        raise MalformedReport("no report in the request")
    return [DeclaredReport(signed, None, None) for signed in reports]


def _decode_json(body: bytes) -> list[Decoded]:
    return list(reports_from_json(body))


def devices_of(items: Sequence[Decoded | Judged]) -> set[DeviceId]:
    """The devices that the readable items name."""
    signed = (item.signed if isinstance(item, DeclaredReport) else item for item in items)
    return {item.report.device for item in signed if isinstance(item, SignedReport)}


@dataclass(frozen=True, slots=True)
class Judge:
    """Checks reports one by one against the registry, the clock and the device's signature."""

    domain: Domain
    limits: TimeLimits

    def judge(self, items: Sequence[Decoded], view: RegistryView, now: float) -> list[Judged]:
        return [self._one(item, view, now) for item in items]

    def _one(self, item: Decoded, view: RegistryView, now: float) -> Judged:
        if isinstance(item, ProtocolError):
            return item
        try:
            self._check_chain(item)
            self._check(item.signed, view, now)
        except ProtocolError as error:
            return error
        return item.signed

    def _check_chain(self, item: DeclaredReport) -> None:
        if item.chain_id not in (None, self.domain.chain_id):
            raise WrongChain(f"made for chain {item.chain_id}, this is {self.domain.chain_id}")
        if item.registry not in (None, self.domain.contract):
            raise WrongChain("made for another registry contract")

    def _check(self, signed: SignedReport, view: RegistryView, now: float) -> None:
        # The cheap checks first: the signature costs more than all of them together.
        identity = view.active(signed.report.device)
        for metric, cell, observed_at, _ in unpack_observations(signed.report.packed):
            if metric not in BY_CODE:
                raise UnknownMetric(metric)
            require_cell(cell)
            self.limits.check(observed_at, now)
        verify(identity, report_digest(self.domain, signed.report), signed.signature)
