"""Reads a request body no further than the limit, however the client declares or drips it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from starlette.requests import ClientDisconnect, Request

from corechain.protocol.errors import (
    BodyTooLarge,
    MalformedReport,
    Overloaded,
    ProtocolError,
    UnsupportedMediaType,
)


@dataclass(slots=True)
class BodyLimits:
    """Of one body and of all that are in memory, in bytes; of the time that one may take."""

    one: int
    all: int
    timeout_s: float
    held: int = 0

    def require(self, size: int) -> None:
        """Raises Overloaded when so many more bytes would be too many; one body alone may come."""
        if self.held and self.held + size > self.all:
            raise Overloaded("too many request bodies are in memory")

    def take(self, size: int) -> None:
        """The same, and counts them. Who takes gives them back."""
        self.require(size)
        self.held += size


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


@asynccontextmanager
async def body_of(request: Request, limits: BodyLimits) -> AsyncIterator[bytes]:
    """The body; it counts against the limits until the block ends. Raises BodyTooLarge or
    Overloaded as soon as a limit is passed, BodyTimeout, MalformedReport."""
    declared = request.headers.get("content-length", "")
    if declared.isascii() and declared.isdigit():
        if int(declared) > limits.one:
            raise BodyTooLarge(limits.one)
        limits.require(int(declared))
    body = bytearray()
    try:
        await _read_into(body, request, limits)
        yield bytes(body)
    finally:
        limits.held -= len(body)


async def read_body(request: Request, limit: int, timeout_s: float) -> bytes:
    """A body that is small. Raises BodyTooLarge, BodyTimeout, MalformedReport."""
    async with body_of(request, BodyLimits(limit, limit, timeout_s)) as body:
        return body


async def _read_into(body: bytearray, request: Request, limits: BodyLimits) -> None:
    try:
        async with asyncio.timeout(limits.timeout_s):
            async for chunk in request.stream():
                if len(body) + len(chunk) > limits.one:
                    raise BodyTooLarge(limits.one)
                # Counted as they come: who declares much and sends nothing takes no place.
                limits.take(len(chunk))
                body += chunk
    except TimeoutError:
        raise BodyTimeout(f"the body did not arrive within {limits.timeout_s:g} s") from None
    except ClientDisconnect:
        raise MalformedReport("the client left before the end of the body") from None
