"""Sends a file of signed reports to a gateway, and gives no report up."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from corechain.devnet.fleet import outcome
from corechain.devnet.fleet.acklog import AckLog, Kind
from corechain.devnet.fleet.http1 import Connection, Target
from corechain.devnet.fleet.latency import Latencies
from corechain.devnet.fleet.outcome import Keys, Outcome
from corechain.devnet.fleet.pace import Pace
from corechain.devnet.fleet.signed_file import SignedFile
from corechain.flows import PACKED_REPORTS
from corechain.protocol.errors import TransportError

# Where the gateway does not say how long to wait: doubled each time, up to the limit.
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 5.0
# Where it says so. Our own gateway never asks for more; a proxy that says "tomorrow" is not obeyed.
LONGEST_OBEYED_S = 120.0
# A log that is behind by more would lose too much to a kill -9; more often would cost too much.
FLUSH_S = 0.25
# A stop may find a request this long before its time; a longer sleep listens for the stop.
PLAIN_SLEEP_S = 0.5


@dataclass(frozen=True, slots=True)
class Plan:
    """`a_request` reports a request over so many `connections`, each when `pace` says.

    `timeout_s` bounds one attempt, `drain_s` the wait for answers after a stop.
    """

    target: Target
    a_request: int
    connections: int
    pace: Pace
    timeout_s: float = 60.0
    drain_s: float = 5.0


@dataclass(slots=True)
class Tally:
    """What happened so far, in reports unless said."""

    acknowledged: int = 0
    unanswered: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    retries: Counter[str] = field(default_factory=Counter)
    """Requests that were sent again, by reason."""
    latencies: Latencies = field(default_factory=Latencies)
    """Of the POSTs that were accepted, from sending to the answer."""
    elapsed_s: float = 0.0
    behind_s: float = 0.0
    """How far behind its time a request was sent at most: the fleet could not keep its pace."""

    @property
    def done(self) -> int:
        return self.acknowledged + sum(self.refused.values())


@dataclass(slots=True)
class Sender:
    """One run. `stop` ends it early, in order: what is in flight is waited for and logged."""

    file: SignedFile
    plan: Plan
    log: AckLog
    tally: Tally = field(default_factory=Tally)
    tick: Callable[[Tally], None] = lambda tally: None
    """Called four times a second."""
    _next: int = 0
    _stopped: asyncio.Event = field(default_factory=asyncio.Event)
    _started: float = 0.0
    _head: bytes = b""

    def stop(self) -> None:
        self._stopped.set()

    async def run(self) -> Tally:
        """Until all is answered, or stopped. The log is flushed and has its end."""
        plan, self._started = self.plan, time.monotonic()
        self._head = self._head_for(plan.a_request)
        try:
            await self._work()
        finally:
            self.tally.elapsed_s = time.monotonic() - self._started
            self.log.end()
        return self.tally

    async def _work(self) -> None:
        connections = [Connection(self.plan.target) for _ in range(self.plan.connections)]
        watching = asyncio.create_task(self._watch())
        workers = [asyncio.create_task(self._serve(one)) for one in connections]
        try:
            await self._until_done(workers)
        finally:
            watching.cancel()
            for worker in workers:
                worker.cancel()
            await asyncio.gather(watching, *workers, return_exceptions=True)
            for connection in connections:
                connection.close()

    async def _until_done(self, workers: "list[asyncio.Task[None]]") -> None:
        working = asyncio.gather(*workers)
        stopping = asyncio.create_task(self._stopped.wait())
        both: list[asyncio.Future[Any]] = [working, stopping]
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            await asyncio.wait([working], timeout=self.plan.drain_s)
        stopping.cancel()
        if working.done():
            await working

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_S)
            self.log.flush()
            self.tally.elapsed_s = time.monotonic() - self._started
            self.tick(self.tally)

    async def _serve(self, connection: Connection) -> None:
        """One connection: takes the next request, when it is due, until there is none."""
        plan, total = self.plan, self.file.head.shape.total
        while not self._stopped.is_set():
            request = self._next
            first = request * plan.a_request
            if first >= total:
                return
            self._next += 1
            if await self._stopped_before(plan.pace.due_s(request)):
                return
            await self._deliver(connection, first, min(plan.a_request, total - first))

    async def _stopped_before(self, due_s: float) -> bool:
        wait = self._started + due_s - time.monotonic()
        if wait <= 0:
            self.tally.behind_s = max(self.tally.behind_s, -wait)
            return False
        if wait < PLAIN_SLEEP_S:
            await asyncio.sleep(wait)
            return self._stopped.is_set()
        return await self._pause(wait)

    async def _pause(self, seconds: float) -> bool:
        """Whether the run was stopped meanwhile."""
        try:
            async with asyncio.timeout(seconds):
                await self._stopped.wait()
        except TimeoutError:
            return False
        return True

    async def _deliver(self, connection: Connection, first: int, count: int) -> None:
        """Until the gateway has said of each report what became of it, or the run is stopped."""
        settled = False
        try:
            settled = await self._insist(connection, first, count)
        finally:
            if not settled:
                self.tally.unanswered += count
                self.log.add(Kind.UNANSWERED, first, count)

    async def _insist(self, connection: Connection, first: int, count: int) -> bool:
        """Sends again what may be sent again; False when the run was stopped before an answer."""
        pause = FIRST_PAUSE_S
        while True:
            found, took_s = await self._attempt(connection, first, count)
            if not found.again:
                self._settle(first, count, found, took_s)
                return True
            self.tally.retries[found.again] += 1
            # Not all at the same moment again.
            wait = min(LONGEST_OBEYED_S, found.after_s or pause) * random.uniform(1.0, 1.5)
            pause = min(2 * pause, LONGEST_PAUSE_S)
            if await self._pause(wait):
                return False

    async def _attempt(
        self, connection: Connection, first: int, count: int
    ) -> tuple[Outcome, float]:
        """What the gateway says, and how long it took."""
        head = self._head if count == self.plan.a_request else self._head_for(count)
        sent = time.monotonic()
        try:
            answer = await connection.post(head, self.file.body(first, count), self.plan.timeout_s)
        except (OSError, TransportError, TimeoutError) as error:
            return Outcome(again=type(error).__name__), 0.0
        took_s = time.monotonic() - sent
        return outcome.read(answer, count, lambda: self._keys(first, count)), took_s

    def _settle(self, first: int, count: int, found: Outcome, took_s: float) -> None:
        accepted = count - len(found.refused)
        self.tally.acknowledged += accepted
        self.tally.refused.update(found.refused.values())
        if accepted:
            self.tally.latencies.add(took_s)
        for at, size, reason in runs(count, found.refused):
            kind = Kind.REFUSED if reason else Kind.ACKNOWLEDGED
            self.log.add(kind, first + at, size, took_s, reason)

    def _keys(self, first: int, count: int) -> Keys:
        head = self.file.head
        places = (head.shape.place(number) for number in range(first, first + count))
        return [(head.devices[device], sequence) for device, sequence in places]

    def _head_for(self, count: int) -> bytes:
        return self.plan.target.head(PACKED_REPORTS, count * self.file.head.shape.record_bytes)


def runs(count: int, refused: Mapping[int, str]) -> Iterator[tuple[int, int, str]]:
    """(first, size, reason) of the runs of equal fate among `count` reports."""
    if not refused:
        yield 0, count, ""
        return
    for reason, places in groupby(range(count), key=lambda place: refused.get(place, "")):
        run = list(places)
        yield run[0], len(run), reason
