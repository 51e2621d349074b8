"""A keep-alive HTTP/1.1 client connection that costs a few microseconds a request.

An ordinary client would use more CPU than the gateway it measures. It sends what it is given and
reads answers with a length or in chunks, which is what HTTP/1.1 servers send.
"""

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import cast
from urllib.parse import urlsplit

from corechain.protocol.errors import TransportError

MAX_HEAD_BYTES = 64 << 10
MAX_BODY_BYTES = 64 << 20
_HEAD_END = b"\r\n\r\n"


class BadAnswer(TransportError):
    """The server sent what is no HTTP/1.1 answer."""


class ConnectionLost(TransportError):
    """The connection ended before the answer was complete."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where to POST. Raises ValueError for what is no http(s) URL."""

    host: str
    port: int
    path: str
    tls: bool

    @classmethod
    def of(cls, url: str) -> "Target":
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{url!r} is not an http or https URL")
        tls = parts.scheme == "https"
        return cls(parts.hostname, parts.port or (443 if tls else 80), parts.path or "/", tls)

    def head(self, media_type: str, size: int) -> bytes:
        return (
            f"POST {self.path} HTTP/1.1\r\nhost: {self.host}:{self.port}\r\n"
            f"content-type: {media_type}\r\ncontent-length: {size}\r\n\r\n"
        ).encode()


@dataclass(frozen=True, slots=True)
class Answer:
    """Header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(slots=True)
class AnswerReader:
    """Puts one answer together from the pieces in which it arrives."""

    _received: bytearray = field(default_factory=bytearray)
    _head: tuple[int, Mapping[str, str]] | None = None

    def feed(self, data: bytes) -> Answer | None:
        """The answer when it is complete. Raises ValueError for what is none."""
        self._received += data
        if self._head is None:
            end = self._received.find(_HEAD_END)
            if end < 0:
                if len(self._received) > MAX_HEAD_BYTES:
                    raise ValueError(f"a head of over {MAX_HEAD_BYTES} bytes")
                return None
            self._head = parse_head(bytes(self._received[:end]))
            del self._received[: end + len(_HEAD_END)]
        status, headers = self._head
        body = whole_body(headers, self._received)
        return None if body is None else Answer(status, headers, body)


@dataclass(slots=True, eq=False)
class Connection(asyncio.Protocol):
    """One request at a time. Opens itself when it is not open."""

    target: Target
    _transport: asyncio.Transport | None = None
    _waiting: "asyncio.Future[Answer] | None" = None
    _reader: AnswerReader = field(default_factory=AnswerReader)

    async def post(self, head: bytes, body: bytes | memoryview, timeout_s: float) -> Answer:
        """Raises OSError, TransportError, TimeoutError; the connection is closed then."""
        try:
            async with asyncio.timeout(timeout_s):
                return await self._post(head, body)
        except BaseException:
            self.close()
            raise

    async def _post(self, head: bytes, body: bytes | memoryview) -> Answer:
        if self._transport is None:
            await self._open()
        assert self._transport is not None
        self._reader = AnswerReader()
        self._waiting = asyncio.get_running_loop().create_future()
        # One write: as two, the second would wait for the first one's TCP acknowledgement.
        self._transport.write(b"".join((head, body)))
        answer = await self._waiting
        if answer.headers.get("connection", "").lower() == "close":
            self.close()
        return answer

    async def _open(self) -> None:
        loop = asyncio.get_running_loop()
        context = ssl.create_default_context() if self.target.tls else None
        await loop.create_connection(lambda: self, self.target.host, self.target.port, ssl=context)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()
            self._transport = None

    # ------------------------------------------------------- called by the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are none of asyncio's by class.
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self._fail(ConnectionLost(f"the connection was lost: {error or 'closed by the server'}"))

    def data_received(self, data: bytes) -> None:
        try:
            answer = self._reader.feed(data)
        except ValueError as error:
            self._fail(BadAnswer(f"not an HTTP/1.1 answer: {error}"))
            return
        if answer is not None and self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(answer)

    def _fail(self, error: Exception) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(error)


def parse_head(head: bytes) -> tuple[int, Mapping[str, str]]:
    """Status and headers. Raises ValueError."""
    first, *lines = head.decode("latin-1").split("\r\n")
    version, _, rest = first.partition(" ")
    if not version.startswith("HTTP/1.") or not rest[:3].isdigit():
        raise ValueError(f"it begins with {first!r:.60}")
    pairs = (line.partition(":") for line in lines)
    return int(rest[:3]), {name.strip().lower(): value.strip() for name, _, value in pairs}


def whole_body(headers: Mapping[str, str], received: bytearray) -> bytes | None:
    """The body when all of it is there. Raises ValueError."""
    if headers.get("transfer-encoding", "").lower() == "chunked":
        return _chunks(received)
    length = headers.get("content-length", "")
    if not (length.isascii() and length.isdigit()):
        raise ValueError("it says neither its length nor that it comes in chunks")
    size = int(length)
    _require_size(size)
    return bytes(received[:size]) if len(received) >= size else None


def _chunks(received: bytearray) -> bytes | None:
    body, offset = bytearray(), 0
    while (end := received.find(b"\r\n", offset)) >= 0:
        size = int(received[offset:end].partition(b";")[0], 16)
        _require_size(len(body) + size)
        start = end + 2
        if len(received) < start + size + 2:
            return None
        if size == 0:
            return bytes(body)
        body += received[start : start + size]
        offset = start + size + 2
    return None


def _require_size(size: int) -> None:
    if size > MAX_BODY_BYTES:
        raise ValueError(f"a body of {size} bytes is over {MAX_BODY_BYTES}")
