"""What an index of rows keeps when it becomes one of segments.

given an index of the version before them, with data
  └── after its migration it keeps what a fresh one does
"""

from collections.abc import Sequence
from typing import Any

from corechain.protocol.reading import Reading
from corechain.service.database import create_pool, migrate
from corechain_indexer.store import MIGRATIONS
from corechain_indexer.store.files import to_signed
from corechain_indexer.store.pages import PageOf
from corechain_indexer.store.segments import Segments
from indexer.test_segments import (
    CELLS,
    DEVICES,
    EVERY_SEGMENT,
    MAX_TIME,
    METRICS,
    TIMES,
    Held,
    listed,
    pages_agree,
    series_agree,
)

OLD_READING = "batch_id, position, metric, cell, device, observed_at, value, flag"
OLD_ROLLUP = """
insert into rollup
select batch_id, device, metric, observed_at - mod(observed_at, 3600),
       count(*), sum(value), min(value), max(value) from reading group by 1, 2, 3, 4"""


def _old_row(item: Held) -> tuple[Any, ...]:
    r, cell = item.reading, to_signed(item.reading.cell)
    return item.batch_id, item.position, r.metric, cell, r.device, r.observed_at, r.value, r.flag


async def fill_as_before(pool: Any, contents: Sequence[Sequence[Reading]]) -> None:
    for batch_id, items in enumerate(contents, 1):
        leaves = b"".join(sorted(item.pack() for item in items))
        await pool.execute(
            "insert into batch values ($1, 0, $1, $2, $3, $3)", batch_id, bytes(26), bytes(32)
        )
        await pool.execute(
            "insert into batch_file (batch_id, state, leaves, reading_count) "
            "values ($1, 'verified', $2, $3)", batch_id, leaves, len(items),
        )  # fmt: skip
    await pool.executemany(
        f"insert into reading ({OLD_READING}) values ($1, $2, $3, $4, $5, $6, $7, $8)",
        [_old_row(item) for item in listed(contents)],
    )
    await pool.execute(OLD_ROLLUP)


async def test_an_index_of_the_version_before_keeps_what_a_fresh_one_does(
    empty_database: str,
) -> None:
    contents = [
        [Reading(m, c, d, t, n * t % 97 - 40, 1 + 2 * (t % 2)) for m in METRICS for c in CELLS
         for d in DEVICES[:n] for t in TIMES[:: 4 - n]]
        for n in (1, 2, 3)
    ]  # fmt: skip
    names = [name for name, _ in MIGRATIONS]
    before = names.index(next(name for name in names if name.endswith("_segments.sql")))
    await migrate(empty_database, MIGRATIONS[:before])
    async with create_pool(empty_database) as pool:
        await fill_as_before(pool, contents)
        await migrate(empty_database, MIGRATIONS)
        fresh = [
            row
            for batch_id, items in enumerate(contents, 1)
            for row in Segments.of(batch_id, b"".join(sorted(item.pack() for item in items))).rows()
        ]
        assert [tuple(row) for row in await pool.fetch(EVERY_SEGMENT)] == fresh
        held = listed(contents)
        await pages_agree(pool, held, PageOf(DEVICES[0], None, 0, MAX_TIME), 5)
        await series_agree(pool, held, PageOf(DEVICES[1], 1, 0, MAX_TIME), 3_600, 100)
