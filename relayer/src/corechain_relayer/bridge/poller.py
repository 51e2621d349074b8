"""Stations that do not push: their source is asked every so often."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog

from corechain.http import async_client, put_off_s
from corechain.protocol.errors import BodyTooLarge, CoreChainError, TransportError
from corechain.service.workers import Workers
from corechain_relayer.bridge.errors import places_of
from corechain_relayer.bridge.formats.registry import FORMATS
from corechain_relayer.bridge.formats.upload import Message
from corechain_relayer.bridge.intake import Intake
from corechain_relayer.bridge.metrics import Metrics
from corechain_relayer.bridge.settings import Settings
from corechain_relayer.bridge.stations import Station
from corechain_relayer.bridge.store import BridgeStore

if TYPE_CHECKING:
    import httpx

log = structlog.get_logger(__name__)

LOOK_S = 1.0
"""How often it looks which stations are due."""
AT_ONCE = 16
"""Sources asked at a time: one that hangs must not hold up the others."""


LONGEST_OBEYED_S = 3_600.0
"""A source that asks to be left alone for longer is asked again nevertheless."""


class SourceUnavailable(TransportError):
    """A polled source gave no answer that could be read. The message has no URL: they hold keys.
    `wait_s`: for how long it asks to be left alone."""

    def __init__(self, why: str, wait_s: float = 0.0) -> None:
        super().__init__(why)
        self.wait_s = wait_s


@dataclass(slots=True)
class Poller:
    """Asks each polled station's source when it is due."""

    settings: Settings
    store: BridgeStore
    intake: Intake
    worker: Workers
    metrics: Metrics
    clock: Callable[[], float] = field(default=time.monotonic)
    _due: dict[int, float] = field(default_factory=dict)
    _asked: set[int] = field(default_factory=set)
    """Stations whose source is being asked: it is not asked twice at a time."""
    _gate: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))

    async def poll_forever(self) -> None:
        """Raises StoreUnavailable. What goes wrong at a source is counted; it is asked again."""
        async with async_client(follow_redirects=False) as client, asyncio.TaskGroup() as group:
            while True:
                await self.poll_due(client, group)
                await asyncio.sleep(LOOK_S)

    async def poll_due(self, client: "httpx.AsyncClient", group: asyncio.TaskGroup) -> None:
        """Begins to ask the sources that are due, and waits for none of them."""
        now = self.clock()
        stations = [one for one in await self.worker.run(self.store.stations) if one.url]
        self._due = {one.id: self._due.get(one.id, now) for one in stations}
        for station in stations:
            if self._due[station.id] <= now and station.id not in self._asked:
                self._due[station.id] = now + station.every_s
                self._asked.add(station.id)
                group.create_task(self._poll(client, station))

    async def _poll(self, client: "httpx.AsyncClient", station: Station) -> None:
        try:
            async with self._gate:
                body = await self._fetch(client, station)
            await self.intake.polled(FORMATS[station.format], Message(body), station)
        except CoreChainError as error:
            if isinstance(error, SourceUnavailable):
                self._leave_alone(station, error.wait_s)
            self.metrics.polls.labels(error.name).inc()
            log.warning("poll failed", station=station.name, reason=error.name)
        except Exception as error:
            # A mistake of ours with one station's source must not end the polls of all others.
            self.metrics.polls.labels("Internal").inc()
            named = {"station": station.name, "kind": type(error).__name__}
            log.error("poll failed", trace=places_of(error), **named)
        else:
            self.metrics.polls.labels("ok").inc()
        finally:
            self._asked.discard(station.id)

    def _leave_alone(self, station: Station, wait_s: float) -> None:
        """A source that many stations share says so to each of them."""
        until = self.clock() + min(LONGEST_OBEYED_S, wait_s)
        self._due[station.id] = max(self._due.get(station.id, until), until)

    async def _fetch(self, client: "httpx.AsyncClient", station: Station) -> bytes:
        """Raises SourceUnavailable, BodyTooLarge."""
        import httpx

        name, _, value = (station.header or "").partition(":")
        headers = {name.strip(): value.strip()} if value else {}
        try:
            async with asyncio.timeout(self.settings.poll_timeout_s):
                async with client.stream("GET", station.url or "", headers=headers) as answer:
                    return await self._read(answer)
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, ValueError) as error:
            raise SourceUnavailable(type(error).__name__) from None

    async def _read(self, answer: "httpx.Response") -> bytes:
        if answer.status_code != 200:
            status, wait_s = answer.status_code, put_off_s(answer.status_code, answer.headers)
            raise SourceUnavailable(f"HTTP {status}", wait_s)
        body = bytearray()
        async for chunk in answer.aiter_bytes():
            body += chunk
            if len(body) > self.settings.max_body_bytes:
                raise BodyTooLarge(self.settings.max_body_bytes)
        return bytes(body)
