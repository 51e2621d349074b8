"""Reads a request body no further than the limit, however the client declares or drips it."""

import asyncio

from starlette.requests import ClientDisconnect, Request

from corechain.protocol.errors import (
    BodyTooLarge,
    MalformedReport,
    ProtocolError,
    UnsupportedMediaType,
)


class BodyTimeout(ProtocolError):
    """The body did not arrive in time."""

    status = 408


def media_type(request: Request) -> str:
    """The media type without its parameters. Raises UnsupportedMediaType for a compressed body."""
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding != "identity":
        # A compressed body could unpack to a thousand times the limit.
        raise UnsupportedMediaType(f"content encoding {encoding!r:.40} is not accepted")
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def read_body(request: Request, limit: int, timeout_s: float) -> bytes:
    """Raises BodyTooLarge as soon as the limit is passed, BodyTimeout, MalformedReport."""
    declared = request.headers.get("content-length", "")
    if declared.isascii() and declared.isdigit() and int(declared) > limit:
        raise BodyTooLarge(limit)
    try:
        async with asyncio.timeout(timeout_s):
            return await _stream(request, limit)
    except TimeoutError:
        raise BodyTimeout(f"the body did not arrive within {timeout_s:g} s") from None
    except ClientDisconnect:
        raise MalformedReport("the client left before the end of the body") from None


async def _stream(request: Request, limit: int) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise BodyTooLarge(limit)
    return bytes(body)
