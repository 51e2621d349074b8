"""Errors as RFC 9457 problem details, and the per-report results of a request."""

from base64 import b64encode
from collections.abc import Sequence
from typing import Any

from msgspec import Raw
from msgspec.json import encode
from starlette.responses import Response

from corechain.protocol.errors import ProtocolError
from corechain.protocol.frame import Columns
from corechain.protocol.problems import problem_title, problem_type
from corechain.protocol.reading import Report
from corechain.service.direct import Answer, Fields
from corechain.service.retry import spread_s
from corechain_relayer.gateway.intake import Intake
from corechain_relayer.receipts.wish import Entry, Wish

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = 1
_OF_PROBLEM = ((b"content-type", MEDIA_TYPE.encode()),)
_OF_RESULTS = ((b"content-type", b"application/json"),)
_OF_RECEIPTS = (*_OF_RESULTS, (b"preference-applied", b"receipt"))


def problem(error: ProtocolError, **extra: Any) -> Answer:
    content = {
        "type": problem_type(error),
        "title": problem_title(type(error)),
        "status": error.status,
        "detail": str(error),
        **extra,
    }
    headers: Fields = _OF_PROBLEM
    if error.status == 503:
        seconds = getattr(error, "retry_after_s", RETRY_AFTER_S)
        headers = (*headers, (b"retry-after", b"%d" % spread_s(seconds)))
    return Answer(error.status, headers, encode(content))


def breakdown() -> Answer:
    """Nothing that we foresaw: the cause is in the log, not in the answer."""
    content = {"type": "about:blank", "title": "Internal error", "status": 500}
    return Answer(500, _OF_PROBLEM, encode(content))


def response(answer: Answer) -> Response:
    """The same for Starlette."""
    headers = {name.decode(): value.decode() for name, value in answer.headers}
    return Response(answer.body, answer.status, headers)


def answer(
    intake: Intake, faults: Sequence[ProtocolError | None], wish: Wish | None = None
) -> Answer:
    """202 with one result an item of the request, or the one error that every item has. Also 202
    where a `wish` for receipts came true, of reports that had been accepted before."""
    errors = [*intake.faults.values(), *filter(None, faults)]
    if not errors:
        return _accepted(intake.count, _results(intake.columns), wish)
    results = _all_results(intake, faults)
    if wish:
        return _accepted(intake.count - len(errors), results, wish)
    if len(errors) == intake.count and len({error.name for error in errors}) == 1:
        extra = {"results": [Raw(entry) for entry in results]} if intake.count > 1 else {}
        return problem(errors[0], **extra)
    return _accepted(intake.count - len(errors), results, wish)


def _accepted(count: int, results: Sequence[bytes], wish: Wish | None = None) -> Answer:
    # Joined by hand: an object a report, and json.dumps over them, took as long as all checks but
    # the signature.
    if wish is not None:
        return _receipted(count, results, wish)
    content = b'{"accepted":%d,"results":[%s]}' % (count, b",".join(results))
    return Answer(202, _OF_RESULTS, content)


def _receipted(count: int, results: Sequence[bytes], wish: Wish) -> Answer:
    """The same with receipts, or the reasons why there are none."""
    receipts = encode([_receipt_json(entry) for entry in wish.entries])
    parts = (count, b",".join(results), receipts)
    content = b'{"accepted":%d,"results":[%s],"receipts":%s}' % parts
    # Named only where it was: who asked in vain can tell by the field alone (RFC 7240, section 3).
    return Answer(202, _OF_RECEIPTS if wish else _OF_RESULTS, content)


def _receipt_json(entry: Entry) -> dict[str, Any]:
    """`of`: spans of results, each from the first to behind the last."""
    if entry.packed:
        return {"of": entry.runs(), "receipt": b64encode(entry.packed).decode()}
    return {"of": entry.runs(), "missing": entry.reason}


def accepted_single(packed: bytes) -> Answer:
    """Of a request that was one packed report."""
    result = _accepted_result(packed[:20].hex().encode(), int.from_bytes(packed[20:28], "big"))
    return _accepted(1, (result,))


def _accepted_result(device: bytes, sequence: int) -> bytes:
    return b'{"device":"0x%s","sequence":%d,"status":"accepted"}' % (device, sequence)


def _results(columns: Columns) -> list[bytes]:
    """Of reports that were all accepted."""
    digits = columns.devices.hex().encode()
    return [
        _accepted_result(digits[40 * index : 40 * index + 40], sequence)
        for index, sequence in enumerate(columns.sequences)
    ]


def _all_results(intake: Intake, faults: Sequence[ProtocolError | None]) -> list[bytes]:
    """In the order of the request; device and sequence are null where they could not be read."""
    found: dict[int, bytes] = dict(zip(intake.places, _results(intake.columns), strict=True))
    for place, fault, index in zip(intake.places, faults, range(len(faults)), strict=True):
        if fault is not None:
            report = intake.columns.report(index).report
            found[place] = _rejected(fault, report)
    for place, error in intake.faults.items():
        named = intake.named.get(place)
        found[place] = _rejected(error, None if named is None else named.report)
    return [found[place] for place in range(intake.count)]


def _rejected(error: ProtocolError, report: Report | None) -> bytes:
    return encode(
        {
            "device": None if report is None else "0x" + report.device.hex(),
            "sequence": None if report is None else report.sequence,
            "status": "rejected",
            "error": error.name,
            "detail": str(error),
        }
    )
