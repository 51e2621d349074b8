"""Every table of the relayer's database, as of one moment, out to files and in again.

`COPY` in text rather than `pg_dump`: the services' images hold no Postgres client, and text is read
by every version of Postgres. Source: PostgreSQL documentation, "COPY".
"""

import gzip
import hashlib
import zlib
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from graphlib import TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING

from corechain.service.database import (
    MIGRATION_LOCK,
    MIGRATION_TIMEOUT_S,
    connect,
    hang_up,
    list_migrations,
    note_migration,
    outages,
)
from corechain.service.lock_keeping import PATIENT
from corechain_relayer.backup.manifest import BATCHES, COMMITMENT, TABLE, Manifest, Table
from corechain_relayer.backup.places import usable
from corechain_relayer.errors import BackupDamaged, DatabaseInUse, NewerBackup
from corechain_relayer.journal.sql import migrations, query

if TYPE_CHECKING:
    from corechain.service.database import Conn

LEVEL = 1
"""Of gzip: bit strings and hexadecimal shrink to a few per cent at once; a higher level costs more
than the disk it saves."""
CHUNK = 1 << 20


@asynccontextmanager
async def snapshot(url: str) -> "AsyncIterator[Conn]":
    """A connection that sees one moment of the database. Raises StoreUnavailable."""
    connection = await connect(url)
    try:
        with outages():
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                await connection.execute(PATIENT)  # the digest of a large table takes minutes
                yield connection
    finally:
        await hang_up(connection)


async def copy_out(connection: "Conn", folder: Path) -> list[Table]:
    """All tables but the list of migrations, each into a file of the folder."""
    return [await _copy_table(connection, name, folder) for name in await _names(connection)]


async def _names(connection: "Conn") -> list[str]:
    """Who refers to a table comes after it: so they can be filled again in this order."""
    graph: dict[str, set[str]] = {}
    for row in await connection.fetch(query("backup_tables")):
        graph[row["name"]] = set(row["needs"]) - {row["name"]}
    return list(TopologicalSorter(graph).static_order())


async def _copy_table(connection: "Conn", name: str, folder: Path) -> Table:
    columns = [row["name"] for row in await connection.fetch(query("backup_columns"), name)]
    path = folder / f"{name}{TABLE}"
    with usable(path), _packed(path) as packed:  # a full disk is no outage of Postgres

        async def write(data: bytes) -> None:
            packed.write(data)

        done = await connection.copy_from_table(
            name, output=write, columns=columns, timeout=MIGRATION_TIMEOUT_S
        )
    return Table(name, columns, int(done.split()[-1]), digest_of(path))


@contextmanager
def _packed(path: Path) -> Iterator[gzip.GzipFile]:
    # mtime 0: the same rows make the same file.
    with path.open("wb") as raw, gzip.GzipFile("", "wb", LEVEL, raw, mtime=0) as packed:
        yield packed


def digest_of(path: Path) -> str:
    """SHA-256 in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


async def applied(connection: "Conn") -> list[str]:
    """The migrations that a database has had."""
    return [row["name"] for row in await connection.fetch("select name from migration order by 1")]


async def copy_in(url: str, manifest: Manifest, folder: Path) -> None:
    """Fills an empty database, in one transaction: cut off at any moment, nothing has happened.

    Raises DatabaseInUse, NewerBackup, StoreUnavailable.
    """
    texts = _migrations_of(manifest)
    connection = await connect(url)
    try:
        with outages():
            async with connection.transaction():
                await _claim(connection)
                await _create(connection, texts)
                for table in manifest.tables:
                    await _fill(connection, table, folder)
    finally:
        await hang_up(connection)


def _migrations_of(manifest: Manifest) -> list[tuple[str, str]]:
    """Those that the backup had. Its newer ones come at the next start, as in any upgrade."""
    known = dict(migrations())
    unknown = [name for name in manifest.migrations if name not in known]
    if unknown:
        raise NewerBackup(manifest.version, unknown)
    return [(name, known[name]) for name in manifest.migrations]


async def _claim(connection: "Conn") -> None:
    # The lock of `migrate`: a relayer that starts meanwhile waits for what comes of this.
    lock = "select pg_advisory_xact_lock(hashtextextended($1, 0))"
    await connection.execute(lock, MIGRATION_LOCK)
    tables = [row["name"] for row in await connection.fetch(query("backup_tables"))]
    if tables or await connection.fetchval("select to_regclass('migration') is not null"):
        raise DatabaseInUse


async def _create(connection: "Conn", texts: Sequence[tuple[str, str]]) -> None:
    await list_migrations(connection)
    for name, text in texts:
        await connection.execute(text, timeout=MIGRATION_TIMEOUT_S)
        await note_migration(connection, name, text)


async def _fill(connection: "Conn", table: Table, folder: Path) -> None:
    async def content() -> AsyncIterator[bytes]:
        with usable(folder), gzip.open(folder / table.file) as packed:
            while part := packed.read(CHUNK):
                yield part

    columns, limit_s = table.columns, MIGRATION_TIMEOUT_S
    await connection.execute(f'truncate "{table.name}" cascade')  # rows that a migration made
    await connection.copy_to_table(table.name, source=content(), columns=columns, timeout=limit_s)
    # COPY takes numbers of identity columns as they are, and does not count them.
    for row in await connection.fetch(query("backup_identities"), table.name):
        await connection.execute(
            f'select setval($1::regclass, coalesce(max("{row["name"]}"), 0) + 1, false)'
            f' from "{table.name}"',
            row["sequence"],
        )


def commitments_in(folder: Path, manifest: Manifest) -> Iterator[bytes]:
    """Of all batches of a set, from its copy of their table. Raises BackupDamaged."""
    table = next(table for table in manifest.tables if table.name == BATCHES)
    place = table.columns.index(COMMITMENT)
    try:
        with gzip.open(folder / table.file, "rt", encoding="ascii") as rows:
            for row in rows:
                # Text of COPY: tabs between columns, bytea in hexadecimal after backslashes and x.
                yield bytes.fromhex(row.rstrip("\n").split("\t")[place].lstrip("\\x"))
    except (ValueError, IndexError, EOFError, zlib.error, gzip.BadGzipFile):
        raise BackupDamaged([f"{table.file} is not a copy of the table `{BATCHES}`"]) from None
