"""InfluxDB 2: one point a reading, tagged by batch, so that a reorg can take its points out.

Needs a server with the v2 write, delete and Flux query API.
"""

import hashlib
from collections.abc import Awaitable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast

from aiohttp import ClientError
from influxdb_client.client.influxdb_client_async import InfluxDBClientAsync
from influxdb_client.domain.write_precision import WritePrecision
from influxdb_client.rest import ApiException

from corechain.protocol.reading import Reading
from corechain_indexer.errors import SeriesUnavailable
from corechain_indexer.store.series import Bucket

LINES = 5_000
# The library declares the enumeration and takes its strings.
SECONDS = cast(WritePrecision, WritePrecision.S)
MEASUREMENT = "reading"
FIRST, LAST = datetime.fromtimestamp(0, UTC), datetime(2200, 1, 1, tzinfo=UTC)


def line_of(batch_id: int, leaf: bytes) -> str:
    """A reading in line protocol: device, metric and batch are tags, the scaled value a field."""
    r = Reading.unpack(leaf)
    tags = f"device={r.device.hex()},metric={r.metric},batch={batch_id}"
    return f"{MEASUREMENT},{tags} value={r.value}i {r.observed_at}"


def _chunks(batch_id: int, leaves: Sequence[bytes]) -> Iterator[list[str]]:
    for start in range(0, len(leaves), LINES):
        yield [line_of(batch_id, leaf) for leaf in leaves[start : start + LINES]]


async def _done(answer: Awaitable[Any]) -> Any:
    try:
        return await answer
    except (ApiException, ClientError, OSError, TimeoutError) as error:
        raise SeriesUnavailable(f"{type(error).__name__}: {error}") from error


def flux(
    bucket: str, device: bytes, metric: int, start: int, end: int, bucket_s: int, limit: int
) -> str:
    """Count, sum, min and max of a device's metric per bucket, ascending."""
    return f"""
data = from(bucket: "{bucket}")
  |> range(start: {start}, stop: {end + 1})
  |> filter(fn: (r) => r._measurement == "{MEASUREMENT}" and r._field == "value")
  |> filter(fn: (r) => r.device == "{device.hex()}" and r.metric == "{metric}")
  |> group()
  |> window(every: {bucket_s}s)
  |> reduce(
       identity: {{count: 0, sum: 0, min: 2147483647, max: -2147483648}},
       fn: (r, accumulator) => ({{
         count: accumulator.count + 1,
         sum: accumulator.sum + r._value,
         min: if r._value < accumulator.min then r._value else accumulator.min,
         max: if r._value > accumulator.max then r._value else accumulator.max,
       }}))
  |> group()
  |> sort(columns: ["_start"])
  |> limit(n: {limit})
data"""


@dataclass(frozen=True, slots=True)
class InfluxSeries:
    """The series in one bucket of one organisation."""

    client: InfluxDBClientAsync
    org: str
    bucket: str

    @property
    def target(self) -> str:
        place = f"{self.client.url} {self.org} {self.bucket}"
        return hashlib.sha256(place.encode()).hexdigest()

    async def write(self, batch_id: int, leaves: Sequence[bytes]) -> None:
        api = self.client.write_api()
        for lines in _chunks(batch_id, leaves):
            await _done(api.write(self.bucket, self.org, lines, write_precision=SECONDS))

    async def retract(self, batch_id: int) -> None:
        api = self.client.delete_api()
        predicate = f'_measurement="{MEASUREMENT}" AND batch="{batch_id}"'
        await _done(api.delete(FIRST, LAST, predicate, self.bucket, self.org))

    async def read(
        self, device: bytes, metric: int, start: int, end: int, bucket_s: int, limit: int
    ) -> Sequence[Bucket]:
        query = flux(self.bucket, device, metric, start, end, bucket_s, limit)
        tables = await _done(self.client.query_api().query(query, self.org))
        return [_bucket(record.values, bucket_s) for table in tables for record in table.records]

    async def close(self) -> None:
        await self.client.close()  # type: ignore[no-untyped-call]


def _bucket(values: dict[str, Any], bucket_s: int) -> Bucket:
    start = int(values["_start"].timestamp())
    # The first window is cut to the range; its bucket began earlier.
    return Bucket(
        start - start % bucket_s, values["count"], values["sum"], values["min"], values["max"]
    )


def open_series(url: str, token: str, org: str, bucket: str) -> InfluxSeries:
    """Connects when it is first used. Needs a running event loop."""
    return InfluxSeries(InfluxDBClientAsync(url, token, org=org), org, bucket)
