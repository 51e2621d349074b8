"""Whose a database is, and of which version, by the migrations that it has had. Pure."""

from collections.abc import Sequence, Set
from typing import TYPE_CHECKING

from corechain.service.errors import NewerSchema, WrongDatabase

if TYPE_CHECKING:
    from asyncpg import Record

Migrations = Sequence[tuple[str, str]]
FIRST_MIGRATIONS = {
    "0001_journal.sql": "relayer",
    "0001_mirror.sql": "indexer",
    "0001_shard.sql": "shard",
}
"""By which a database is known to be of a service."""


def check_applied(applied: "Sequence[Record]", migrations: Migrations) -> set[str]:
    """The names of what a database has had. Raises WrongDatabase, NewerSchema."""
    done = {row["name"] for row in applied}
    _check_owner(done, migrations)
    known = {name for name, _ in migrations}
    newer = [row["name"] for row in applied if row["contract"] and row["name"] not in known]
    if newer:
        raise NewerSchema(newer)
    return done


def _check_owner(done: Set[str], migrations: Migrations) -> None:
    """Who has been here has applied its first migration, and no service ever renames its own: so
    databases of all versions tell whose they are. Raises WrongDatabase."""
    if not (migrations and done) or migrations[0][0] in done:
        return
    others = [FIRST_MIGRATIONS[name] for name in done if name in FIRST_MIGRATIONS]
    whose = f"the {others[0]}'s tables" if others else "tables of others"
    raise wrong_database(migrations, f"it has {whose}")


def wrong_database(migrations: Migrations, why: str) -> WrongDatabase:
    """The error of who brought these migrations to a database that is not theirs."""
    ours = FIRST_MIGRATIONS.get(migrations[0][0], "service")
    article = "an" if ours[0] in "aeiou" else "a"
    return WrongDatabase(f"DATABASE_URL: this database is not {article} {ours}'s: {why}")
