"""Segments in Postgres: the suite of every store of series (tests/support/series.py)."""

from collections.abc import AsyncIterator

import pytest_asyncio
from support.series import Kept, SeriesSuite

from corechain.service.database import create_pool, migrate
from corechain_indexer.store import MIGRATIONS
from corechain_indexer.store.series import SegmentSeries


@pytest_asyncio.fixture
async def kept(database: str) -> AsyncIterator[Kept]:
    await migrate(database, MIGRATIONS)
    pool = create_pool(database)
    await pool
    yield Kept(pool, SegmentSeries(pool))
    await pool.close()


class TestSegments(SeriesSuite):
    """Whatever stands in Postgres."""
