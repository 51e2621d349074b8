"""Errors as RFC 9457 problem details, and the per-report results of a request."""

from collections.abc import Sequence
from typing import Any

from msgspec import Raw
from msgspec.json import encode
from starlette.responses import Response

from corechain.protocol.errors import ProtocolError, problem_type
from corechain.protocol.frame import Columns
from corechain.protocol.reading import Report
from corechain_relayer.gateway.intake import Intake

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = 1


def _title(error: ProtocolError) -> str:
    return (type(error).__doc__ or error.name).partition("\n")[0]


def problem(error: ProtocolError, **extra: Any) -> Response:
    content = {
        "type": problem_type(error),
        "title": _title(error),
        "status": error.status,
        "detail": str(error),
        **extra,
    }
    seconds = getattr(error, "retry_after_s", RETRY_AFTER_S)
    headers = {"retry-after": str(seconds)} if error.status == 503 else None
    return Response(encode(content), error.status, headers, MEDIA_TYPE)


def answer(intake: Intake, faults: Sequence[ProtocolError | None]) -> Response:
    """202 with one result an item of the request, or the one error that every item has."""
    errors = [*intake.faults.values(), *(fault for fault in faults if fault is not None)]
    if not errors:
        return _accepted(intake.count, _results(intake.columns))
    results = _all_results(intake, faults)
    if len(errors) == intake.count and len({error.name for error in errors}) == 1:
        extra = {"results": [Raw(entry) for entry in results]} if intake.count > 1 else {}
        return problem(errors[0], **extra)
    return _accepted(intake.count - len(errors), results)


def _accepted(count: int, results: Sequence[bytes]) -> Response:
    # Joined by hand: an object a report, and json.dumps over them, took as long as all checks but
    # the signature.
    content = b'{"accepted":%d,"results":[%s]}' % (count, b",".join(results))
    return Response(content, 202, media_type="application/json")


def _results(columns: Columns) -> list[bytes]:
    """Of reports that were all accepted."""
    digits = columns.devices.hex().encode()
    return [
        b'{"device":"0x%s","sequence":%d,"status":"accepted"}'
        % (digits[40 * index : 40 * index + 40], sequence)
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
