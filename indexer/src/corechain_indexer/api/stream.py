"""Fan-out of batch events to the subscribers of this process, each from its own cursor.

A subscriber has a position in the log (`store/events.py`), not a queue: what it was not sent yet is
sent from the newest events, which are kept encoded, or from Postgres. So an outage of Redis or of
Postgres, a slow reader and a new connection are one thing: somebody who goes on from a position.
"""

import asyncio
from collections.abc import Coroutine, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection, Request

from corechain.protocol.errors import Overloaded, ProtocolError, TransportError
from corechain.service.direct import Fields
from corechain.service.streams import StreamRequest
from corechain.service.supervision import side_by_side
from corechain_indexer.api.admission import Admission
from corechain_indexer.api.cors import Cors
from corechain_indexer.api.fan_out import CHUNK, chunks, frames, pass_on
from corechain_indexer.api.newest import PAGE, POLL_S, Encode, Encoded, Newest
from corechain_indexer.api.subscribers import (
    GONE,
    SERVICE_RESTART,
    TRY_AGAIN_LATER,
    EventSourceSubscriber,
    SocketSubscriber,
    Subscriber,
    first_text_of,
    server_sent,
    text_of,
)
from corechain_indexer.api.wishes import STREAMS, Group, Kind, Wish, require_accepted, wish_of
from corechain_indexer.errors import NotAcceptable, Unavailable
from corechain_indexer.metrics import Metrics
from corechain_indexer.store.contents import BatchContents, Contents

CATCHING_UP = 4
"""Subscribers that read Postgres at a time: half of the pool is left to queries."""
READY_LIMIT_S = 3.0
"""How long a subscriber waits for the log before it is sent away."""
HEARTBEAT_S = 20.0
"""Who has not answered a ping by the next one is gone. NGINX hangs up after 60 s of silence."""
STALLED_LIMIT_S = 20.0
"""How long a subscriber may leave what it is sent unread."""
INTERRUPTED, TOO_SLOW = "interrupted", "too slow"
NOTHING = Contents()
"""Of batches that nobody has to look into."""


def _scope(request: StreamRequest) -> dict[str, Any]:
    """As much of ASGI's as is asked for."""
    path, _, query = request.target.partition(b"?")
    return {
        "type": "http",
        "method": "GET",
        "path": path.decode("latin-1"),
        "query_string": query,
        "headers": request.headers,
        "client": (request.peer, 0),
    }


@dataclass(slots=True)
class BatchStream:
    """All subscribers of this process. A `Streams` of its server."""

    newest: Newest
    contents: BatchContents
    max_subscribers: int
    metrics: Metrics
    cors: Cors = field(default_factory=Cors)
    admission: Admission | None = None
    """To open a stream counts as a request; what it then sends does not."""
    _subscribers: set[Subscriber] = field(default_factory=set)
    _groups: dict[Kind, Group] = field(default_factory=dict)
    _arrived: asyncio.Event = field(default_factory=asyncio.Event)
    _tasks: set["asyncio.Task[None]"] = field(default_factory=set)
    _reading: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(CATCHING_UP))

    async def listen(self) -> None:
        """One session. Raises StoreUnavailable when neither Redis nor Postgres answers; subscribers
        stay, and are sent what they have missed by the next session."""
        await self._open()
        await side_by_side(self._follow_log(), self._follow_filtered(), self._beat_forever())

    async def _open(self) -> None:
        known = list(self._subscribers)
        if await self.newest.open():
            # Their positions are in another log. Those that came meanwhile have none yet.
            for subscriber in known:
                self._dismiss(subscriber, SERVICE_RESTART, INTERRUPTED)

    async def _follow_log(self) -> None:
        while True:
            events = await self.newest.next()
            if events is None:
                await self._open()
            for event in events or ():
                encoded = self.newest.take(event)
                plain = [group for group in self._groups.values() if not group.filter]
                await self._fan_out(plain, encoded, NOTHING)
            self._arrived.set()

    async def _follow_filtered(self) -> None:
        """What is in a batch is asked of Postgres. So those who want to know have a loop of their
        own: while Postgres is away they wait, and nobody else does."""
        while True:
            self._arrived.clear()
            try:
                more = await self._pass_filtered()
            except TransportError:
                await asyncio.sleep(POLL_S)
                continue
            if not more:
                await self._arrived.wait()

    async def _pass_filtered(self) -> bool:
        """What has come since, to all of them. Raises StoreUnavailable."""
        groups = [group for group in self._groups.values() if group.filter and group.live]
        positions = [member.position for group in groups for member in group.live]
        events = self.newest.after(min(positions)) if positions else []
        if events is None:
            self._let_go(groups)
            return True
        if not events:
            return False
        # One question for all of them: who joins meanwhile has these events already.
        contents = await self._contents(events, groups)
        for encoded in events:
            await self._fan_out(groups, encoded, contents)
        return True

    def _let_go(self, groups: Iterable[Group]) -> None:
        """Who has waited for Postgres so long that not all events after its place are kept."""
        for group in groups:
            for subscriber in list(group.live):
                if self.newest.after(subscriber.position) is None:
                    group.live.discard(subscriber)
                    self._spawn(self._catch_up(subscriber, group, from_log=True))

    async def _contents(self, events: Iterable[Encoded], groups: Iterable[Group]) -> Contents:
        """Raises StoreUnavailable."""
        filters = [group.filter for group in groups if group.filter]
        if not filters:
            return NOTHING
        return await self.contents.of([encoded.event for encoded in events], filters)

    async def _fan_out(self, groups: Iterable[Group], encoded: Encoded, contents: Contents) -> None:
        # The few first: the many after them hardly notice.
        found = frames(groups, encoded, contents)
        for data, members in sorted(found.items(), key=lambda item: len(item[1])):
            for chunk in chunks(members, encoded.event.id):
                for subscriber in pass_on(chunk, encoded.event.id, data):
                    self._fall_behind(subscriber.group, subscriber)
                await asyncio.sleep(0)
            if data is not None:
                self.metrics.deliveries.inc(len(members))

    # ------------------------------------------------------------------ joining

    def wants(self, target: bytes, headers: Fields, is_websocket: bool) -> bool:
        path = target.partition(b"?")[0]
        if is_websocket:
            return path in STREAMS
        if path not in STREAMS:
            return False
        try:
            require_accepted(path, headers)
        except NotAcceptable:
            return False  # the application says why
        return True

    def protocol(self, request: StreamRequest) -> Subscriber:
        if request.is_websocket:  # of which browsers ask no leave
            return SocketSubscriber(request, self._joined, self._forget)
        more = self._leave(request)
        default = request.default_fields
        marked = replace(request, default_fields=lambda: default() + more)
        return EventSourceSubscriber(marked, self._joined, self._forget)

    def _leave(self, request: StreamRequest) -> bytes:
        """Which pages may read the answer, serialised."""
        headers = MutableHeaders()
        self.cors.mark(Request(_scope(request)), headers)
        return b"".join(b"%s: %s\r\n" % item for item in headers.raw)

    def wish(self, target: bytes, headers: Fields) -> Wish:
        """What a new subscriber asks for. Raises Overloaded, and as `wish_of`."""
        if len(self._subscribers) >= self.max_subscribers:
            raise Overloaded("too many subscribers")
        return wish_of(target, headers)

    async def until_known(self, wish: Wish) -> None:
        """Returns when a stream can begin where it was asked to. Raises Unavailable, CursorUnknown,
        CursorExpired, StoreUnavailable."""
        await self._wait_until_ready()
        if wish.since is not None and not self.newest.knows(wish.since):
            await self.newest.log.require(wish.since)

    def _joined(self, subscriber: Subscriber) -> None:
        try:
            wish = self.wish(subscriber.request.target, subscriber.request.headers)
            is_counted = self._is_counted(subscriber.request)
        except ProtocolError as error:
            subscriber.refuse(error)
            return
        # It has its place before it waits: many that wait are as many as many that listen.
        self._subscribers.add(subscriber)
        self.metrics.subscribers.set(len(self._subscribers))
        group = self._group(subscriber, wish)
        if self.newest.ready.is_set() and self._is_at_hand(wish) and not is_counted:
            self._begin(subscriber, group, wish)
        else:
            self._spawn(self._begin_later(subscriber, group, wish))

    def _is_counted(self, request: StreamRequest) -> bool:
        """Raises UnknownApiKey."""
        if self.admission is None:
            return False
        return self.admission.asker(HTTPConnection(_scope(request))) is not None

    def _is_at_hand(self, wish: Wish) -> bool:
        return wish.since is None or self.newest.knows(wish.since)

    def _group(self, subscriber: Subscriber, wish: Wish) -> Group:
        encode: Encode = server_sent
        if isinstance(subscriber, SocketSubscriber):
            encode = first_text_of if wish.is_plain else text_of
            subscriber.shows_cursors = not wish.is_plain
        kind = encode, wish.only_final, wish.filter
        group = subscriber.group = self._groups.setdefault(kind, Group(*kind))
        group.size += 1
        return group

    def _begin(self, subscriber: Subscriber, group: Group, wish: Wish) -> None:
        """From here on, nothing is missed: no other task runs between cursor and greeting."""
        newest, since = self.newest, wish.since
        cursor = newest.cursor if since is None else since.text
        if subscriber.greet(cursor):
            subscriber.position = newest.position if since is None else since.number
            if not self._send_kept(subscriber, group):
                self._spawn(self._catch_up(subscriber, group, from_log=True))
        else:
            self._forget(subscriber)

    async def _begin_later(self, subscriber: Subscriber, group: Group, wish: Wish) -> None:
        try:
            if self.admission is not None:
                await self.admission.admit(HTTPConnection(_scope(subscriber.request)))
            await self.until_known(wish)
        except TransportError as error:
            self._refuse(subscriber, Unavailable(str(error)))
        except ProtocolError as error:
            self._refuse(subscriber, error)
        else:
            if subscriber in self._subscribers:
                self._begin(subscriber, group, wish)

    def _refuse(self, subscriber: Subscriber, error: ProtocolError) -> None:
        self._forget(subscriber)
        if not subscriber.transport.is_closing():
            subscriber.refuse(error)

    async def _wait_until_ready(self) -> None:
        """Raises Unavailable."""
        try:
            async with asyncio.timeout(READY_LIMIT_S):
                await self.newest.ready.wait()
        except TimeoutError:
            raise Unavailable("no announcements at the moment") from None

    # ------------------------------------------------------------------ catching up

    async def _send(self, subscriber: Subscriber, group: Group, events: Sequence[Encoded]) -> None:
        """As many as it takes. Raises StoreUnavailable."""
        contents = await self._contents(events, [group])
        self._write(subscriber, group, events, contents)

    def _write(
        self, subscriber: Subscriber, group: Group, events: Iterable[Encoded], contents: Contents
    ) -> None:
        for encoded in events:
            if subscriber.paused or subscriber.position == GONE:
                return
            data = group.frame(encoded, contents)
            if data is not None:
                subscriber.transport.write(data)
            subscriber.position = encoded.event.id

    def _send_kept(self, subscriber: Subscriber, group: Group) -> bool:
        """True when it has everything now, and is sent what comes; or is gone."""
        events = self.newest.after(subscriber.position)
        if events is None or (events and group.filter):
            return False
        self._write(subscriber, group, events, NOTHING)
        if subscriber.position == GONE:
            return True
        if subscriber.paused:
            return False
        group.live.add(subscriber)
        return True

    def _fall_behind(self, group: Group, subscriber: Subscriber) -> None:
        group.live.discard(subscriber)
        self._spawn(self._catch_up(subscriber, group, from_log=False))

    async def _catch_up(self, subscriber: Subscriber, group: Group, *, from_log: bool) -> None:
        """Until it is live. One that was live and has fallen behind all that is kept is let go: it
        may come back with its cursor, and must not make Postgres work while it sleeps."""
        try:
            while subscriber.position != GONE:
                async with asyncio.timeout(STALLED_LIMIT_S):
                    await subscriber.drained()
                if subscriber.position == GONE or self._send_kept(subscriber, group):
                    return
                if subscriber.paused:
                    continue
                if kept := self.newest.after(subscriber.position):
                    async with self._reading:
                        await self._send(subscriber, group, kept[:PAGE])
                    continue
                if not from_log:
                    self._dismiss(subscriber, TRY_AGAIN_LATER, TOO_SLOW)
                    return
                await self._send_stored(subscriber, group)
        except TimeoutError:
            self._abort(subscriber, TOO_SLOW)
        except TransportError as error:
            self._dismiss(subscriber, TRY_AGAIN_LATER, str(error))

    async def _send_stored(self, subscriber: Subscriber, group: Group) -> None:
        """A page from Postgres. Raises StoreUnavailable."""
        position = subscriber.position
        async with self._reading:
            events = await self.newest.log.after(position, PAGE)
            if events and events[0].id == position + 1:
                await self._send(subscriber, group, [Encoded(event) for event in events])
                return
        # They went while it was catching up: when it comes again, it is told so.
        self._dismiss(subscriber, TRY_AGAIN_LATER, INTERRUPTED)

    # ------------------------------------------------------------------ leaving

    def _dismiss(self, subscriber: Subscriber, code: int, why: str) -> None:
        self._forget(subscriber, why if why in (TOO_SLOW, INTERRUPTED) else "unavailable")
        if not subscriber.transport.is_closing():
            subscriber.dismiss(code, why)

    def _abort(self, subscriber: Subscriber, why: str) -> None:
        self._forget(subscriber, why)
        subscriber.position = GONE  # it lost the end of what it was sent: nothing may follow
        subscriber.transport.abort()

    def _forget(self, subscriber: Subscriber, why: str = "") -> None:
        """Its place is free at once; its goodbye has a limit of its own."""
        if subscriber not in self._subscribers:
            return
        self._subscribers.discard(subscriber)
        self.metrics.subscribers.set(len(self._subscribers))
        group: Group | None = subscriber.group
        if group is not None:
            group.live.discard(subscriber)
            group.size -= 1
            # There may be as many filters as subscribers, each of them once.
            if not group.size:
                del self._groups[group.kind]
        if why:
            self.metrics.subscribers_dropped.labels(why).inc()

    async def _beat_forever(self) -> None:
        """Each subscriber once in a round, a few at a time."""
        while True:
            everyone = list(self._subscribers)
            chunks = [everyone[i : i + CHUNK] for i in range(0, len(everyone), CHUNK)]
            for chunk in chunks or [[]]:
                await asyncio.sleep(HEARTBEAT_S / max(1, len(chunks)))
                for subscriber in chunk:
                    self._beat(subscriber)

    def _beat(self, subscriber: Subscriber) -> None:
        if subscriber.position == GONE or subscriber.paused:
            return
        if not subscriber.alive:
            self._abort(subscriber, "lost")
            return
        # Who is sent few of the events would go on from an old place, or from one that is gone.
        # Not while an event is under way to it: with that one's cursor it would never get it.
        has_all = subscriber.position == self.newest.position
        group: Group = subscriber.group
        subscriber.beat(self.newest.cursor if has_all and not group.gets_all else None)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
