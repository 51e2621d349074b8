"""Versions beside each other on one database.

given a database that a newer version has migrated
  when its migrations only add
    an older version runs on, and back
  when one of them takes away what older versions need
    an older version refuses it by name, before and after it has connected, and changes nothing
given our migrations: one that takes something away says so in its first line
"""

import re
from collections.abc import Sequence

import pytest

from corechain.service.database import CONTRACT, check_at_start, connect, migrate
from corechain.service.errors import NewerSchema
from corechain_indexer.store import MIGRATIONS
from corechain_relayer.journal.sql import migrations as journal_migrations

OLD = [("0001_mirror.sql", "create table batch (n int)")]
ADDS = ("0002_more.sql", "alter table batch add column m int")
TAKES = ("0003_less.sql", f"{CONTRACT} n is m now\nalter table batch drop column n")
TAKING = re.compile(
    r"\bdrop (table|column|view)\b|\brename\b|\balter column \w+ (type|set not null)\b", re.I
)
BEFORE_THE_RULE = {"relayer": 9, "indexer": 30}
"""Numbers of the last migrations that were written without it."""


async def test_an_older_version_lives_with_what_only_adds(empty_database: str) -> None:
    assert await migrate(empty_database, [*OLD, ADDS]) == [OLD[0][0], ADDS[0]]
    assert await migrate(empty_database, OLD) == []
    await check_at_start(empty_database, OLD)
    assert await migrate(empty_database, [*OLD, ADDS]) == []


async def test_an_older_version_refuses_what_it_cannot_live_with(empty_database: str) -> None:
    await migrate(empty_database, [*OLD, ADDS, TAKES])
    for refused in (migrate, check_at_start):
        with pytest.raises(NewerSchema, match=r"\(0003_less\.sql\): run that version, or restore"):
            await refused(empty_database, [*OLD, ("0002_other.sql", "create table other ()")])
    connection = await connect(empty_database)
    assert await connection.fetchval("select to_regclass('other')") is None
    await connection.close()
    assert await migrate(empty_database, [*OLD, ADDS, TAKES]) == []


async def test_a_list_of_before_the_rule_is_taken_over(empty_database: str) -> None:
    """and an older version that does not know the rule goes on writing it"""
    connection = await connect(empty_database)
    await connection.execute("create table migration (name text primary key)")
    await connection.execute("insert into migration values ('0001_mirror.sql')")
    await check_at_start(empty_database, OLD)
    assert await migrate(empty_database, [*OLD, ("0002_x.sql", "select 1")]) == ["0002_x.sql"]
    await connection.execute("insert into migration (name) values ('0003_y.sql')")
    await connection.close()
    assert await migrate(empty_database, OLD) == []


@pytest.mark.parametrize(
    ("service", "found"), [("relayer", journal_migrations()), ("indexer", MIGRATIONS)]
)
def test_a_migration_that_takes_something_away_says_so(
    service: str, found: Sequence[tuple[str, str]]
) -> None:
    for name, text in found:
        code = re.sub(r"--.*", "", text)
        if int(name[:4]) > BEFORE_THE_RULE[service] and TAKING.search(code):
            assert text.startswith(CONTRACT), f"{name}: what it takes away older versions need"
