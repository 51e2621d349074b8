"""Batch events as they come, resumed after every disconnection: the core of the clients' `stream`.

The API sends them as Server-Sent Events (WHATWG HTML, section 9.2); a cursor names the place after
an event. What is read, and when it is asked again, is the same for both clients; they only send.
"""

import time
from collections.abc import AsyncGenerator, Callable, Generator, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import msgspec

from corechain.documents import (
    BatchId,
    MalformedAnswer,
    Octets26,
    Octets32,
    Unsigned,
    WrongAnswer,
)
from corechain.http import LoopClients, ProcessClients, shown_url
from corechain.protocol.errors import CursorExpired, InvalidValue
from corechain.protocol.places import cell as place
from corechain.protocol.values import CellLike, OctetsLike, address, one_of
from corechain.protocol.vocabulary import MetricLike
from corechain.protocol.vocabulary import metric as metric_of
from corechain.replies import UNANSWERED, json_in, refusal_of
from corechain.steps import ApiUnavailable

if TYPE_CHECKING:
    import httpx

PATH = "/v1/events"
CONNECT_LIMIT_S = 30.0
SILENCE_LIMIT_S = 65.0
"""The API shows that it lives every 20 s: three times nothing is an end that nobody told us of."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0
LONGEST_OBEYED_S = 300.0
"""An API that asks to be left alone for longer is asked again nevertheless."""
MAX_LINE_BYTES = 64 << 10
"""A line of an event has 500."""
MAX_LINES = 1_000
OK, REFUSED, SERVER_ERROR = 200, 400, 500
EVENTS = "text/event-stream"
PASSING = (408, 425, 429)
"""Refusals that a moment may end, as it may those of a broken server."""


class BatchEvent(msgspec.Struct, frozen=True, kw_only=True):
    """What happened to a batch. `type` is `new` (its data file was verified), `undone` (a reorg
    took it, or its verdict went) or `final` (its block is final). `id` counts without a gap in one
    index; `cursor` is the place after the event, for `stream(since=…)`."""

    type: str
    cursor: str
    id: Unsigned
    batch_id: BatchId
    commitment: Octets26
    block: Unsigned
    block_hash: Octets32
    transaction: Octets32
    readings: int | None = None
    rejected: int | None = None
    window_start: int | None = None
    window_end: int | None = None
    finality: str


Devices = OctetsLike | list[OctetsLike] | None
Metrics = MetricLike | list[MetricLike] | None
Cells = CellLike | list[CellLike] | None
"""One, or a list of them; None for all."""

_TEXTS: Mapping[str, Callable[[Any], str]] = {
    "device": lambda one: "0x" + address("device", one).hex(),
    "metric": lambda one: metric_of(one).name,
    "cell": lambda one: f"{place('cell', one):015x}",
}


def _only_params(only: Mapping[str, Any]) -> dict[str, str]:
    """Raises InvalidValue, UnknownMetric, InvalidCell."""
    return {
        name: ",".join(map(_TEXTS[name], _several(name, value)))
        for name, value in only.items()
        if value is not None
    }


def _several(name: str, value: Any) -> list[Any]:
    # A pair of degrees is a cell, too.
    if not isinstance(value, list) or (len(value) == 2 and isinstance(value[0], float)):
        return [value]
    if not value:
        raise InvalidValue(name, value, "takes one at least")
    return value


@dataclass(slots=True)
class EventLines:
    """Parses what has come. Yields a place and, where there is one, the event before it."""

    _rest: bytes = b""
    _id: str = ""
    _data: list[bytes] = field(default_factory=list)

    def feed(self, data: bytes) -> Iterator[tuple[str, BatchEvent | None]]:
        """Raises MalformedAnswer."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            found = self._take(line.removesuffix(b"\r"))
            if found is not None:
                yield found
        if len(self._rest) > MAX_LINE_BYTES:
            raise MalformedAnswer(f"a line of the stream is over {MAX_LINE_BYTES} bytes")

    def _take(self, line: bytes) -> tuple[str, BatchEvent | None] | None:
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"id" and b"\0" not in value:
            self._id = value.decode("ascii", "replace")
        elif name == b"data":
            self._add(value)
        elif not line and (self._id or self._data):
            return self._end()
        return None

    def _add(self, value: bytes) -> None:
        self._data.append(value)
        # An event whose end never comes must not take our memory.
        if sum(map(len, self._data)) > MAX_LINE_BYTES or len(self._data) > MAX_LINES:
            raise MalformedAnswer(f"an event of the stream is over {MAX_LINE_BYTES} bytes")

    def _end(self) -> tuple[str, BatchEvent | None]:
        data, self._data = b"\n".join(self._data), []
        if not data:
            return self._id, None
        if not self._id:
            raise MalformedAnswer("an event of the stream has no place in it")
        try:
            return self._id, msgspec.json.decode(data, type=BatchEvent)
        except (msgspec.DecodeError, RecursionError) as error:
            raise MalformedAnswer(f"an event of the stream: {error}") from error


@dataclass(slots=True)
class Resuming:
    """Where a stream is, and when it is asked for again. Holds no connection and no clock."""

    cursor: str | None
    finality: str
    patience_s: float
    only: Mapping[str, str] = field(default_factory=dict)
    _pause_s: float = FIRST_PAUSE_S
    _alone_since: float | None = None
    _has_come: bool = False
    _newest_id: int = -1

    def question(self) -> dict[str, Any]:
        """The arguments of httpx's `stream`."""
        params = dict(self.only)
        if self.cursor is not None:
            params["since"] = self.cursor
        if self.finality != "pending":
            params["finality"] = self.finality
        return {"params": params, "headers": {"accept": EVENTS}}

    def arrived(self, place: str, event: BatchEvent | None = None) -> None:
        """Raises WrongAnswer for an event that does not come behind the one before."""
        if event is not None:
            if event.id <= self._newest_id:
                raise WrongAnswer(f"event {event.id} does not come behind {self._newest_id}")
            self._newest_id = event.id
        self.cursor, self._pause_s, self._alone_since = place, FIRST_PAUSE_S, None
        self._has_come = True

    def pause_after(self, error: ApiUnavailable, now: float) -> float:
        """Seconds until it is asked again. Raises the error when nothing has come for too long; at
        once where nothing ever came and a server that works says so: the URL is another's."""
        status = error.status or SERVER_ERROR
        if not self._has_come and status < SERVER_ERROR and status not in PASSING:
            raise error
        if self._alone_since is None:
            self._alone_since = now
        pause = max(self._pause_s, min(LONGEST_OBEYED_S, error.retry_after_s or 0.0))
        if now + pause - self._alone_since > self.patience_s:
            raise error
        self._pause_s = min(LONGEST_PAUSE_S, 2 * self._pause_s)
        return pause


def resuming(since: object, finality: object, patience_s: object, **only: object) -> Resuming:
    """Raises InvalidValue, UnknownMetric, InvalidCell."""
    if since is not None:
        one_of("since", since, str, "takes the cursor of an event")
        if not since or not str(since).isascii() or not str(since).isprintable():
            raise InvalidValue("since", since, "takes the cursor of an event")
    if finality not in ("pending", "final", "finalised"):
        raise InvalidValue("finality", finality, "takes 'pending' or 'finalised'")
    # An API of before it knew the word `finalised` is asked in its own.
    sent = "pending" if finality == "pending" else "final"
    is_number = isinstance(patience_s, (int, float)) and not isinstance(patience_s, bool)
    if not is_number or not patience_s >= 0:  # type: ignore[operator]
        raise InvalidValue("patience_s", patience_s, "takes a number of seconds")
    return Resuming(since, sent, patience_s, _only_params(only))  # type: ignore[arg-type]


def _refusal(response: "httpx.Response", body: bytes) -> Exception:
    error = refusal_of(response, body)
    if isinstance(error, CursorExpired):
        # It is a problem document, or the error had another class.
        error.newest = str(json_in(body).get("since"))
    return error


def _no_stream(response: "httpx.Response") -> ApiUnavailable | None:
    """What a success is that is no stream: a page of whoever stands before the API."""
    kind = response.headers.get("content-type", "nothing named")
    if response.status_code == OK and kind.partition(";")[0].strip().lower() == EVENTS:
        return None
    what = f"HTTP {response.status_code} with {kind:.80} is no stream of events"
    return ApiUnavailable(f"{shown_url(str(response.request.url))}: {what}", response.status_code)


def _some(body: bytes) -> bytes:
    """Of a refusal. Raises MalformedAnswer when it does not end."""
    if len(body) > MAX_LINE_BYTES:
        raise MalformedAnswer(f"a refusal of the stream is over {MAX_LINE_BYTES} bytes")
    return body


def _timeout() -> "httpx.Timeout":
    import httpx

    return httpx.Timeout(CONNECT_LIMIT_S, read=SILENCE_LIMIT_S)


def _lost(url: str, error: Exception | None = None) -> ApiUnavailable:
    why = "the stream has ended" if error is None else repr(error)
    return ApiUnavailable(f"{shown_url(url)}: {why}")


class EventStream:
    """An endless iterator of events, in order, none missing, none twice. `cursor` is the place
    after the last one, or where it began; None before the first connection."""

    def __init__(self, clients: ProcessClients, url: str, state: Resuming) -> None:
        self._clients, self._url, self._state = clients, url, state
        self._events, self._is_closed = self._all(), False
        self.on_wait: Callable[[ApiUnavailable, float], object] | None = None
        """Called with the outage, and the seconds until the API is asked again."""

    @property
    def cursor(self) -> str | None:
        return self._state.cursor

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> BatchEvent:
        try:
            return next(self._events)
        except StopIteration:
            raise
        except BaseException:
            # A generator that has raised is over, and would say that the events are.
            if self._events.gi_frame is None:  # type: ignore[attr-defined]
                self._events = self._all()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the stream and its connection; while another thread waits for an event, as soon as
        the API shows that it lives: every 20 s."""
        self._is_closed = True
        with suppress(ValueError):  # that the other thread is at it
            self._events.close()

    def _all(self) -> Generator[BatchEvent, None, None]:
        import httpx

        while not self._is_closed:
            try:
                yield from self._connection()
                lost = _lost(self._url)
            except (httpx.HTTPError, httpx.InvalidURL, *UNANSWERED) as error:
                lost = _lost(self._url, error)
            except ApiUnavailable as error:
                lost = error
            if not self._is_closed:
                pause_s = self._state.pause_after(lost, time.monotonic())
                if self.on_wait is not None:
                    self.on_wait(lost, pause_s)
                time.sleep(pause_s)

    def _connection(self) -> Generator[BatchEvent, None, None]:
        question, lines = self._state.question(), EventLines()
        client = self._clients.get()
        with client.stream("GET", self._url, timeout=_timeout(), **question) as response:
            if not response.is_success:
                body = b""
                for data in response.iter_bytes():
                    body = _some(body + data)
                raise _refusal(response, body)
            if (other := _no_stream(response)) is not None:
                raise other
            for data in response.iter_bytes():
                if self._is_closed:
                    return
                for place, event in lines.feed(data):
                    self._state.arrived(place, event)
                    if event is not None:
                        yield event


class AsyncEventStream:
    """The same for asyncio."""

    def __init__(self, clients: LoopClients, url: str, state: Resuming) -> None:
        self._clients, self._url, self._state = clients, url, state
        self._events, self._is_closed = self._all(), False

    @property
    def cursor(self) -> str | None:
        return self._state.cursor

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> BatchEvent:
        try:
            return await anext(self._events)
        except StopAsyncIteration:
            raise
        except BaseException:
            # Also when it was waited for no longer (asyncio.timeout): asked again, it goes on.
            if self._events.ag_frame is None:  # type: ignore[attr-defined]
                self._events = self._all()
            raise

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends the stream and its connection; while another task waits for an event, as soon as the
        API shows that it lives: every 20 s."""
        self._is_closed = True
        with suppress(RuntimeError):  # that the other task is at it
            await self._events.aclose()

    async def _all(self) -> AsyncGenerator[BatchEvent, None]:
        from asyncio import sleep  # here: `EventStream` never loads it

        import httpx

        while not self._is_closed:
            connection = self._connection()
            try:
                async for event in connection:
                    yield event
                lost = _lost(self._url)
            except (httpx.HTTPError, httpx.InvalidURL, *UNANSWERED) as error:
                lost = _lost(self._url, error)
            except ApiUnavailable as error:
                lost = error
            finally:
                # A generator left half way does not close what it reads from.
                await connection.aclose()
            if not self._is_closed:
                await sleep(self._state.pause_after(lost, time.monotonic()))

    async def _connection(self) -> AsyncGenerator[BatchEvent, None]:
        question, lines = self._state.question(), EventLines()
        client = await self._clients.get()
        async with client.stream("GET", self._url, timeout=_timeout(), **question) as response:
            if not response.is_success:
                body = b""
                async for data in response.aiter_bytes():
                    body = _some(body + data)
                raise _refusal(response, body)
            if (other := _no_stream(response)) is not None:
                raise other
            async for data in response.aiter_bytes():
                if self._is_closed:
                    return
                for place, event in lines.feed(data):
                    self._state.arrived(place, event)
                    if event is not None:
                        yield event
