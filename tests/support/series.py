"""One suite for every store of time series: what is verified is answered, what is undone is not.

Whoever runs it has a module with a fixture `kept` (a `Kept`) and a class that inherits
`SeriesSuite`: tests/indexer/test_series.py for Postgres, tests/influx/influx_series.py for the
other one.

given verified batches
  ├── each bucket has count, sum, least and greatest value of its readings, and of no others
  ├── a bucket begins and ends on its border, a window on its second
  ├── what is late, negative, doubled by another batch or of another device counts where it belongs
  └── an empty window is an empty answer; `limit` cuts the later buckets
given a reorg
  └── what it undid is gone, what stands counts once, whatever shares its seconds
"""

import random
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from corechain.protocol.batch import Origin, seal
from corechain.protocol.hashing import ZERO26
from corechain.protocol.keys import DeviceIdentity, KeyType
from corechain.protocol.reading import DeviceId, Observation, Reading, Report, SignedReport
from corechain.protocol.rebuilding import rebuild_columns
from corechain_indexer.store.files import FileStore, OpenBatch, batch_rows
from corechain_indexer.store.series import Bucket, Series

if TYPE_CHECKING:
    from corechain.service.database import Database

HOUR_S, DAY_S = 3600, 86_400
START = 1_359_676_800
CELL = 0x872A1072BFFFFFF
DEVICES = [DeviceId(bytes([n]) * 20) for n in range(1, 41)]
TEMPERATURE, PRESSURE = 1, 4
EVER = 0, 2**40 - 1
Item = tuple[DeviceId, int, int, int]
"""Device, metric, second, scaled value."""


async def _nothing() -> None:
    return


@dataclass
class Kept:
    """Verified batches in Postgres, and a store of series that has learned of them."""

    pool: "Database"
    series: Series
    settle: Callable[[], Awaitable[None]] = _nothing
    """Returns when the store knows what Postgres says."""
    standing: dict[int, list[Item]] = field(default_factory=dict)
    ever: set[tuple[DeviceId, int]] = field(default_factory=set)
    """Devices and metrics that were asked for before."""

    async def verify(self, batch_id: int, items: Iterable[Item], *, settle: bool = True) -> None:
        """A batch that was committed in a block of its number, and verified."""
        items = list(items)
        await verify(self.pool, batch_id, items)
        self.standing[batch_id] = items
        if settle:
            await self.settle()

    async def undo(self, *batch_ids: int) -> None:
        await self.pool.execute("delete from batch where batch_id = any($1)", list(batch_ids))
        for batch_id in batch_ids:
            del self.standing[batch_id]
        await self.settle()

    async def ask(
        self, device: DeviceId = DEVICES[0], metric: int = TEMPERATURE, start: int = 0,
        end: int = EVER[1], bucket_s: int = HOUR_S, limit: int = 1_000,
    ) -> list[Bucket]:  # fmt: skip
        return list(await self.series.read(device, metric, start, end, bucket_s, limit))

    async def is_exact(self, bucket_s: int = HOUR_S) -> None:
        """Every device's buckets are those of the readings that stand, one by one."""
        seen = {(item[0], item[1]) for items in self.standing.values() for item in items}
        for device, metric in {*seen, *self.ever}:
            found = await self.ask(device, metric, bucket_s=bucket_s)
            assert found == self.expected(device, metric, bucket_s), (device[0], metric)
        self.ever |= seen

    def expected(self, device: DeviceId, metric: int, bucket_s: int) -> list[Bucket]:
        values: dict[int, list[int]] = {}
        for items in self.standing.values():
            for owner, code, at, value in items:
                if (owner, code) == (device, metric):
                    values.setdefault(at - at % bucket_s, []).append(value)
        return [Bucket(s, len(v), sum(v), min(v), max(v)) for s, v in sorted(values.items())]


async def verify(pool: "Database", batch_id: int, items: Sequence[Item]) -> None:
    """Commits and verifies a batch in Postgres, as mirror and verifier do. Raises AssertionError
    when quality rules would have rejected one of the readings."""
    batch = seal(Origin(batch_id, ZERO26, ZERO26, 31337, bytes(20)), _reports(items), KNOWN, {})
    assert len(batch.leaves) == len(items), "a reading of the test failed the rules"
    assert [Reading.unpack(leaf).device for leaf in batch.leaves]
    block_hash = bytes(32)
    await pool.execute(
        "insert into batch (block_number, log_index, batch_id, commitment, block_hash, transaction)"
        " values ($1, 0, $2, $3, $4, $4)", batch_id & 0xFFFFFFFF, batch_id, batch.commitment,
        block_hash,
    )  # fmt: skip
    sealed = rebuild_columns(batch.data_file).batch
    entry = OpenBatch(batch_id, batch.commitment, block_hash, 0)
    assert await FileStore(pool).verified(entry, sealed, batch_rows(sealed))


KNOWN = {device: DeviceIdentity(device, KeyType.SECP256K1) for device in DEVICES}


def _reports(items: Sequence[Item]) -> list[SignedReport]:
    """One a reading, in order of time: nobody checks these signatures."""
    ordered = sorted(items, key=lambda item: item[2])
    return [
        SignedReport(Report.of(device, number, [Observation(metric, CELL, at, value)]), bytes(64))
        for number, (device, metric, at, value) in enumerate(ordered, start=1)
    ]


def hourly(
    device: DeviceId = DEVICES[0], hours: int = 3, first: int = START, value: int = 2_130
) -> list[Item]:
    return [(device, TEMPERATURE, first + n * HOUR_S, value + n) for n in range(hours)]


class SeriesSuite:
    """What any store of series has to do."""

    async def test_buckets_have_the_statistics_of_their_readings(self, kept: Kept) -> None:
        device, other = DEVICES[0], DEVICES[1]
        values = [(0, 100), (600, 300), (3599, -50), (3600, 7), (7199, 9), (7200, 11)]
        items = [(device, TEMPERATURE, START + at, value) for at, value in values]
        more = [(other, TEMPERATURE, START + 60, 2_000), (device, PRESSURE, START + 60, 101_300)]
        await kept.verify(1, items + more)
        assert await kept.ask() == [
            Bucket(START, 3, 350, -50, 300),
            Bucket(START + HOUR_S, 2, 16, 7, 9),
            Bucket(START + 2 * HOUR_S, 1, 11, 11, 11),
        ]
        await kept.is_exact()

    @pytest.mark.parametrize("bucket_s", [60, HOUR_S, 5 * HOUR_S, DAY_S, 7 * DAY_S, 366 * DAY_S])
    async def test_a_bucket_begins_at_a_multiple_of_its_length(
        self, kept: Kept, bucket_s: int
    ) -> None:
        first = START - START % bucket_s + bucket_s
        borders = (first - 1, first, first + bucket_s - 1, first + bucket_s)
        await kept.verify(1, [(DEVICES[0], TEMPERATURE, at, 5) for at in borders])
        found = await kept.ask(bucket_s=bucket_s)
        assert [(b.start, b.count) for b in found] == [
            (first - bucket_s, 1), (first, 2), (first + bucket_s, 1),
        ]  # fmt: skip

    async def test_a_window_has_both_its_ends_and_nothing_else(self, kept: Kept) -> None:
        times = (0, 1, 59, 60, 61, 300)
        await kept.verify(1, [(DEVICES[0], TEMPERATURE, START + at, at) for at in times])
        found = await kept.ask(start=START + 1, end=START + 60, bucket_s=60)
        assert found == [Bucket(START, 2, 60, 1, 59), Bucket(START + 60, 1, 60, 60, 60)]
        # Its first hour began before the window: the bucket has what is in the window alone.
        found = await kept.ask(start=START + 60, end=START + 60)
        assert found == [Bucket(START, 1, 60, 60, 60)]

    async def test_an_empty_window_is_an_empty_answer(self, kept: Kept) -> None:
        assert await kept.ask() == []
        await kept.verify(1, hourly())
        assert await kept.ask(DEVICES[5]) == []
        assert await kept.ask(metric=PRESSURE) == []
        assert await kept.ask(start=START + DAY_S) == []
        assert await kept.ask(start=EVER[1], end=EVER[1]) == []

    async def test_a_limit_keeps_the_first_buckets(self, kept: Kept) -> None:
        await kept.verify(1, hourly(hours=6))
        found = await kept.ask(limit=2)
        assert [b.start for b in found] == [START, START + HOUR_S]
        assert len(await kept.ask(limit=6)) == 6

    async def test_late_readings_count_where_they_were_observed(self, kept: Kept) -> None:
        await kept.verify(1, hourly(hours=3))
        await kept.verify(2, hourly(first=START - 30 * DAY_S, hours=1) + hourly(DEVICES[1]))
        await kept.is_exact()
        await kept.is_exact(DAY_S)

    async def test_two_batches_with_one_second_of_a_device_count_both(self, kept: Kept) -> None:
        """An honest relayer makes no such batches; who serves them must count them all the same."""
        await kept.verify(1, hourly(value=100))
        await kept.verify(2, hourly(value=200))
        await kept.verify(1 << 32 | 1, hourly(value=300))
        assert [b.count for b in await kept.ask()] == [3, 3, 3]
        await kept.undo(2)
        assert [b.sum for b in await kept.ask()] == [400, 402, 404]
        await kept.is_exact()

    async def test_sums_are_exact_beyond_the_numbers_of_a_float(self, kept: Kept) -> None:
        visible = [(DEVICES[0], 8, START + n, 240_000 - n % 2) for n in range(1_000)]
        await kept.verify(1, visible)
        (found,) = await kept.ask(metric=8)
        assert found == Bucket(START, 1_000, 239_999_500, 239_999, 240_000)

    async def test_many_devices_are_kept_apart(self, kept: Kept) -> None:
        await kept.verify(1, [item for d in DEVICES for item in hourly(d, value=50 * d[0])])
        await kept.is_exact()

    async def test_the_beginning_of_time_is_a_time(self, kept: Kept) -> None:
        await kept.verify(1, hourly(first=0, hours=2))
        assert [b.start for b in await kept.ask()] == [0, HOUR_S]

    async def test_what_a_reorg_undid_is_gone_and_what_shares_its_seconds_is_not(
        self, kept: Kept
    ) -> None:
        await kept.verify(1, [item for d in DEVICES[:3] for item in hourly(d)])
        await kept.verify(2, hourly(DEVICES[3]) + hourly(DEVICES[0], first=START + 1))
        await kept.verify(3, hourly(DEVICES[4], first=START - 30 * DAY_S, hours=1))
        await kept.undo(2, 3)
        await kept.is_exact()
        await kept.verify(2, hourly(DEVICES[3], value=-40))
        await kept.is_exact()

    async def test_a_batch_that_comes_back_with_its_number_counts_once(self, kept: Kept) -> None:
        await kept.verify(1, hourly())
        await kept.verify(2, hourly(first=START + DAY_S))
        await kept.undo(2)
        await kept.verify(2, hourly(first=START + DAY_S))
        await kept.is_exact()

    @pytest.mark.parametrize("seed", range(2))
    async def test_after_any_story_every_bucket_is_exact(self, kept: Kept, seed: int) -> None:
        rng = random.Random(seed)
        for step in range(1, 25):
            if kept.standing and rng.random() < 0.3:
                newest = sorted(kept.standing)[-rng.randint(1, 4) :]
                await kept.undo(*newest)
            else:
                await kept.verify(step, _any_items(rng), settle=rng.random() < 0.7)
        await kept.settle()
        await kept.is_exact()
        await kept.is_exact(DAY_S)


def _any_items(rng: random.Random) -> list[Item]:
    """Some readings of a few devices; now and then a late one."""
    found = {}
    for _ in range(rng.randint(1, 30)):
        late = 40 * DAY_S if rng.random() < 0.1 else 0
        at = START + rng.randrange(4 * HOUR_S) - late
        found[rng.choice(DEVICES[:4]), TEMPERATURE, at] = 0
    return [(*key, rng.randrange(1_900, 2_100)) for key in found]
