"""Sending reports as a flow: what a gateway said of each, and the receipt of each where wanted."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from corechain.documents import DeliveriesJson, DeliveryJson, WrongAnswer, parse
from corechain.listing import GATEWAY
from corechain.protocol.errors import InvalidValue
from corechain.protocol.reading import DeviceId, Report, SignedReport
from corechain.protocol.values import items
from corechain.receipts import Check, KeptReceipt, Receipted, receipted
from corechain.steps import ApiUnavailable, Ask, Flow, Pause, Request

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


LEAST_PAUSE_S = 0.2
"""A server that asks to come again after 0 seconds is not asked without end."""


def _pause_before_retry(error: ApiUnavailable, left_s: float) -> Pause | None:
    """As long as the server asks, and up to half as long again: a fleet that was refused together
    comes back spread. None where it asks nothing, or for more time than is left."""
    if error.retry_after_s is None:
        return None
    least_s = max(LEAST_PAUSE_S, error.retry_after_s)
    return Pause(min(left_s, least_s * random.uniform(1.0, 1.5))) if least_s <= left_s else None


def _insist(request: Request, patience_s: float) -> Flow[Any]:
    """The answer; a server that is busy is asked again when it says, for so long in all. Only for
    what does no harm when it is done twice."""
    left_s = patience_s
    while True:
        try:
            return (yield request)
        except ApiUnavailable as error:
            pause = _pause_before_retry(error, left_s)
            if pause is None:
                raise
        left_s -= pause.seconds
        yield pause


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
    answer = yield from _insist(_report_request(reports, receipts), patience_s)
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
