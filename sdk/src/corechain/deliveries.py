"""Sending reports as a flow: what a gateway said of each, and the receipt of each where wanted."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from corechain.documents import DeliveriesJson, DeliveryJson, WrongAnswer, parse
from corechain.insisting import insist
from corechain.listing import GATEWAY
from corechain.protocol.errors import InvalidValue
from corechain.protocol.reading import DeviceId, Report, SignedReport
from corechain.protocol.values import items
from corechain.receipts import Check, KeptReceipt, Receipted, receipted
from corechain.steps import Ask, Flow, Request

PACKED_REPORTS = "application/vnd.corechain.reports"


@dataclass(frozen=True, slots=True)
class Delivery:
    """What the gateway said of one report; `error` is the name of the refusal.

    `receipt` where one was asked for and given, proven to be of this report; `no_receipt` is the
    name of the reason where the gateway gives none.
    """

    device: DeviceId
    sequence: int
    accepted: bool
    error: str | None = None
    receipt: KeptReceipt | None = None
    no_receipt: str | None = None


def _delivery(row: DeliveryJson, report: Report, index: int, found: Receipted) -> Delivery:
    said = report.device, report.sequence, row.status == "accepted", row.error
    return Delivery(*said, found.kept.get(index), found.missing.get(index))


def send_reports(
    reports: Sequence[SignedReport],
    patience_s: float = 0.0,
    receipts: bool = False,
    check: Check | None = None,
) -> Flow[list[Delivery]]:
    """One request for all reports; returns once the gateway holds them durably. `patience_s`: how
    long to obey a gateway that asks to come again (Retry-After) before that is an error.

    `receipts`: asks for receipts; each is proven to hold its report, and `check` asks the chain
    whether it stands behind them. Whatever is wrong with one is raised, though the reports have
    been taken: to send them again does no harm.
    """
    reports = items("reports", reports, SignedReport, "takes at least one signed report")
    if not reports:
        raise InvalidValue("reports", reports, "takes at least one signed report")
    answer = yield from insist(_report_request(reports, receipts), patience_s)
    said = parse(answer, DeliveriesJson, "a delivery answer")
    if [_said_of(row) for row in said.results] != [_id_of(item.report) for item in reports]:
        raise WrongAnswer("the gateway answers for other reports than were sent")
    found = receipted(said.receipts, reports) if receipts else Receipted({}, {})
    if check is not None and found.kept:
        yield Ask(partial(check, found.signed))
    rows = zip(said.results, reports, strict=True)
    return [_delivery(row, item.report, at, found) for at, (row, item) in enumerate(rows)]


def _report_request(reports: Sequence[SignedReport], receipts: bool) -> Request:
    body, prefer = b"".join(item.pack() for item in reports), "receipt" if receipts else None
    where = GATEWAY, "POST", "/v1/reports"
    return Request(*where, content=body, content_type=PACKED_REPORTS, prefer=prefer)


def _id_of(report: Report) -> tuple[str, int]:
    return "0x" + report.device.hex(), report.sequence


def _said_of(row: DeliveryJson) -> tuple[str | None, int | None]:
    return row.device and row.device.lower(), row.sequence
