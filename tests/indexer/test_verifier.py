"""Several files at once, each judged alone: nothing that one source or one batch does stops others.

given committed batches
  ├── with an odd source first: all are verified from the second one
  ├── with a source that hangs: new batches do not wait for it
  ├── a file that was committed to and breaks the rules: mismatch, with no other source asked
  ├── a verdict of the time when wrong bytes were a mismatch: judged again, once
  ├── a fault of the verifier's own in one batch: contained, counted, tried again
  ├── two processes: one verifies, the other waits until it is gone, or stands still
  └── two that judge them at the same time, as where the lock was lost: each is kept once
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from support import sources
from support.processes import PATIENCE_S, until
from support.sources import offers, source_that

from corechain.account import account_from_key
from corechain.devnet.settings import SUBMITTER_KEY
from corechain.protocol.batch import Batch
from corechain.protocol.claims import claim_of
from corechain.protocol.rebuilding import Rebuilt
from corechain.protocol.sealing import SealedBatch
from corechain.service.database import writer
from corechain.service.errors import StoreUnavailable, WriterLockHeld
from corechain_indexer import verifier as module
from corechain_indexer.maintenance import WRITER
from corechain_indexer.store import MIGRATIONS
from indexer.support import Driven, World, driven, settings_of


@asynccontextmanager
async def reading_from(
    world: World, database: str, redis: str, *urls: str, **changes: Any
) -> AsyncIterator[Driven]:
    here = f"file://{world.data_dir}/{{commitment}}.ccdf"
    templates = ",".join([f"{url}/{{commitment}}" for url in urls] + [here])
    settings = settings_of(world, database, redis, data_urls=templates, **changes)
    async with driven(settings, world) as indexer:
        yield indexer


async def mirrored(indexer: Driven) -> None:
    while await indexer.mirror.step():
        pass


async def states(indexer: Driven) -> Mapping[int, str]:
    rows = await indexer.indexer.pool.fetch("select batch_id, state from batch_file")
    return {row["batch_id"]: row["state"] for row in rows}


async def reason(indexer: Driven, batch_id: int = 1) -> str:
    query = "select reason from batch_file where batch_id = $1"
    return str(await indexer.indexer.pool.fetchval(query, batch_id))


async def test_two_mirrors_that_judge_the_same_batches_keep_each_once_without_a_fault(
    world: World, indexer: Driven
) -> None:
    for _ in range(3):
        world.add(hours=1)
    await mirrored(indexer)
    one = indexer.verifier
    other = replace(one, _queue=deque(), _running={}, _retrying=set())
    await asyncio.gather(one.step(), other.step())
    assert await states(indexer) == dict.fromkeys((1, 2, 3), "verified")
    said = indexer.indexer.metrics.exposition()
    assert b"corechain_verifier_faults_total 0.0" in said
    assert b'batches_total{state="verified"} 3.0' in said
    assert b'batches_total{state="withheld"}' not in said


LOSE_LOCKS = """
select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory'
and database = (select oid from pg_database where datname = current_database())
"""


async def test_a_second_process_verifies_nothing_until_the_first_is_gone(
    world: World, indexer: Driven
) -> None:
    world.add()
    await mirrored(indexer)
    service = indexer.indexer
    async with writer(service.settings.session_url, f"{WRITER} verifier"):
        with pytest.raises(WriterLockHeld):
            await service.verify()
        assert await states(indexer) == {}
    session = asyncio.create_task(service.verify())
    await until(lambda: is_verified(indexer))
    await service.pool.execute(LOSE_LOCKS)
    with pytest.raises(StoreUnavailable):
        async with asyncio.timeout(PATIENCE_S):
            await session


async def is_verified(indexer: Driven) -> bool:
    return await states(indexer) == {1: "verified"}


@pytest.mark.parametrize(
    "behave", [offers(sources.HTML), sources.silent, sources.drips(b"CCDF" * 99)]
)
async def test_a_bad_first_source_is_not_the_last_word(
    world: World, database: str, bus_url: str, behave: sources.Behaviour
) -> None:
    for _ in range(6):
        world.add(hours=1)
    with source_that(behave) as odd:
        async with reading_from(world, database, bus_url, odd.url, fetch_timeout_s=1.5) as indexer:
            await mirrored(indexer)
            await indexer.until_verified(6)
            # Four at once waited for it once; it was asked last from then on.
            assert len(odd.asked) <= 4


async def test_new_batches_do_not_wait_for_files_that_never_come(
    world: World, database: str, bus_url: str
) -> None:
    missing = [world.commit(world.sealed(hours=1), publish=False) for _ in range(6)]
    with source_that(sources.silent) as dead:
        async with reading_from(
            world, database, bus_url, dead.url, fetch_timeout_s=5, retry_after_s=0.05
        ) as indexer:
            await mirrored(indexer)
            await indexer.indexer.pool.executemany(
                "insert into batch_file (batch_id, state, next_attempt_at) "
                "values ($1, 'withheld', now())",
                [(batch.header.batch_id,) for batch in missing],
            )
            running = asyncio.create_task(indexer.verifier.run_forever(0.05))
            await until(lambda: len(dead.asked) >= 3)  # the missing ones are waited for
            dead.behave = offers(b"")  # for whom asks from now on
            world.add(hours=1)
            await mirrored(indexer)
            indexer.indexer.work.set()
            async with asyncio.timeout(PATIENCE_S):
                await indexer.indexer.verified.wait()
            assert (await states(indexer))[7] == "verified"
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


def forged(batch: Batch) -> bytes:
    """The batch's file with two signatures swapped: it has a commitment, and breaks the rules."""
    one, two = (signed.pack() for signed in batch.reports[:2])
    file = batch.data_file.replace(one, one[:-64] + two[-64:])
    assert file != batch.data_file
    return file


def lenient(batch: Batch) -> bytes:
    """The file with a verdict that the rules do not give."""
    return batch.data_file[:-6] + bytes([3]) + batch.data_file[-5:]


def doubled(batch: Batch) -> bytes:
    return batch.data_file + b"\0"


@pytest.mark.parametrize(
    ("forge", "why"),
    [
        (forged, "InvalidSignature"),
        (lenient, "not the canonical file"),
        (doubled, "not the canonical file"),
    ],
)
async def test_a_committed_file_that_breaks_the_rules_is_a_mismatch(
    world: World, indexer: Driven, forge: Callable[[Batch], bytes], why: str
) -> None:
    commit_file(world, forge(world.sealed()))
    await indexer.settle()
    assert await states(indexer) == {1: "mismatch"}
    assert why in await reason(indexer)


def commit_file(world: World, file: bytes) -> None:
    """Commits to a file by its own words, and publishes it."""
    commitment = claim_of(file).commitment
    account = account_from_key(SUBMITTER_KEY)
    world.chain.send(account, "DataBatches", "commit", 1, commitment)
    (world.data_dir / f"{commitment.hex()}.ccdf").write_bytes(file)


async def test_a_file_under_unknown_rules_waits_for_a_version_that_knows_them(
    world: World, indexer: Driven
) -> None:
    file = bytearray(world.sealed().data_file)
    file[63] ^= 1  # inside the rules hash
    commit_file(world, bytes(file))
    await indexer.settle()
    assert await states(indexer) == {1: "withheld"}
    assert "this version does not know" in await reason(indexer)


async def test_an_old_mismatch_is_judged_again(world: World, indexer: Driven) -> None:
    world.add()
    await mirrored(indexer)
    pool = indexer.indexer.pool
    await pool.execute(
        "insert into batch_file (batch_id, state, reason) values (1, 'mismatch', 'HTML')"
    )
    (migration,) = [text for name, text in MIGRATIONS if name.endswith("_rejudge.sql")]
    await pool.execute(migration)
    await indexer.settle()
    assert await states(indexer) == {1: "verified"}


async def test_a_fault_of_the_verifier_is_contained(
    world: World, indexer: Driven, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bug of ours that one batch meets: made here by breaking what makes rows of it."""
    world.add()
    world.add()
    rows_of = module.batch_rows

    def faulty(batch: SealedBatch) -> Any:
        if batch.header.batch_id == 1:
            raise KeyError("a fault of ours")
        return rows_of(batch)

    monkeypatch.setattr(module, "batch_rows", faulty)
    await mirrored(indexer)
    await indexer.verifier.step()
    assert await states(indexer) == {1: "withheld", 2: "verified"}
    assert await reason(indexer) == "this indexer failed on it: KeyError"
    assert b"corechain_verifier_faults_total 1.0" in indexer.indexer.metrics.exposition()
    monkeypatch.setattr(module, "batch_rows", rows_of)
    await indexer.until_verified(2)


async def test_a_fault_met_in_a_strangers_bytes_leaves_the_next_source(
    world: World, database: str, bus_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.add()
    check = module.check_file

    def faulty(data: bytes, *rest: Any) -> Rebuilt:
        if data.endswith(b"poison"):
            raise RecursionError("a fault of ours")
        return check(data, *rest)

    monkeypatch.setattr(module, "check_file", faulty)
    with source_that(offers(b"CCDF poison")) as odd:
        async with reading_from(world, database, bus_url, odd.url) as indexer:
            await indexer.settle()
            assert await states(indexer) == {1: "verified"}
            assert b"corechain_verifier_faults_total 1.0" in indexer.indexer.metrics.exposition()


async def test_an_outage_of_the_database_ends_the_session_not_the_batch(
    world: World, indexer: Driven
) -> None:
    world.add()
    await mirrored(indexer)
    await indexer.indexer.pool.close()
    with pytest.raises(StoreUnavailable):
        await indexer.verifier.run_forever(0.05)
