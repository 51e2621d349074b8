"""From one upload to durable reports: whose it is, what it says, what of it is new."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import structlog

from corechain.protocol.errors import CoreChainError, Overloaded, ProtocolError, Unavailable
from corechain.protocol.reading import Observation, SignedReport
from corechain.service.errors import StoreUnavailable
from corechain.service.seldom import Seldom
from corechain.service.workers import Workers
from corechain_relayer.bridge.book import Taken
from corechain_relayer.bridge.formats.clocks import Clock
from corechain_relayer.bridge.formats.mapping import identity as mapped_identity
from corechain_relayer.bridge.formats.registry import Format
from corechain_relayer.bridge.formats.upload import Arrival, Message, Upload
from corechain_relayer.bridge.gather import Gather
from corechain_relayer.bridge.keys import KeyFolder, KeyMissing
from corechain_relayer.bridge.metrics import Metrics
from corechain_relayer.bridge.rates import Rates
from corechain_relayer.bridge.settings import Settings
from corechain_relayer.bridge.stations import (
    Station,
    UnknownStation,
    chosen,
    chosen_by,
    hash_of,
)
from corechain_relayer.bridge.store import BridgeStore
from corechain_relayer.bridge.topics import Uplink

if TYPE_CHECKING:
    from corechain.async_client import AsyncClient

log = structlog.get_logger(__name__)

T = TypeVar("T")
Outcome = list[Taken] | CoreChainError
"""What was taken of a message, or why it was refused."""


@dataclass(slots=True)
class Intake:
    """`worker` has one thread: it alone uses the store. `wake` is called when reports wait."""

    settings: Settings
    store: BridgeStore
    keys: KeyFolder
    client: "AsyncClient"
    worker: Workers
    metrics: Metrics
    wake: Callable[[], None]
    now: Callable[[], float] = field(default=time.time)
    gather: Gather = field(init=False)
    rates: Rates = field(init=False)
    seldom: Seldom = field(default_factory=Seldom)

    def __post_init__(self) -> None:
        settings = self.settings
        self.gather = Gather(self.store, self.worker)
        self.rates = Rates(settings.station_uploads_per_minute, settings.station_burst)

    async def upload(self, kind: Format, message: Message, token: str) -> list[Taken]:
        """Durable when it returns. Raises UnknownStation, what the format refuses, Overloaded,
        Unavailable."""
        return await self._counted(kind, partial(self._upload, kind, message, token))

    async def polled(self, kind: Format, message: Message, station: Station) -> list[Taken]:
        """The same for what was fetched for a station."""
        return await self._counted(kind, partial(self._read, kind, message, station))

    async def packet(self, kind: Format, message: Message) -> list[Taken]:
        """The same where there is no token: the identity alone says whose it is."""
        return await self._counted(kind, partial(self._packet, kind, message))

    async def uplinks(self, uplinks: Sequence[Uplink]) -> list[Outcome]:
        """The outcomes of messages of a broker, in order: durable, all of them in one transaction.
        Fewer than were given when the queue is full: the last is Overloaded then.

        Raises Unavailable; nothing was taken then.
        """
        found = await self._durable(partial(self._uplinks, uplinks))
        for uplink, outcome in zip(uplinks, found, strict=False):
            if not isinstance(outcome, CoreChainError):
                self._count(uplink.format, outcome)
        return found

    def refused(self, kind: str, error: CoreChainError) -> None:
        """Counts it. Neither path nor query is told: both may hold a token."""
        self.metrics.refused.labels(kind, error.name).inc()
        about = kind, error.name
        self.seldom.say(log.info, "upload refused", about, format=kind, reason=error.name)

    def _not_taken(self, error: CoreChainError) -> None:
        why = str(error)
        self.seldom.say(log.error, "upload not taken", why, reason=error.name, error=why)

    async def _counted(self, kind: Format, step: Callable[[], list[Taken]]) -> list[Taken]:
        try:
            found = await self._durable(step)
        except KeyMissing as error:
            self._not_taken(error)
            raise Unavailable(f"{error.name}: nothing was taken") from error
        self._count(kind, found)
        return found

    async def _durable(self, step: Callable[[], T]) -> T:
        """Raises Unavailable for an outage of the disk, and what the step refuses."""
        try:
            return await self.gather.run(step)
        except StoreUnavailable as error:
            self._not_taken(error)
            raise Unavailable(f"{error.name}: nothing was taken") from error

    def _count(self, kind: Format, found: Sequence[Taken]) -> None:
        self.metrics.uploads.labels(kind.name).inc(len(found))
        reasons = Counter(reason for taken in found for reason in taken.skipped.values())
        for reason, number in reasons.items():
            self.metrics.skipped.labels(kind.name, reason).inc(number)
        observations = sum(len(taken.observations) for taken in found)
        self.metrics.observations.labels(kind.name).inc(observations)
        if observations:
            self.wake()

    # ------------------------------------------------- in the worker's one thread

    def _upload(self, kind: Format, message: Message, token: str) -> list[Taken]:
        return self._sent(kind, message, self._whose(kind, message, hash_of(token)))

    def _whose(self, kind: Format, message: Message, token_hash: bytes) -> Station:
        """Of the stations with a token. Raises UnknownStation, MalformedUpload."""
        # Two tell whether the identity decides, without reading the thousands behind one webhook.
        candidates = self.store.with_token(token_hash, kind.name, 2)
        # Who has no station learns nothing about formats.
        if not any(one.identity for one in candidates):
            return chosen(candidates, "")
        if kind.name == "json":
            return self._mapped(message, self.store.with_token(token_hash, kind.name))
        identity = kind.identity(message)
        return chosen(self.store.identified(kind.name, identity, token_hash), identity)

    def _mapped(self, message: Message, candidates: Sequence[Station]) -> Station:
        """Of no known format: where its identity stands, each station's mapping says."""
        for station in candidates:
            own = station.profile.mapping
            if station.identity and chosen_by(station, mapped_identity(message, own)):
                return station
        raise UnknownStation

    def _packet(self, kind: Format, message: Message) -> list[Taken]:
        identity = kind.identity(message)
        candidates = self.store.identified(kind.name, identity)
        return self._sent(kind, message, chosen(candidates, identity or "?"))

    def _uplinks(self, uplinks: Sequence[Uplink]) -> list[Outcome]:
        found: list[Outcome] = []
        for uplink in uplinks:
            try:
                uplink.check()
                found.append(self._packet(uplink.format, uplink.message))
            except Overloaded as error:
                found.append(error)
                break  # what comes after it must not overtake it
            except ProtocolError as error:
                found.append(error)
            # Over HTTP the station is told to try again. Here it would hold up all the others: only
            # an operator with a backup can bring a key back.
            except KeyMissing as error:
                self._not_taken(error)
                found.append(error)
        return found

    def _sent(self, kind: Format, message: Message, station: Station) -> list[Taken]:
        """What a station sends by itself, so as fast as it likes."""
        self.rates.take(station.id, self.now())
        return self._read(kind, message, station)

    def _read(self, kind: Format, message: Message, station: Station) -> list[Taken]:
        upload = kind.read(Arrival(message, station.profile, self.clock()))
        return self.keep(station, [upload], message.trace)

    def keep(
        self, station: Station, uploads: Sequence[Upload], trace: bytes | None = None
    ) -> list[Taken]:
        """Signs and queues what is new. Raises Overloaded, StoreUnavailable, KeyMissing."""
        return self.store.take(station, uploads, int(self.now()), self.sign, trace)

    def clock(self) -> Clock:
        settings = self.settings
        now = int(self.now())
        return Clock(now, max_age_s=settings.max_age_s, ahead_s=settings.max_future_s)

    def sign(
        self, station: Station, sequence: int, observations: Sequence[Observation]
    ) -> SignedReport:
        return self.client.sign_report(self.keys.of(station.device), sequence, observations)
