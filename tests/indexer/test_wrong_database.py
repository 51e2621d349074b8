"""A database that is another service's, or another chain's, ends a service at its start: exit code
2 and one sentence, however its URL is spelt."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
import pytest_asyncio
from support.command import PROGRAM
from support.forked import completed

from corechain.deployment import load_deployment
from corechain.service.database import connect, create_pool, migrate
from corechain.service.errors import WrongDatabase
from corechain_indexer.maintenance import forget_everything
from corechain_indexer.settings import Settings
from corechain_indexer.store.mirrored import check_mirrored
from corechain_relayer.journal.sql import migrations as of_relayer

OURS, THEIRS = b"\x01" * 20, b"\x02" * 20


def run(
    service: str, settings: Mapping[str, str], *arguments: str
) -> subprocess.CompletedProcess[str]:
    return completed(PROGRAM, [service, "run", *arguments], os.environ | settings)


@pytest.fixture
def indexers(anvil: str, deployment: Path, bus_url: str) -> dict[str, str]:
    return {
        "INDEXER_RPC_URL": anvil,
        "INDEXER_DEPLOYMENT": str(deployment),
        "INDEXER_REDIS_URL": bus_url,
        "INDEXER_DATA_URLS": "http://127.0.0.1:9/{commitment}",
        "INDEXER_HTTP_PORT": "0",
    }


@pytest_asyncio.fixture
async def relayers_database(empty_database: str) -> str:
    await migrate(empty_database, of_relayer())
    return empty_database


WORKERS = {"INDEXER_API_WORKERS": "2", "INDEXER_OPS_PORT": "0"}


@pytest.mark.parametrize(
    ("roles", "more"),
    [([], {}), (["--role", "api"], {}), ([], WORKERS)],
    ids=["all roles", "the API alone", "workers"],
)
def test_an_indexer_refuses_a_relayers_database(
    indexers: dict[str, str], relayers_database: str, roles: list[str], more: dict[str, str]
) -> None:
    settings = indexers | more | {"INDEXER_DATABASE_URL": relayers_database}
    done = run("indexer", settings, *roles)
    assert done.returncode == 2, done.stderr
    said = "error: DATABASE_URL: this database is not an indexer's: it has the relayer's tables"
    assert done.stderr.splitlines()[-1] == said
    assert "Traceback" not in done.stderr


def test_a_relayer_refuses_an_indexers_database(
    anvil: str, deployment: Path, bus_url: str, database: str, tmp_path: Path
) -> None:
    settings = {
        "RELAYER_RPC_URL": anvil,
        "RELAYER_DEPLOYMENT": str(deployment),
        "RELAYER_BUS_URL": bus_url,
        "RELAYER_DATABASE_URL": database,
        "RELAYER_DATA_DIR": str(tmp_path),
        "RELAYER_HTTP_PORT": "0",
    }
    done = run("relayer", settings, "--role", "gateway")
    assert done.returncode == 2, done.stderr
    said = "error: DATABASE_URL: this database is not a relayer's: it has the indexer's tables"
    assert done.stderr.splitlines()[-1] == said
    assert "Traceback" not in done.stderr


async def test_an_indexer_refuses_the_mirror_of_another_chain(
    indexers: dict[str, str], deployment: Path, database: str
) -> None:
    registry = load_deployment(deployment).address("DeviceRegistry")
    connection = await connect(database)
    await check_mirrored(connection, 137, registry)
    await connection.close()
    done = run("indexer", indexers | {"INDEXER_DATABASE_URL": database})
    assert done.returncode == 2, done.stderr
    assert "this database mirrors chain 137 with the registry" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


async def test_a_database_is_the_mirror_of_one_chain_and_registry(database: str) -> None:
    pool = create_pool(database)
    await pool
    try:
        for _ in range(2):
            await check_mirrored(pool, 2**256 - 1, OURS)
        for chain_id, registry in ((1, OURS), (2**256 - 1, THEIRS)):
            with pytest.raises(WrongDatabase, match=f"not chain {chain_id} with"):
                await check_mirrored(pool, chain_id, registry)
        urls = {"rpc_url": "http://127.0.0.1:9", "redis_url": "redis://127.0.0.1:9"}
        await forget_everything(
            Settings(deployment="none", database_url=database, data_urls="", **urls)  # type: ignore[arg-type]
        )
        await check_mirrored(pool, 1, THEIRS)
    finally:
        await pool.close()
