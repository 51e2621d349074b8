"""Data files from wherever they are offered. Judged by hash, not by source."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

import httpx

from corechain_indexer.errors import FileWithheld


class _Unfit(Exception):
    """A source that has no such file; the text says why."""


@dataclass(frozen=True, slots=True)
class FileSources:
    """Templates with `{commitment}`, tried in order; sizes in bytes."""

    templates: Sequence[str]
    http: httpx.AsyncClient
    max_bytes: int

    async def fetch(self, commitment: bytes) -> bytes:
        """The first file that is offered. Raises FileWithheld."""
        reasons = []
        for template in self.templates:
            url = template.replace("{commitment}", commitment.hex())
            try:
                return await self._from(url)
            except _Unfit as error:
                reasons.append(f"{urlsplit(template).netloc or template}: {error}")
        raise FileWithheld(commitment, reasons)

    async def _from(self, url: str) -> bytes:
        if url.startswith("file://"):
            path = Path(unquote(urlsplit(url).path))
            return await asyncio.to_thread(self._from_disk, path)
        return await self._from_http(url)

    def _from_disk(self, path: Path) -> bytes:
        try:
            if path.stat().st_size > self.max_bytes:
                raise _Unfit(f"over {self.max_bytes} bytes")
            return path.read_bytes()
        except OSError as error:
            raise _Unfit(error.strerror or "unreadable") from error

    async def _from_http(self, url: str) -> bytes:
        chunks, size = [], 0
        try:
            async with self.http.stream("GET", url) as response:
                if response.status_code != httpx.codes.OK:
                    raise _Unfit(f"HTTP {response.status_code}")
                async for chunk in response.aiter_bytes():
                    size += len(chunk)
                    if size > self.max_bytes:
                        raise _Unfit(f"over {self.max_bytes} bytes")
                    chunks.append(chunk)
        except httpx.HTTPError as error:
            raise _Unfit(f"{type(error).__name__} {error}") from error
        return b"".join(chunks)
