"""One file over HTTP from a server that nobody vouches for."""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import httpx

from corechain.http import put_off_s
from corechain.protocol.batch import MAGIC
from corechain.service.reasons import reason_of

CHUNK = 1 << 16
ENCODINGS = ("", "identity")
DEFLATED = ("gzip", "x-gzip", "deflate")
EITHER_HEADER = 32 + zlib.MAX_WBITS
"""zlib's way to say: gzip or zlib, whichever it is."""
FIRST_HOST = "corechain_first_host"
"""Extension of a request and of those that it is redirected to: whom we meant to ask."""


class Unfit(Exception):
    """A source does not have the file that was asked for; the text says why, to the public too.

    `wait_s`: how long the source asked to be left alone.
    """

    def __init__(self, why: str, wait_s: float = 0.0) -> None:
        super().__init__(why)
        self.wait_s = wait_s


def check_beginning(data: bytes | bytearray) -> None:
    """Raises Unfit for what cannot become a data file, before more of it is read."""
    if not data.startswith(MAGIC[: len(data)]):
        raise Unfit("not a data file: it begins with other bytes")


def check_not_empty(data: bytes) -> bytes:
    """The bytes. Raises Unfit when there are none."""
    if not data:
        raise Unfit("empty")
    return data


def inflated(chunk: bytes, inflater: "zlib._Decompress") -> Iterator[bytes]:
    """A compressed chunk in pieces that stay small however much it holds. Raises Unfit."""
    try:
        # What follows the end of the compressed data would pile up in the inflater.
        while chunk and not inflater.eof:
            yield inflater.decompress(chunk, CHUNK)
            chunk = inflater.unconsumed_tail
    except zlib.error as error:
        raise Unfit(f"not compressed as it says: {error}") from error


def _inflater(response: httpx.Response) -> "zlib._Decompress | None":
    encoding = response.headers.get("content-encoding", "").strip().lower()
    if encoding in ENCODINGS:
        return None
    if encoding not in DEFLATED:
        raise Unfit("compressed in a way that was not asked for")
    return zlib.decompressobj(EITHER_HEADER)


@dataclass(frozen=True, slots=True)
class Download:
    """`max_bytes` bounds the file, whatever the server says about its length."""

    http: httpx.AsyncClient
    max_bytes: int

    async def get(self, url: str) -> bytes:
        """The body. Raises Unfit."""
        # Asked for as it is: who compresses nevertheless is unpacked within bounds.
        headers = {"accept-encoding": "identity"}
        try:
            extensions = {FIRST_HOST: httpx.URL(url).host}
            sent = self.http.stream("GET", url, headers=headers, extensions=extensions)
            async with sent as response:
                self._check(response)
                return await self._body(response)
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            raise Unfit(reason_of(error)) from error
        finally:
            self.http.cookies.clear()

    def _check(self, response: httpx.Response) -> None:
        status = response.status_code
        if status != httpx.codes.OK:
            raise Unfit(f"HTTP {status}", put_off_s(status, response.headers))
        length = response.headers.get("content-length", "")
        if length.isascii() and length.isdigit() and int(length[:20]) > self.max_bytes:
            raise Unfit(f"over {self.max_bytes} bytes")

    async def _body(self, response: httpx.Response) -> bytes:
        inflater, data, sent = _inflater(response), bytearray(), 0
        async for chunk in response.aiter_raw(CHUNK):
            sent += len(chunk)
            for piece in (chunk,) if inflater is None else inflated(chunk, inflater):
                data += piece
                check_beginning(data)
                # What was sent counts too: compressed nothing can be endless.
                if max(len(data), sent) > self.max_bytes:
                    raise Unfit(f"over {self.max_bytes} bytes")
            if inflater is not None and inflater.eof:
                break
        if inflater is not None:
            data += inflater.flush()
        return check_not_empty(bytes(data))
