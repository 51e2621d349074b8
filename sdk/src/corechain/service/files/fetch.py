"""Data files from wherever they are offered. Judged by hash, not by source.

Whoever offers bytes that are not the file is unfit for this file, and the next is asked.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import httpx

from corechain.http import async_client
from corechain.service.errors import FileWithheld
from corechain.service.files.disk import DiskReader
from corechain.service.files.download import Download, Unfit
from corechain.service.files.redirects import Ways

LONGEST_WAIT_S = 300.0
"""A source that asks for more patience than this is asked again nevertheless."""
FORGET = 0.75
"""Weight of the past in a source's record: after eight good files a bad time is forgotten."""
MAX_REDIRECTS = 5
CONNECTIONS = 64

T = TypeVar("T")
Judge = Callable[[bytes], Awaitable[T]]
"""What comes of the bytes. Raises Unfit when they are not the file that was asked for."""


@dataclass(slots=True)
class Source:
    """One place that offers files, and how it has done lately."""

    template: str
    label: str
    failures: float = 0.0
    """0: always served in good time; 1: never."""
    closed_until: float = 0.0

    def note(self, *, served: bool) -> None:
        self.failures = FORGET * self.failures + (1 - FORGET) * (not served)

    def close(self, seconds: float) -> None:
        self.closed_until = time.monotonic() + min(LONGEST_WAIT_S, seconds)

    def check_open(self) -> None:
        """Raises Unfit while the source has asked to be left alone."""
        left = self.closed_until - time.monotonic()
        if left > 0:
            raise Unfit(f"asked to be left alone for {left:.0f} s more")


def _label(number: int, template: str) -> str:
    """What the public may read about a source: its number in the setting, and how it is reached."""
    return f"source {number} ({template.partition(':')[0]})"


def _client(timeout_s: float) -> httpx.AsyncClient:
    """A client of its own: redirects are followed, and no proxy stands before loopback."""
    ways = Ways()
    made = async_client(
        timeout=timeout_s,
        follow_redirects=True,
        max_redirects=MAX_REDIRECTS,
        event_hooks={"request": [ways.check]},
        limits=httpx.Limits(max_connections=CONNECTIONS),
    )
    ways.guard(made)
    return made


@dataclass(slots=True)
class FileSources:
    """Templates with `{commitment}`; sizes in bytes. Sources that served lately are asked first."""

    templates: Sequence[str]
    timeout_s: float
    """For the whole of a file from one source."""
    max_bytes: int
    sources: list[Source] = field(init=False)
    _http: httpx.AsyncClient = field(init=False)
    _disk: DiskReader = field(init=False)

    def __post_init__(self) -> None:
        numbered = enumerate(self.templates, start=1)
        self.sources = [Source(template, _label(n, template)) for n, template in numbered]
        self._http = _client(self.timeout_s)
        self._disk = DiskReader(self.max_bytes)

    async def close(self) -> None:
        self._disk.close()
        await self._http.aclose()

    async def first_fit(self, commitment: bytes, judge: Judge[T]) -> T:
        """What the judge makes of the first file that it takes. Raises FileWithheld, and whatever
        the judge raises besides Unfit."""
        reasons = []
        for source in sorted(self.sources, key=lambda item: item.failures):
            try:
                return await self._tried(source, commitment, judge)
            except Unfit as error:
                reasons.append(f"{source.label}: {error}")
        raise FileWithheld(commitment, reasons)

    async def _tried(self, source: Source, commitment: bytes, judge: Judge[T]) -> T:
        source.check_open()
        started = time.monotonic()
        try:
            data = await self._fetched(source, commitment)
            took = time.monotonic() - started
            found = await judge(data)
        except Unfit as error:
            source.note(served=False)
            source.close(error.wait_s)
            raise
        # Just in time is too slow to be asked first: it holds a place that others could use.
        source.note(served=took < self.timeout_s / 2)
        return found

    async def _fetched(self, source: Source, commitment: bytes) -> bytes:
        url = source.template.replace("{commitment}", commitment.hex())
        try:
            async with asyncio.timeout(self.timeout_s):
                if url.startswith("file://"):
                    return await self._disk.read(url)
                return await Download(self._http, self.max_bytes).get(url)
        except TimeoutError:
            raise Unfit(f"not the whole file within {self.timeout_s:g} s") from None
