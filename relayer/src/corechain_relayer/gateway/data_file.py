"""`GET /v1/data/{commitment}`: a data file from its folder, whole or a part of it."""

import asyncio
import os
import re
import stat
from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, Response

from corechain.protocol.errors import ProtocolError, Unavailable
from corechain.service.fields import unless_held

FOREVER = "public, max-age=31536000, immutable"
RANGE = b"range"
_COMMITMENT = re.compile(r"(?:0x)?([0-9a-f]{52})", re.ASCII)
_RANGE = re.compile(rb"bytes=[ \t]*([0-9]{0,18})-([0-9]{0,18})[ \t]*", re.IGNORECASE)


class UnknownDataFile(ProtocolError):
    """No data file of that commitment is kept here."""

    status = 404


class RangeBehindEnd(ProtocolError):
    """The part that is asked for begins behind the end of the file."""

    status = 416

    def __init__(self, size: int) -> None:
        super().__init__(f"the file has {size} bytes: ask for a part that begins within them")
        self.size = size


async def data_file(request: Request, folder: Path) -> Response:
    """Raises UnknownDataFile, RangeBehindEnd; Unavailable for a folder that cannot be read now."""
    match = _COMMITMENT.fullmatch(request.path_params["commitment"])
    path = folder / f"{match[1]}.ccdf" if match else None
    try:
        # In a thread: a mount that hangs must not take everybody else's requests with it.
        facts = None if path is None else await asyncio.to_thread(_facts, path)
    except OSError as error:
        raise Unavailable(f"data files cannot be read now: {error.strerror}") from error
    if path is None or facts is None:
        raise UnknownDataFile("no data file of that commitment is kept here")
    _check_range(request, facts.st_size)
    # Named by its content: the same at every gateway, whatever the times of its copies.
    headers = {"cache-control": FOREVER, "etag": f'"{path.stem}"'}
    kind = "application/octet-stream"
    response = FileResponse(path, media_type=kind, headers=headers, stat_result=facts)
    return unless_held(request.headers, response)


def _facts(path: Path) -> os.stat_result | None:
    """None for what is no file. Raises OSError."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found if stat.S_ISREG(found.st_mode) else None


def _check_range(request: Request, size: int) -> None:
    """Leaves one part that is asked for to Starlette, and forgets all else: several parts, another
    unit, what is none (RFC 9110, section 14.2: the whole file is right then). Starlette refuses
    those without a problem document. Raises RangeBehindEnd."""
    asked = request.headers.getlist("range")
    match = _RANGE.fullmatch(asked[0].encode("latin-1")) if len(asked) == 1 else None
    first, last = match.groups() if match else (b"", b"")
    if not (first or last) or (first and last and int(first) > int(last)):
        fields = request.scope["headers"]
        request.scope["headers"] = [field for field in fields if field[0] != RANGE]
    elif (int(first) >= size) if first else (int(last) == 0):
        raise RangeBehindEnd(size)
