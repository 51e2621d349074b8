"""A user with a password at the servers that all tests share, where nobody else has one."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg

from corechain.devnet.postgres import PostgresServer
from support.processes import PATIENCE_S, until
from support.valkey import command

USER, RIGHT, OTHER = "guarded", "q7z-right", "q7z-other"
HBA_LINE = f"host all {USER} all scram-sha-256\n"


@dataclass(slots=True)
class GuardedPostgres:
    """The password is RIGHT until it is set."""

    server: PostgresServer
    admin: Any
    hba: Path

    def let_in_by(self, lines: str) -> str:
        """From the next reload on; the lines of before."""
        before = self.hba.read_text()
        self.hba.write_text(lines)
        return before

    def url(self, database: str, password: str = RIGHT) -> str:
        """Of the database that another URL names."""
        name = database.rpartition("/")[2]
        return f"postgresql://{USER}:{password}@127.0.0.1:{self.server.port}/{name}"

    async def set(self, password: str) -> None:
        """And who is connected has to come again."""
        await self.admin.execute(f"alter role {USER} password '{password}'")
        ended = "select pg_terminate_backend(pid) from pg_stat_activity where usename = $1"
        await self.admin.execute(ended, USER)


@asynccontextmanager
async def guarded_postgres(server: PostgresServer) -> AsyncIterator[GuardedPostgres]:
    admin = await asyncpg.connect(server.url, timeout=PATIENCE_S)
    made = GuardedPostgres(server, admin, Path(await admin.fetchval("show hba_file")))
    await admin.execute(f"create role {USER} login superuser password '{RIGHT}'")
    before = made.let_in_by("")
    try:
        made.let_in_by(HBA_LINE + before)
        await admin.execute("select pg_reload_conf()")
        await until(lambda: _is_refused(made))
        yield made
    finally:
        made.let_in_by(before)
        await admin.execute("select pg_reload_conf()")
        await made.set(RIGHT)
        await admin.execute(f"drop role {USER}")
        await admin.close()


async def _is_refused(made: GuardedPostgres) -> bool:
    """A reload is not at once."""
    try:
        connection = await asyncpg.connect(made.url("postgres", OTHER), timeout=PATIENCE_S)
    except asyncpg.InvalidPasswordError:
        return True
    await connection.close()
    return False


def guard_valkey(port: int, password: str) -> str:
    """The URL for who has RIGHT; the password that the server knows is this one, and who came with
    another has to come again."""
    words = ("SETUSER", USER, "reset", "on", f">{password}", "~*", "&*", "+@all")
    assert command(port, "ACL", *words) == b"+OK\r\n"
    command(port, "CLIENT", "KILL", "USER", USER)
    return f"redis://{USER}:{RIGHT}@127.0.0.1:{port}/0"
