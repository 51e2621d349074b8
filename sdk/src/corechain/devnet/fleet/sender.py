"""Sends a file of signed reports to a gateway, and gives no report up."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from corechain.deliveries import PACKED_REPORTS
from corechain.devnet.fleet import outcome
from corechain.devnet.fleet.acklog import AckLog, Kind
from corechain.devnet.fleet.http1 import Connection, Target
from corechain.devnet.fleet.latency import Latencies
from corechain.devnet.fleet.outcome import Keys, Outcome
from corechain.devnet.fleet.pace import Pace
from corechain.devnet.fleet.resuming import Left, Run, requests
from corechain.devnet.fleet.signed_file import SignedFile
from corechain.protocol.errors import TransportError

# Where the gateway does not say how long to wait: doubled each time, up to the limit.
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 5.0
# Where it says so. Our own gateway never asks for more; a proxy that says "tomorrow" is not obeyed.
LONGEST_OBEYED_S = 120.0
# A log that is behind by more would lose too much to a kill -9; more often would cost too much.
FLUSH_S = 0.25
# A stop may find a request this long before its time; a longer sleep listens for the stop.
PLAIN_SLEEP_S = 0.5
# A gateway that was killed is back by then, mostly; one that is not costs a refused connection.
RETURN_S = 5.0


@dataclass(frozen=True, slots=True)
class Plan:
    """`a_request` reports a request over so many `connections`, each when `pace` says.

    `timeout_s` bounds one attempt, `drain_s` the wait for answers after a stop.
    """

    targets: tuple[Target, ...]
    """Gateways of one relayer, among which the connections are divided."""
    a_request: int
    connections: int
    pace: Pace
    timeout_s: float = 60.0
    drain_s: float = 5.0
    in_order: bool = False
    """A request waits for the answers to those before it that have reports of its devices."""


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
class Route:
    """A connection, and which of the gateways it uses: its own, and the next one for a while after
    one could not be reached or did not answer."""

    targets: Sequence[Target]
    own: int
    connection: Connection
    _turn: int = 0
    _left_at: float = 0.0

    @classmethod
    def of(cls, targets: Sequence[Target], number: int) -> "Route":
        own = number % len(targets)
        return cls(targets, own, Connection(targets[own]))

    def turn_away(self, now: float) -> None:
        """After a failure, which has closed the connection."""
        self._left_at, self._turn = now, self._turn + 1
        self._aim()

    def turn_back(self, now: float) -> None:
        """To its own, when it has been away for long enough: or all would stay with the one that
        failed last."""
        if self._turn % len(self.targets) and now - self._left_at >= RETURN_S:
            self.connection.close()
            self._turn = 0
            self._aim()

    def _aim(self) -> None:
        self.connection.target = self.targets[(self.own + self._turn) % len(self.targets)]


@dataclass(slots=True)
class Sender:
    """One run. `stop` ends it early, in order: what is in flight is waited for and logged."""

    file: SignedFile
    plan: Plan
    left: Left
    tally: Tally = field(default_factory=Tally)
    tick: Callable[[Tally], None] = lambda tally: None
    """Called four times a second."""
    _requests: Iterator[tuple[int, Run]] = field(init=False)
    """Those that nobody has taken, with their numbers."""
    _stopped: asyncio.Event = field(default_factory=asyncio.Event)
    _started: float = 0.0
    _heads: dict[tuple[Target, int], bytes] = field(default_factory=dict)
    """Of requests, by where they go and how many reports they have: all but the last are alike."""
    _under_way: dict[Run, asyncio.Event] = field(default_factory=dict)
    """With `in_order`: those that were taken, in order, and what is set when they are answered."""

    def __post_init__(self) -> None:
        self._requests = enumerate(requests(self.left.runs, self.plan.a_request))

    @property
    def log(self) -> AckLog:
        return self.left.log

    def stop(self) -> None:
        self._stopped.set()

    async def run(self) -> Tally:
        """Until all is answered, or stopped. The log is flushed and has its end."""
        self._started = time.monotonic()
        try:
            await self._work()
        finally:
            self.tally.elapsed_s = time.monotonic() - self._started
            self.log.end()
        return self.tally

    async def _work(self) -> None:
        plan = self.plan
        routes = [Route.of(plan.targets, number) for number in range(plan.connections)]
        watching = asyncio.create_task(self._watch())
        workers = [asyncio.create_task(self._serve(route)) for route in routes]
        try:
            await self._until_done(workers)
        finally:
            watching.cancel()
            for worker in workers:
                worker.cancel()
            await asyncio.gather(watching, *workers, return_exceptions=True)
            for route in routes:
                route.connection.close()

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

    async def _serve(self, route: Route) -> None:
        """One connection: takes the next request, when it is due, until there is none."""
        while not self._stopped.is_set():
            request = next(self._requests, None)
            if request is None:
                return
            number, (first, count) = request
            async with self._turn_of((first, count)):
                await self._when_due(route, number, first, count)

    @asynccontextmanager
    async def _turn_of(self, run: Run) -> AsyncIterator[None]:
        """Entered when no request before it has reports of the same devices without an answer."""
        if not self.plan.in_order:
            yield
            return
        before, shape = list(self._under_way.items()), self.file.head.shape
        self._under_way[run] = answered = asyncio.Event()
        try:
            for other, event in before:
                if shape.share_devices(other, run):
                    await event.wait()
            yield
        finally:
            del self._under_way[run]
            answered.set()

    async def _when_due(self, route: Route, number: int, first: int, count: int) -> None:
        if await self._stopped_before(self.plan.pace.due_s(number)):
            return
        route.turn_back(time.monotonic())
        await self._deliver(route, first, count)

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

    async def _deliver(self, route: Route, first: int, count: int) -> None:
        """Until the gateway has said of each report what became of it, or the run is stopped."""
        settled = False
        try:
            settled = await self._insist(route, first, count)
        finally:
            if not settled:
                self.tally.unanswered += count
                self.log.add(Kind.UNANSWERED, first, count)

    async def _insist(self, route: Route, first: int, count: int) -> bool:
        """Sends again what may be sent again; False when the run was stopped before an answer."""
        pause = FIRST_PAUSE_S
        while True:
            found, took_s = await self._attempt(route, first, count)
            if not found.again:
                self._settle(first, count, found, took_s)
                return True
            self.tally.retries[found.again] += 1
            # Not all at the same moment again.
            wait = min(LONGEST_OBEYED_S, found.after_s or pause) * random.uniform(1.0, 1.5)
            pause = min(2 * pause, LONGEST_PAUSE_S)
            if await self._pause(wait):
                return False

    async def _attempt(self, route: Route, first: int, count: int) -> tuple[Outcome, float]:
        """What the gateway says, and how long it took."""
        connection = route.connection
        head = self._head_for(connection.target, count)
        sent = time.monotonic()
        try:
            answer = await connection.post(head, self.file.body(first, count), self.plan.timeout_s)
        except (OSError, TransportError, TimeoutError) as error:
            route.turn_away(time.monotonic())
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

    def _head_for(self, target: Target, count: int) -> bytes:
        key = target, count
        if key not in self._heads:
            size = count * self.file.head.shape.record_bytes
            self._heads[key] = target.head(PACKED_REPORTS, size)
        return self._heads[key]


def runs(count: int, refused: Mapping[int, str]) -> Iterator[tuple[int, int, str]]:
    """(first, size, reason) of the runs of equal fate among `count` reports."""
    if not refused:
        yield 0, count, ""
        return
    for reason, places in groupby(range(count), key=lambda place: refused.get(place, "")):
        run = list(places)
        yield run[0], len(run), reason
