"""Leaves of old batches lie in archive files, and nobody who reads them can tell.

given verified batches, final, packed and old
  ├── moved into files: pages, proofs, series, statistics, newest values are what they were
  ├── exporters, reward roots and an audit read the same leaves; Postgres has none of them
  ├── those that are new, not packed, or still to be told to the cache, are left where they are
  ├── killed before or after any step, the next one ends what was begun
  ├── a file that is cut, changed, missing, of another batch, or a folder that is away: the queries
  │   that need it say 503 and which batch, /ready warns, all else is answered; then they come back
  ├── an audit names the batch of a file that is damaged
  ├── what goes after it was archived is taken out of the series whole
  └── one that comes again is archived again
"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from support.processes import PATIENCE_S

from corechain.service.database import connect
from corechain_indexer.audit import Report, audit_index
from corechain_indexer.errors import ArchiveUnavailable
from corechain_indexer.store.archive import Archive, ArchiveStore
from corechain_indexer.store.archive_files import (
    path_of,
    read_archive,
    read_levels,
    write_archive,
)
from corechain_indexer.store.copied import CopyStore
from corechain_indexer.store.epochs import EpochStore
from corechain_indexer.store.outbox import Outbox
from indexer.archives import NAME, flip
from indexer.support import START, Driven, World, device_of, driven, get, settings_of
from indexer.test_packing import answers, batches, pack_all


@pytest_asyncio.fixture
async def old(world: World, database: str, bus_url: str, tmp_path: Path) -> AsyncIterator[Driven]:
    """Two final batches of years ago, packed."""
    folder = tmp_path / "archive"
    folder.mkdir()
    settings = settings_of(world, database, bus_url, archive_dir=folder, keep_readings_days=0)
    for _ in range(2):
        world.add(hours=40)
        world.sequence += 2  # its next hours begin after these
    async with driven(settings, world) as indexer:
        await indexer.settle()
        pool = indexer.indexer.pool
        await pool.execute("update chain_mark set safe = $1, final = $1", world.head)
        yield indexer


def store_of(driven: Driven) -> ArchiveStore:
    return ArchiveStore(driven.indexer.pool, driven.indexer.archive)


def folder_of(driven: Driven) -> Path:
    folder = driven.indexer.archive.folder
    assert folder is not None
    return folder


async def archive_all(driven: Driven) -> None:
    await pack_all(driven.indexer.pool)
    while await store_of(driven).move_some(0):
        pass


async def audited(world: World, driven: Driven) -> dict[str, int]:
    return (await report_of(world, driven)).findings


async def report_of(world: World, driven: Driven, *, heal: bool = False) -> Report:
    asked = driven.indexer.settings, world.chain.deployment, world.chain.rpc_url, 0, world.head
    return await audit_index(*asked, heal=heal)


async def test_no_answer_shows_that_leaves_are_archived(world: World, old: Driven) -> None:
    pool, archive = old.indexer.pool, old.indexer.archive
    before, plain = await answers(world, old), await batches(pool)
    await archive_all(old)
    assert await pool.fetchval("select count(*) from packed_leaves") == 0
    for column in ("leaves", "tree_levels"):
        query = f"select count(*) from batch_file where {column} is not null"
        assert await pool.fetchval(query) == 0
    assert len(list(folder_of(old).rglob("*.leaves"))) == len(plain) == 2
    assert await answers(world, old) == before
    every = [leaves for _, leaves in plain.values()]
    epochs = EpochStore(pool, archive)
    assert [one async for one in epochs.leaves_between(0, world.head)] == every
    connection = await connect(old.indexer.settings.database_url.get_secret_value())
    for batch_id, (commitment, leaves) in plain.items():
        assert await CopyStore(connection, archive).leaves(batch_id, commitment) == leaves
    await connection.close()
    assert await audited(world, old) == {}
    assert old.indexer.warnings() == []


async def test_only_what_is_old_packed_and_told_is_moved(world: World, old: Driven) -> None:
    pool, store = old.indexer.pool, store_of(old)
    assert not await store.move_some(0)  # nothing is packed
    await pack_all(pool)
    await pool.execute("update batch_file set window_end = extract(epoch from now()) - 3600")
    assert not await store.move_some(7_200)
    await pool.execute("update chain_mark set final = 0")
    assert not await store.move_some(0)
    await pool.execute("update chain_mark set final = $1", world.head)
    await pool.execute(
        "insert into outbox (sink, kind, batch_id, commitment) values ('cache', 'add', 1, '')"
    )
    while await store.move_some(0):
        pass
    rows = await pool.fetch("select batch_id from batch_file where archived is not null")
    assert [row[0] for row in rows] == [2]


class Killed(Exception):
    pass


class Mortal(Archive):
    """Ends a step before the file is written, or behind it."""

    before = False

    async def write(self, commitment: bytes, leaves: Any, levels: bytes) -> None:
        if not self.before:
            await super().write(commitment, leaves, levels)
        raise Killed


@pytest.mark.parametrize("before", [True, False], ids=["before the file", "behind it"])
async def test_what_a_kill_interrupts_is_done_again(
    world: World, old: Driven, before: bool
) -> None:
    pool, plain = old.indexer.pool, await answers(world, old)
    await pack_all(pool)
    mortal = Mortal(folder_of(old))
    mortal.before = before
    with pytest.raises(Killed):
        await ArchiveStore(pool, mortal).move_some(0)
    assert len(list(folder_of(old).rglob("*.leaves"))) == (0 if before else 1)
    assert await pool.fetchval("select count(*) from batch_file where archived is not null") == 0
    assert await answers(world, old) == plain  # from Postgres
    await archive_all(old)
    assert await pool.fetchval("select count(*) from packed_leaves") == 0
    assert await answers(world, old) == plain


async def test_postgres_forgets_nothing_that_has_no_file(world: World, old: Driven) -> None:
    plain = await answers(world, old)
    await pack_all(old.indexer.pool)
    folder_of(old).rmdir()
    with pytest.raises(ArchiveUnavailable):
        await store_of(old).move_some(0)
    assert old.metric("corechain_archive_failures_total", what="write") == 1
    assert "No such file" in old.indexer.warnings()[0]
    assert await answers(world, old) == plain
    folder_of(old).mkdir()
    await archive_all(old)
    assert old.indexer.warnings() == []
    assert await answers(world, old) == plain


async def test_a_folder_that_is_away_fails_what_needs_it_alone(world: World, old: Driven) -> None:
    before, plain = await answers(world, old), await batches(old.indexer.pool)
    await archive_all(old)
    folder, away = folder_of(old), folder_of(old).with_name("away")
    folder.rename(away)
    device = device_of(world)
    async with old.api() as api:
        for path in ("/v1/readings", "/v1/statistics"):
            asked = {"device": device, "metric": 1, "from_": START + 7_000, "to": START + 100_000}
            problem = await get(api, path, 503, **asked)
            assert problem["type"].endswith("Unavailable")
            assert any(commitment.hex() in problem["detail"] for commitment, _ in plain.values())
        await get(api, "/v1/latest", device=device)
        await get(api, "/v1/series", device=device, metric=1, bucket=86_400)
        ready = await get(api, "/ready")
        assert "cannot be read" in ready["warnings"][0]
    assert old.metric("corechain_archive_failures_total", what="read") >= 2
    # A reward root that rests on these readings stays pending; its auditor goes on.
    world.propose(1, b"\x01" * 26, 10)
    await old.settle()
    pool = old.indexer.pool
    assert await pool.fetchval("select count(*) from reward_epoch") == 0
    away.rename(folder)
    await old.settle()
    assert await pool.fetchval("select state from reward_epoch") == "mismatch"
    await pool.execute("update chain_mark set safe = $1, final = $1", world.head)
    assert await answers(world, old) == before


async def test_who_moves_and_who_copies_wait_for_a_folder_that_is_away(old: Driven) -> None:
    await pack_all(old.indexer.pool)
    folder_of(old).rmdir()
    failed = asyncio.Event()
    old.indexer.archive.failed = lambda what: failed.set()
    moving = asyncio.create_task(old.indexer.upkeep().move_to_archive())
    async with asyncio.timeout(PATIENCE_S):
        await failed.wait()
    assert not moving.done()
    moving.cancel()

    async def step() -> bool:
        raise ArchiveUnavailable(NAME, "No such file")

    assert await old.indexer.series_sinks[0].patiently(step)  # and is asked again after a pause
    assert any(NAME.hex() in warning for warning in old.indexer.warnings())


async def test_an_audit_names_a_damaged_archive(world: World, old: Driven) -> None:
    await archive_all(old)
    (commitment, _), _ = (await batches(old.indexer.pool)).values()
    flip(-1)(path_of(folder_of(old), commitment))
    assert await audited(world, old) == {"an archive that cannot be read": 1}


async def test_an_archive_is_made_anew_from_the_data_sources(world: World, old: Driven) -> None:
    before = await answers(world, old)
    await archive_all(old)
    folder, names = folder_of(old), [c for c, _ in (await batches(old.indexer.pool)).values()]
    paths = [path_of(folder, name) for name in names]
    whole = [path.read_bytes() for path in paths]
    paths[0].unlink()
    # Right checksums and the leaves of another batch: no damage that a file shows by itself.
    levels = read_levels(folder, names[1])
    assert levels is not None
    write_archive(folder, names[1], read_archive(folder, names[1], 0, None)[:1] * 2, levels)
    assert await audited(world, old) != {}
    report = await report_of(world, old, heal=True)
    assert (report.findings, report.healed) == ({}, 2)
    assert [path.read_bytes() for path in paths] == whole
    assert await answers(world, old) == before
    assert (await report_of(world, old, heal=True)).healed == 0


async def test_an_archive_without_its_data_file_stays_as_it_is(world: World, old: Driven) -> None:
    await archive_all(old)
    (commitment, _), _ = (await batches(old.indexer.pool)).values()
    path = path_of(folder_of(old), commitment)
    flip(-1)(path)
    damaged = path.read_bytes()
    for file in world.data_dir.glob("*.ccdf"):
        file.write_bytes(file.read_bytes()[:-1] + b"x")  # a source that sends something else
    report = await report_of(world, old, heal=True)
    assert report.findings == {"an archive that cannot be read": 1}
    assert "cannot be made anew: no source has the data file" in report.examples[0]
    assert path.read_bytes() == damaged


async def test_what_goes_after_it_was_archived_is_told_to_the_series(
    world: World, old: Driven
) -> None:
    pool, archive = old.indexer.pool, old.indexer.archive
    await pool.execute("update sink set target = 'one' where name = 'series'")
    plain = await batches(pool)
    await archive_all(old)
    await pool.execute("delete from batch")
    connection = await connect(old.indexer.settings.database_url.get_secret_value())
    rows = await pool.fetch("select id, batch_id from outbox where sink = 'series'")
    assert sorted(row["batch_id"] for row in rows) == [1, 2]
    for row in rows:
        found = await CopyStore(connection, archive).retracted(row["id"])
        assert found == plain[row["batch_id"]][1]
    # Who has no folder says so.
    with pytest.raises(ArchiveUnavailable, match="INDEXER_ARCHIVE_DIR is not set"):
        await CopyStore(connection).retracted(rows[0]["id"])
    assert await Outbox(connection).leaves(1, plain[1][0]) == b""
    await connection.close()


async def test_one_that_comes_again_is_archived_again(world: World, old: Driven) -> None:
    pool, before = old.indexer.pool, await answers(world, old)
    await archive_all(old)
    await old.mirror.store.roll_back(-1)  # as `corechain indexer rebuild` does
    old.restart_mirror()
    await old.until_verified(2)
    await old.settle()
    await pool.execute("update chain_mark set safe = $1, final = $1", world.head)
    assert await pool.fetchval("select count(*) from batch_file where archived is null") == 2
    await archive_all(old)
    assert await pool.fetchval("select count(*) from batch_file where archived is null") == 0
    assert await answers(world, old) == before
