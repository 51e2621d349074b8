"""InfluxDB 2 through its official client: writes lines, erases spans of time, reads buckets.

Needs the v2 API: write, delete, and Flux queries. A server that does not answer, or refuses us, is
an outage, and so is whoever answers in its place (the page of a proxy, with status 200); a line
that it refuses for what the line is, is not (`LinesRefused`).
"""

import asyncio
import csv
import hashlib
import json
import re
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, TypeVar, cast

from aiohttp import ClientError
from influxdb_client.client.flux_csv_parser import FluxCsvParserException, FluxQueryException
from influxdb_client.client.influxdb_client_async import InfluxDBClientAsync
from influxdb_client.domain.write_precision import WritePrecision
from influxdb_client.rest import ApiException

from corechain.http import retry_after_s
from corechain.service.reasons import reason_of, without_addresses
from corechain_indexer.errors import LinesRefused, Refusal, SeriesAccessRefused, SeriesUnavailable
from corechain_indexer.store.points import (
    FIELD,
    LAST_S,
    MEASUREMENT,
    NANO,
    Leaves,
    Points,
    Span,
    name_of,
)
from corechain_indexer.store.series import Bucket
from corechain_indexer.store.tiers import quoted

# The library declares the enumeration and takes its strings.
NANOSECONDS = cast(WritePrecision, WritePrecision.NS)
TIMEOUT_S = 30.0
"""A delete looks at every series: 0.1 s for 10,000 of them, seconds for millions."""
LONGEST_S = 300.0
"""What a question may be given that makes points of every series. 50,000 would take about 16 s of
CPU: reckoned from 320 us each of 2,000, not measured with so many."""
LAYOUT = 2
"""Of `points`: a bucket that was filled in another one is filled anew."""
REFUSED = (HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY)
CUTS = 64
"""Requests that may be spent on finding the bad lines of a batch: one costs 26."""
NOT_LET_IN = HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN
KEPT_FOR_S = 60.0
"""How long the bucket's retention is believed."""
LONGEST_WHY = 300
AGGREGATES = ("count", "sum", "min", "max")
# "dropped=3" of a field of another type, "dropped 3 points outside retention policy".
_DROPPED = re.compile(r"dropped[= ](\d+)")
T = TypeVar("T")


def _why(error: ApiException) -> str:
    """Status, and what InfluxDB says of it. The page of a proxy between us names machines, and says
    no more than the status."""
    try:
        said = json.loads(error.body or "")["message"]
    except (ValueError, TypeError, KeyError, RecursionError):
        said = ""
    text = f"{error.status} {error.reason}: {said}".removesuffix(": ")
    return without_addresses(text)[:LONGEST_WHY]


def _outage(error: ApiException) -> SeriesUnavailable:
    kind = SeriesAccessRefused if error.status in NOT_LET_IN else SeriesUnavailable
    return kind(_why(error), retry_after_s(cast(Mapping[str, str], error.headers or {})))


@contextmanager
def _readable() -> Iterator[None]:
    """Raises SeriesUnavailable for an answer that is no table as was asked for, or that ends with
    an error: what goes wrong after its first row, InfluxDB says there, with status 200."""
    try:
        yield
    except FluxQueryException as error:
        raise SeriesUnavailable(without_addresses(f"it says: {error}")[:LONGEST_WHY]) from error
    except (FluxCsvParserException, csv.Error, ValueError, LookupError, TypeError) as error:
        what = type(error).__name__
        raise SeriesUnavailable(f"what answers is no InfluxDB, or was cut off ({what})") from error


def _require(is_done: object) -> None:
    """Raises SeriesUnavailable: InfluxDB says 204 of what it has done, and nobody else does. Taken
    for done, what a login page answered to would be lost for good."""
    if is_done is not True:
        raise SeriesUnavailable("what answers is no InfluxDB: it does not say 204")


async def _done(answer: Awaitable[T], within_s: float = TIMEOUT_S) -> T:
    """Raises SeriesUnavailable."""
    try:
        async with asyncio.timeout(within_s):
            return await answer
    except ApiException as error:
        raise _outage(error) from error
    except (ClientError, OSError, TimeoutError) as error:
        raise SeriesUnavailable(reason_of(error)) from error


def flux(
    bucket_id: str, device: bytes, metric: int, start: int, end: int, bucket_s: int, limit: int
) -> str:
    """Count, sum, min and max of a device's metric per bucket, ascending, of what was observed
    from `start` until before `end`."""
    # From the source anew each time: InfluxDB hands an aggregate down to its storage only where
    # nothing else reads the same points. From one variable it took 98 ms of CPU for 720 buckets.
    points = f"""from(bucketID: "{bucket_id}")
  |> range(start: {start}, stop: {end})
  |> filter(fn: (r) => r._measurement == "{MEASUREMENT}" and r._field == "{FIELD}"
       and r.device == "0x{device.hex()}" and r.metric == "{name_of(metric)}")
"""
    return "\n".join(
        f"{points}  |> aggregateWindow(every: {bucket_s}s, fn: {name}, createEmpty: false, "
        f'timeSrc: "_start") |> limit(n: {limit}) |> yield(name: "{name}")'
        for name in AGGREGATES
    )


def _moment(second: int, nanoseconds: int = 0) -> str:
    whole = datetime.fromtimestamp(second, UTC)
    return f"{whole:%Y-%m-%dT%H:%M:%S}.{nanoseconds:09d}Z"


@dataclass(frozen=True, slots=True)
class Place:
    """A bucket as the server knows it: another one of the same name has another id."""

    bucket_id: str
    kept_s: int
    """How long it keeps a point; 0 for ever."""


@dataclass(slots=True)
class _Writing:
    """The lines of one batch on their way, and what becomes of them."""

    series: "InfluxSeries"
    refusals: list[Refusal] = field(default_factory=list)
    cuts: int = CUTS

    async def send(self, points: Points) -> None:
        """Raises SeriesUnavailable."""
        try:
            await self.series.post(points.lines)
        except ApiException as error:
            if error.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE and len(points) > 1:
                await self._send_halves(points)
            elif error.status not in (*REFUSED, HTTPStatus.REQUEST_ENTITY_TOO_LARGE):
                raise _outage(error) from error
            else:
                await self._refused(points, error)

    async def _refused(self, points: Points, error: ApiException) -> None:
        why = _why(error)
        dropped = _DROPPED.search(why)
        # With a count, the others were written. Without one, none was.
        if dropped is None and len(points) > 1 and self.cuts > 0:
            self.cuts -= 2
            await self._send_halves(points)
            return
        count = int(dropped[1]) if dropped else len(points)
        self.refusals.append(Refusal(count, *points.span, why))

    async def _send_halves(self, points: Points) -> None:
        for half in points.halves():
            await self.send(half)


@dataclass(slots=True)
class InfluxSeries:
    """Our measurement in one bucket of one organisation."""

    client: InfluxDBClientAsync
    org: str
    bucket: str
    token: Callable[[], str]
    """As it is by now: a new bucket has a new one."""
    _place: Place | None = None
    _asked_at: float = float("-inf")

    async def place(self) -> Place:
        """As the server said within the last minute. Everything is asked by the bucket's id: of a
        bucket that was made anew, and is empty, nobody writes or reads on. Raises
        SeriesUnavailable."""
        if self._place is None or time.monotonic() - self._asked_at > KEPT_FOR_S:
            header = "Authorization", f"Token {self.token()}"
            self.client.api_client.set_default_header(*header)  # type: ignore[no-untyped-call]
            self._place = await self.find(self.bucket)
            self._asked_at = time.monotonic()
        return self._place

    async def find(self, bucket: str) -> Place:
        """As the server says now. Raises SeriesUnavailable."""
        found = await self.ask(f"buckets() |> filter(fn: (r) => r.name == {quoted(bucket)})")
        if not found:
            raise SeriesUnavailable(f"there is no bucket {bucket} that we may read")
        with _readable():
            return Place(str(found[0]["id"]), int(found[0]["retentionPeriod"]) // NANO)

    async def ask(self, query: str, within_s: float = TIMEOUT_S) -> list[dict[str, Any]]:
        """The rows of all tables that a Flux query yields. Raises SeriesUnavailable."""
        with _readable(), self._heard():
            tables = await _done(self.client.query_api().query(query, self.org), within_s)
            return [row.values for table in tables for row in table.records]

    async def target(self) -> str:
        """Which bucket it is, and how it is filled, as a digest. Raises SeriesUnavailable."""
        bucket_id = (await self.place()).bucket_id
        place = f"{self.client.url} {self.org} {bucket_id} {LAYOUT}"
        return hashlib.sha256(place.encode()).hexdigest()

    async def kept_s(self) -> int:
        return (await self.place()).kept_s

    def forget_place(self) -> None:
        """The next question looks for the bucket again."""
        self._place = None

    @contextmanager
    def _heard(self) -> Iterator[None]:
        """Who is refused looks anew, with the token as it is by then: a minute is long."""
        try:
            yield
        except SeriesAccessRefused:
            self.forget_place()
            raise
        except ApiException as error:
            if error.status in NOT_LET_IN:
                self.forget_place()
            raise

    async def post(self, lines: Sequence[str]) -> None:
        """One request. Raises SeriesUnavailable, ApiException for an answer that is no success."""
        body, api = "\n".join(lines).encode(), self.client.write_api()
        bucket_id = (await self.place()).bucket_id
        try:
            async with asyncio.timeout(TIMEOUT_S):
                with self._heard():
                    _require(
                        await api.write(bucket_id, self.org, body, write_precision=NANOSECONDS)
                    )
        except (ClientError, OSError, TimeoutError) as error:
            raise SeriesUnavailable(reason_of(error)) from error

    async def write(self, leaves: Leaves) -> None:
        """Adds readings of a batch; adding them again changes nothing.

        Raises SeriesUnavailable, LinesRefused when all others were written.
        """
        writing = _Writing(self)
        for chunk in leaves.points().chunks():
            await writing.send(chunk)
        beyond = leaves.beyond()
        if len(beyond.times):
            span = int(beyond.times.min()), int(beyond.times.max())
            writing.refusals.append(Refusal(len(beyond.times), *span, "after the year 2262"))
        if writing.refusals:
            raise LinesRefused(leaves.batch_id, writing.refusals)

    async def write_again(self, parts: Sequence[Leaves]) -> None:
        """Readings of several batches that were written before: what is refused of them is known.
        Raises SeriesUnavailable."""
        writing = _Writing(self)
        for chunk in Points.together([leaves.points() for leaves in parts]).chunks():
            await writing.send(chunk)

    async def erase(self, spans: Sequence[Span]) -> None:
        """Takes out all points of these seconds. InfluxDB can only delete by time and tags."""
        for span in spans:
            await self.erase_in((await self.place()).bucket_id, span)

    async def clear(self) -> None:
        """Takes out all that is in our measurement."""
        await self.erase([(0, LAST_S)])

    async def erase_in(self, bucket_id: str, span: Span) -> None:
        """Takes our measurement's points of these seconds out of a bucket. Raises
        SeriesUnavailable."""
        predicate, api = f'_measurement="{MEASUREMENT}"', self.client.delete_api()
        start, stop = _moment(span[0]), _moment(span[1], NANO - 1)
        with self._heard():
            _require(await _done(api.delete(start, stop, predicate, bucket_id, self.org)))

    async def read(
        self, device: bytes, metric: int, start: int, end: int, bucket_s: int, limit: int
    ) -> Sequence[Bucket]:
        """As `Series.read`, of what the bucket has. Raises SeriesUnavailable."""
        if start > LAST_S:
            return []
        stop = min(end, LAST_S) + 1
        bucket_id = (await self.place()).bucket_id
        query = flux(bucket_id, device, metric, start, stop, bucket_s, limit)
        rows = await self.ask(query)
        with _readable():
            return _buckets(rows, bucket_s)

    async def close(self) -> None:
        await self.client.close()  # type: ignore[no-untyped-call]


def _buckets(rows: Sequence[dict[str, Any]], bucket_s: int) -> list[Bucket]:
    found: dict[int, dict[str, int]] = {}
    for row in rows:
        start = int(row["_time"].timestamp())
        # The first window is cut to the range; its bucket began earlier.
        found.setdefault(start - start % bucket_s, {})[row["result"]] = row["_value"]
    return [Bucket(start, *(found[start][name] for name in AGGREGATES)) for start in sorted(found)]


def open_series(
    url: str, token: str, org: str, bucket: str, again: Callable[[], str] | None = None
) -> InfluxSeries:
    """Connects when it is first used. Needs a running event loop. `again`: the token as it is by
    now."""
    longest_ms = int(LONGEST_S * 1_000)
    client = InfluxDBClientAsync(url, token, org=org, timeout=longest_ms, enable_gzip=True)
    return InfluxSeries(client, org, bucket, again or (lambda: token))
