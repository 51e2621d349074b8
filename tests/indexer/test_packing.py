"""Leaves of final batches are kept packed, and nobody who reads them can tell.

given verified batches, final by now
  ├── packed: pages, proofs, series, statistics, newest values are what they were, byte for byte
  ├── an exporter, a recomputed reward root and an audit read the leaves that were there
  ├── those that are not final, new, or without their levels are left alone
  └── what goes after it was packed goes whole, and the series is told what to take out
"""

from typing import Any

import pytest_asyncio

from corechain.service.database import connect
from corechain_indexer.audit import audit_index
from corechain_indexer.store.copied import CopyStore
from corechain_indexer.store.epochs import EpochStore
from corechain_indexer.store.outbox import Outbox
from corechain_indexer.store.packing import PackStore
from indexer.support import CELL, START, Driven, World, device_of, get

DAY_S = 86_400
ANSWERS: list[tuple[str, dict[str, Any]]] = [
    ("/v1/readings", {"limit": 30}),
    ("/v1/readings", {"limit": 1000, "proofs": "true"}),
    ("/v1/readings", {"metric": 1, "from_": START + 3_000, "to": START + DAY_S}),
    ("/v1/series", {"metric": 1}),
    ("/v1/series", {"metric": 4, "bucket": 5 * 3_600}),
    ("/v1/statistics", {"metric": 1, "from_": START + 7_000, "to": START + 100_000}),
    ("/v1/statistics", {"metric": 4, "cell": f"{CELL:015x}"}),
    ("/v1/latest", {"finality": "finalised"}),
    ("/v1/history", {"order": "newest"}),
]


@pytest_asyncio.fixture
async def final(world: World, indexer: Driven) -> Driven:
    for _ in range(2):
        world.add(hours=40)
        world.sequence += 2  # its next hours begin after these
    await indexer.settle()
    await indexer.indexer.pool.execute("update chain_mark set safe = $1, final = $1", world.head)
    return indexer


async def pack_all(pool: Any) -> None:
    while await PackStore(pool).pack_some(0.0):
        pass


async def batches(pool: Any) -> dict[int, tuple[bytes, bytes]]:
    """(commitment, leaves)"""
    rows = await pool.fetch("select * from batch_file join batch using (batch_id)")
    return {row["batch_id"]: (row["commitment"], row["leaves"]) for row in rows}


async def answers(world: World, driven: Driven) -> list[Any]:
    async with driven.api() as api:
        found = [
            await get(api, path, **params, device=device_of(world)) for path, params in ANSWERS
        ]
        proofs = [await get(api, f"/v1/batches/2/readings/{at}/proof") for at in (0, 100)]
        named = [await get(api, f"/sensorthings/v1.1/Observations('2:{at}')") for at in (0, 100)]
        return found + proofs + named


async def test_no_answer_shows_that_leaves_are_packed(world: World, final: Driven) -> None:
    pool = final.indexer.pool
    before, plain = await answers(world, final), await batches(pool)
    every = [leaves for _, leaves in plain.values()]
    assert [one async for one in EpochStore(pool).leaves_between(0, world.head)] == every
    await pack_all(pool)
    assert await pool.fetchval("select count(*) from batch_file where leaves is not null") == 0
    assert await answers(world, final) == before
    every = [leaves for _, leaves in plain.values()]
    assert [one async for one in EpochStore(pool).leaves_between(0, world.head)] == every
    connection = await connect(final.indexer.settings.database_url.get_secret_value())
    for batch_id, (commitment, leaves) in plain.items():
        assert await Outbox(connection).leaves(batch_id, commitment) == leaves
    await connection.close()
    settings, deployment = final.indexer.settings, world.chain.deployment
    report = await audit_index(settings, deployment, world.chain.rpc_url, 0, world.head)
    assert report.findings == {}, report.examples


async def test_only_what_is_final_old_and_whole_is_packed(world: World, final: Driven) -> None:
    pool = final.indexer.pool
    assert not await PackStore(pool).pack_some(3_600.0)
    await pool.execute("update batch_file set tree_levels = null where batch_id = 1")
    await pool.execute("update chain_mark set final = $1", world.head - 1)
    block = await pool.fetchval("select block_number from batch where batch_id = 2")
    assert block == world.head
    assert not await PackStore(pool).pack_some(0.0)
    await pool.execute("update chain_mark set final = $1", world.head)
    await pack_all(pool)
    assert [row[0] for row in await pool.fetch("select distinct batch_id from packed_leaves")] == [
        2
    ]


async def test_what_goes_goes_whole_and_the_series_is_told_what(
    world: World, final: Driven
) -> None:
    pool = final.indexer.pool
    await pool.execute("update sink set target = 'one' where name = 'series'")
    plain = await batches(pool)
    await pack_all(pool)
    await pool.execute("delete from batch where batch_id = 2")
    await pool.execute("update batch_file set state = 'mismatch' where batch_id = 1")
    assert await pool.fetchval("select count(*) from packed_leaves") == 0
    assert await pool.fetchval("select count(*) from segment") == 0
    connection = await connect(final.indexer.settings.database_url.get_secret_value())
    rows = await pool.fetch(
        "select id, batch_id from outbox where sink = 'series' and kind = $1", "retract"
    )
    assert sorted(row["batch_id"] for row in rows) == [1, 2]
    for row in rows:
        assert await CopyStore(connection).retracted(row["id"]) == plain[row["batch_id"]][1]
    await connection.close()
