"""Databases for tests, made and dropped over one connection of the session.

`PostgresServer.create_database` starts psql twice, in a process of its own each time: 84 ms of CPU,
and 40 more to drop. Over a connection both together take 25, and a copy of a template no more than
an empty one, where the migrations would take another 50 (relayer) or 110 (indexer).
"""

import asyncio
import uuid
from typing import Any

import asyncpg

from corechain.devnet.postgres import PostgresServer
from corechain.service.database import migrate
from corechain.service.migrated import Migrations
from support.processes import PATIENCE_S


class Databases:
    """For fixtures that are not asynchronous: it blocks, on an event loop of its own."""

    def __init__(self, server: PostgresServer) -> None:
        self._server, self._loop = server, asyncio.new_event_loop()
        self._connection: Any = None
        self._templates: dict[str, str] = {}

    def create(self, template: str = "template1") -> str:
        """The URL of a database that is a copy of the template."""
        name = f"test_{uuid.uuid4().hex}"
        # Files are copied as they are; by way of the log each page would be written twice.
        self._execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}" STRATEGY FILE_COPY')
        return self._server.database_url(name)

    def drop(self, url: str) -> None:
        """Disconnects whoever uses it."""
        self._execute(f'DROP DATABASE IF EXISTS "{url.rpartition("/")[2]}" WITH (FORCE)')

    def migrated(self, kind: str, migrations: Migrations, own: str = "") -> str:
        """The URL of a new database with the tables of one service, as after its migrations, which
        are applied once for all databases of this `kind`. `own` is what it must not share with its
        siblings, as SQL."""
        if kind not in self._templates:
            url = self.create()
            self._loop.run_until_complete(migrate(url, migrations))
            self._templates[kind] = url.rpartition("/")[2]
        url = self.create(self._templates[kind])
        if own:
            self._loop.run_until_complete(_run(url, own))
        return url

    def _execute(self, statement: str) -> None:
        self._loop.run_until_complete(self._executed(statement))

    async def _executed(self, statement: str) -> None:
        if self._connection is None or self._connection.is_closed():
            self._connection = await asyncpg.connect(self._server.url, timeout=PATIENCE_S)
        await self._connection.execute(statement, timeout=PATIENCE_S)

    def close(self) -> None:
        if self._connection is not None:
            self._loop.run_until_complete(self._connection.close(timeout=PATIENCE_S))
        self._loop.close()


async def _run(url: str, statements: str) -> None:
    connection = await asyncpg.connect(url, timeout=PATIENCE_S)
    try:
        await connection.execute(statements, timeout=PATIENCE_S)
    finally:
        await connection.close(timeout=PATIENCE_S)
