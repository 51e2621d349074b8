"""Shards that are not those of the index end a process at its start, as any wrong database does.

given settings that name a database twice, or the chain-wide one as a shard, however it is spelt
given shards of another order, or another service's database as a shard
given an index that is divided otherwise
  └── the start is refused in one sentence (exit code 2), and nothing is changed
given shards that are away, or without tables, or two schemas of one database
  └── the start goes on
given an index that nobody has run yet
  └── `shards status` says what to do
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.command import PROGRAM
from support.databases import Databases
from support.forked import completed

from corechain.service.database import connect
from corechain.service.errors import StoreUnavailable, WrongDatabase
from corechain_indexer.errors import NotDivided
from corechain_indexer.store.shards.databases import Shards, lay_out
from corechain_indexer.store.shards.starting import check_shards_at_start
from corechain_indexer.store.shards.status import status_of
from corechain_relayer.journal.sql import migrations
from indexer.shards_without_chain import four_shards

NOWHERE = "postgresql://user@127.0.0.1:1/nowhere"


@pytest.fixture
def shard_urls(databases: Databases) -> Iterator[list[str]]:
    with four_shards(databases) as urls:
        yield urls


@pytest.fixture
def other_database(databases: Databases, database: str) -> Iterator[str]:
    url = databases.migrated("relayer", migrations())
    yield url
    databases.drop(url)


def other_spelling(url: str) -> str:
    return f"{url}?application_name=another"


async def test_a_database_that_is_named_twice_is_refused(
    database: str, shard_urls: list[str]
) -> None:
    first, *_ = shard_urls
    with pytest.raises(WrongDatabase, match="shard 1 and shard 0 are the same database"):
        await check_shards_at_start(database, [first, other_spelling(first)])
    with pytest.raises(WrongDatabase, match="shard 0 and DATABASE_URL are the same database"):
        await check_shards_at_start(database, [other_spelling(database)])


def test_the_process_ends_with_2_and_one_sentence(
    anvil: str, deployment: Path, bus_url: str, database: str, shard_urls: list[str]
) -> None:
    first, *_ = shard_urls
    settings = {
        "INDEXER_RPC_URL": anvil,
        "INDEXER_DEPLOYMENT": str(deployment),
        "INDEXER_REDIS_URL": bus_url,
        "INDEXER_DATA_URLS": "http://127.0.0.1:9/{commitment}",
        "INDEXER_HTTP_PORT": "0",
        "INDEXER_DATABASE_URL": database,
        "INDEXER_SHARD_URLS": f"{first} {other_spelling(first)}",
    }
    done = completed(PROGRAM, ["indexer", "run"], os.environ | settings)
    assert done.returncode == 2, done.stderr
    said = done.stderr.splitlines()[-1]
    assert said.startswith("error: SHARD_URLS: shard 1 and shard 0 are the same database")


async def test_shards_of_another_order_or_service_or_number_are_refused(
    database: str, other_database: str, shard_urls: list[str]
) -> None:
    shards = Shards.at(shard_urls)
    await lay_out(database, shards)
    await shards.close()
    await check_shards_at_start(database, shard_urls)
    with pytest.raises(WrongDatabase, match="shard 0 is another one, shard 3 of this index"):
        await check_shards_at_start(database, shard_urls[::-1])
    with pytest.raises(WrongDatabase, match="shard 2: this database is not a shard's: it has the"):
        await check_shards_at_start(database, [*shard_urls[:2], other_database, shard_urls[3]])
    for urls in ([], shard_urls[:2]):
        with pytest.raises(WrongDatabase, match="is divided over 4"):
            await check_shards_at_start(database, urls)


async def test_what_is_away_or_has_no_tables_yet_is_looked_at_later(
    database: str, empty_database: str, shard_urls: list[str]
) -> None:
    await check_shards_at_start(database, [empty_database, NOWHERE])
    await check_shards_at_start(empty_database, shard_urls)
    await check_shards_at_start(NOWHERE, shard_urls)


async def test_schemas_of_one_database_are_shards_of_their_own(
    database: str, empty_database: str
) -> None:
    connection = await connect(empty_database)
    await connection.execute("create schema a; create schema b")
    await connection.close()
    one, other = (f"{empty_database}?search_path={name}" for name in "ab")
    await check_shards_at_start(database, [one, other])
    with pytest.raises(WrongDatabase, match="the same database"):
        await check_shards_at_start(database, [one, one])


async def test_the_status_of_an_index_that_nobody_has_run_says_what_to_do(
    database: str, empty_database: str, shard_urls: list[str]
) -> None:
    with pytest.raises(NotDivided, match="the first `corechain indexer run` with"):
        await status_of(database, Shards.at(shard_urls))
    with pytest.raises(
        StoreUnavailable,
        match=r"run .* `corechain indexer migrate`",
    ):
        await status_of(empty_database, Shards.at(shard_urls))
