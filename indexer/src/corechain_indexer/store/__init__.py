"""Postgres, Redis and the time series: where the mirrored chain and the verified data are kept.

A *store* is a handful of named questions about one subject. Whoever needs rows asks a store; SQL,
and the names of queries, stay in this package.
"""

from typing import TYPE_CHECKING

from corechain.service.sql import migrations, queries

if TYPE_CHECKING:
    from asyncpg import Record
    from asyncpg.pool import PoolConnectionProxy

    from corechain.service.database import Conn, Database

    Asked = Database | Conn | PoolConnectionProxy[Record]
    """Whoever answers a query: a pool, or the connection that a transaction runs on."""

MIGRATIONS = migrations(__package__)
SQL = queries(__package__)
