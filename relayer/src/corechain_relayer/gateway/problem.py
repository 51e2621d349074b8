"""Errors as RFC 9457 problem details, and the per-report results of a request."""

from collections.abc import Mapping, Sequence
from typing import Any

from starlette.responses import JSONResponse

from corechain.protocol.errors import ProtocolError, problem_type
from corechain.protocol.reading import SignedReport

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = 1


def _title(error: ProtocolError) -> str:
    return (type(error).__doc__ or error.name).partition("\n")[0]


def problem(error: ProtocolError, **extra: Any) -> JSONResponse:
    content = {
        "type": problem_type(error),
        "title": _title(error),
        "status": error.status,
        "detail": str(error),
        **extra,
    }
    headers = {"retry-after": str(RETRY_AFTER_S)} if error.status == 503 else None
    return JSONResponse(content, error.status, headers, MEDIA_TYPE)


def result(item: SignedReport | None, error: ProtocolError | None) -> dict[str, Any]:
    """One entry of `results`; device and sequence are null where they could not be read."""
    entry: dict[str, Any] = {
        "device": None if item is None else "0x" + item.report.device.hex(),
        "sequence": None if item is None else item.report.sequence,
        "status": "accepted" if error is None else "rejected",
    }
    if error is not None:
        entry |= {"error": error.name, "detail": str(error)}
    return entry


def answer(results: Sequence[Mapping[str, Any]], errors: Sequence[ProtocolError]) -> JSONResponse:
    """202 with the results, or the one error that every report has."""
    if len(errors) == len(results) and len({error.name for error in errors}) == 1:
        extra = {"results": results} if len(results) > 1 else {}
        return problem(errors[0], **extra)
    return JSONResponse({"accepted": len(results) - len(errors), "results": results}, 202)
