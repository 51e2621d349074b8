"""One real InfluxDB 2 for all tests here, and a bucket of its own for each."""

import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from support.influx import ORG, TOKEN, InfluxServer

from corechain_indexer.store.influx import InfluxSeries, open_series


@pytest.fixture(scope="session")
def influx_server(server_home: Path) -> Iterator[InfluxServer]:
    with InfluxServer(server_home / "influx") as server:
        yield server


@pytest.fixture
def bucket(influx_server: InfluxServer) -> Iterator[str]:
    name = f"test-{uuid.uuid4().hex}"
    influx_server.create_bucket(name)
    yield name
    influx_server.delete_bucket(name)


@pytest_asyncio.fixture
async def influx(influx_server: InfluxServer, bucket: str) -> AsyncIterator[InfluxSeries]:
    series = open_series(influx_server.url, TOKEN, ORG, bucket)
    yield series
    await series.close()
