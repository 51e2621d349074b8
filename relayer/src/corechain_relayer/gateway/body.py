"""Reads a request body no further than the limit, however the client declares or drips it."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from starlette.requests import Request
from starlette.types import Receive

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


Headers = Mapping[bytes, bytes]
"""As ASGI has them: names in lower case."""


def headers_of(fields: Iterable[tuple[bytes, bytes]]) -> Headers:
    """Header fields by name; a field that comes more than once is a list (RFC 9110, section 5.3).
    Who takes the last line alone would overlook what the others say."""
    found: dict[bytes, bytes] = {}
    for name, value in fields:
        found[name] = found[name] + b", " + value if name in found else value
    return found


def media_type(headers: Headers) -> str:
    """The media type without its parameters. Raises UnsupportedMediaType for a compressed body."""
    coding = headers.get(b"transfer-encoding", b"chunked").strip().lower()
    if coding != b"chunked":
        # "gzip, chunked": the parser takes the chunks apart and leaves what is in them.
        raise UnsupportedMediaType(
            f"transfer coding {coding.decode('latin-1')!r:.40} is not accepted"
        )
    encoding = headers.get(b"content-encoding", b"identity").strip().lower()
    if encoding != b"identity":
        # A compressed body could unpack to a thousand times the limit.
        shown = encoding.decode("latin-1")
        raise UnsupportedMediaType(f"content encoding {shown!r:.40} is not accepted")
    named = headers.get(b"content-type", b"").partition(b";")[0]
    return named.strip().lower().decode("latin-1")


def prefers_receipt(headers: Headers) -> bool:
    """Whether the client asks for receipts: the token `receipt` among its preferences (RFC 7240,
    whose lists have commas, and whose preferences parameters behind a semicolon)."""
    listed = headers.get(b"prefer")
    if listed is None:
        return False
    return any(part.partition(b";")[0].strip().lower() == b"receipt" for part in listed.split(b","))


@asynccontextmanager
async def body_of(headers: Headers, receive: Receive, limits: BodyLimits) -> AsyncIterator[bytes]:
    """The body; it counts against the limits until the block ends. Raises BodyTooLarge or
    Overloaded as soon as a limit is passed, BodyTimeout, MalformedReport."""
    declared = headers.get(b"content-length", b"")
    if declared.isdigit():
        if int(declared) > limits.one:
            raise BodyTooLarge(limits.one)
        limits.require(int(declared))
    body = bytearray()
    try:
        await _read_into(body, receive, limits)
        yield bytes(body)
    finally:
        limits.held -= len(body)


async def read_body(request: Request, limit: int, timeout_s: float) -> bytes:
    """A body that is small. Raises BodyTooLarge, BodyTimeout, MalformedReport."""
    limits = BodyLimits(limit, limit, timeout_s)
    async with body_of(headers_of(request.headers.raw), request.receive, limits) as body:
        return body


async def _read_into(body: bytearray, receive: Receive, limits: BodyLimits) -> None:
    try:
        async with asyncio.timeout(limits.timeout_s):
            while await _read_chunk(body, receive, limits):
                pass
    except TimeoutError:
        raise BodyTimeout(f"the body did not arrive within {limits.timeout_s:g} s") from None


async def _read_chunk(body: bytearray, receive: Receive, limits: BodyLimits) -> bool:
    """Whether there is more."""
    message = await receive()
    if message["type"] == "http.disconnect":
        raise MalformedReport("the client left before the end of the body")
    chunk = message.get("body", b"")
    if len(body) + len(chunk) > limits.one:
        raise BodyTooLarge(limits.one)
    # Counted as they come: who declares much and sends nothing takes no place.
    limits.take(len(chunk))
    body += chunk
    return bool(message.get("more_body", False))
