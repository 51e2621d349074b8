"""Postgres under Patroni loses its leader while a fleet sends and clients ask. `make test-cluster`
runs this; pytest does not collect it by itself, for it takes minutes and programs that `make
cluster-servers` fetches.

given three Postgres, each commit on two of them, relayer and indexer on them, replicas for reads
  when the leader and its Patroni stand still under load (SIGSTOP), and go on after another leads
  ├── another one leads after the 20 s that Patroni's lock lasts
  ├── reads go on meanwhile, from a replica: none fails
  ├── nothing that was acknowledged is lost, nothing is counted twice, and the index has all of it
  └── every row whose insert returned is there, and the old leader follows
  (that they are killed is in whole_cluster)
  when etcd loses a member, nothing happens
given the process that started them dies
  └── so do Postgres, Patroni and etcd
"""

import asyncio
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from support.cluster import REPOSITORY, Fleet, accepted, record
from support.frozen import frozen
from support.processes import PATIENCE_S, eventually, mentioning
from support.query_load import QueryLoad

from corechain.devnet.cluster import ClusterNetwork
from corechain.devnet.settings import Ports
from corechain.service.database import asked, create_pool
from corechain.service.errors import StoreUnavailable

INSERT_S = 5.0
"""Of one try: the same is tried again until there is a leader."""

PATHS = "/v1/batches?limit=20", "/v1/devices?limit=20", "/v1/status", "/v1/epochs"
CALM_S = 8.0
"""Of queries before the kill and after it, to compare with."""


@pytest.fixture
def network(deployed_home: Path, tmp_path: Path) -> Iterator[ClusterNetwork]:
    home = shutil.copytree(deployed_home, tmp_path / "network")
    with ClusterNetwork(home, ports=Ports.free(), bus="valkey", repository=REPOSITORY) as running:
        yield running


@dataclass
class Rows:
    """Inserts numbers, one after another, as long as it runs; each is tried until it is there."""

    url: str
    inserted: list[tuple[int, float]] = field(default_factory=list)
    """Numbers whose insert returned, and when."""
    _stop: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> "Rows":
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(PATIENCE_S)

    async def _run(self) -> None:
        number = 0
        async with create_pool(self.url) as pool:
            await pool.execute("create table row (number bigint primary key)")
            while not self._stop.is_set():
                try:
                    # As all of ours: an insert whose answer was lost may have come to pass.
                    words = "insert into row values ($1) on conflict do nothing"
                    await asked(pool.execute(words, number, timeout=INSERT_S))
                except StoreUnavailable:
                    await asyncio.sleep(0.05)
                    continue
                self.inserted.append((number, time.monotonic()))
                number += 1
                await asyncio.sleep(0.01)

    async def missing(self) -> int:
        async with create_pool(self.url) as pool:
            found = {row["number"] for row in await pool.fetch("select number from row")}
        return len({number for number, _ in self.inserted} - found)


def indexed(network: ClusterNetwork) -> int:
    """Readings of verified batches, as the journal of the index counts them."""
    psql = network.patroni.leader()
    url = network.patroni.database_url("indexer")
    query = "select coalesce(sum(reading_count), 0) from batch_file where state = 'verified'"
    said = psql._tool("psql", "--no-psqlrc", "-qtA", "--dbname", url, "--command", query)
    return int(said or 0)


def test_the_leader_stands_still_under_ingest_and_queries(
    network: ClusterNetwork, tmp_path: Path
) -> None:
    cluster, fleet = network.patroni, Fleet(network, tmp_path, reports=120, rate=1_000.0)
    rows = Rows(cluster.database_url("indexer"))
    load = QueryLoad(network.ports.indexer, lambda: PATHS)
    with rows, load, fleet.sending():
        assert eventually(lambda: accepted(network) > 5_000)
        cluster.etcd[0].kill()
        leader = cluster.leader()
        # The pooler of the leader, too: who has nothing to keep is back at once.
        pooler = cluster.poolers[cluster.members.index(leader)]
        pooler.kill()
        pooler.start()
        time.sleep(CALM_S)
        killed = time.monotonic()
        with frozen(leader):
            new = cluster.leader(other_than=leader)
            led = time.monotonic()
            before = len(rows.inserted)
            assert eventually(lambda: len(rows.inserted) > before + 10)
            written = next(at for _, at in rows.inserted if at > killed + 1)
        cluster.etcd[0].start()
        cluster.wait_until_whole()
        whole = time.monotonic()
        time.sleep(CALM_S)
        end = time.monotonic()
    figures = fleet.reconciled()
    assert (figures["acknowledged"], figures["lost"], figures["doubled"]) == (
        fleet.messages, 0, 0,
    )  # fmt: skip
    assert asyncio.run(rows.missing()) == 0
    assert eventually(lambda: indexed(network) == fleet.messages, 2 * PATIENCE_S)
    assert leader.follows
    assert new.leads
    failed = load.failed(killed, end)
    record(
        "postgres",
        kills={"etcd-1": 1, pooler.name: 1},
        frozen={leader.name: round(written - killed, 1)},
        acknowledged=figures["acknowledged"],
        lost=figures["lost"],
        doubled=figures["doubled"],
        rows=len(rows.inserted),
        failover_s=round(led - killed, 1),
        writes_back_s=round(written - killed, 1),
        whole_again_s=round(whole - killed, 1),
        queries=len(load.answers),
        queries_failed=len(failed),
        p95_before_ms=load.p95_ms(killed - CALM_S, killed),
        p95_during_ms=load.p95_ms(killed, written),
        p95_after_ms=load.p95_ms(whole, end),
    )
    assert not failed, failed[:5]


OWNER = """
import sys, time
from corechain.devnet.patroni import PatroniCluster
PatroniCluster(sys.argv[1]).start()
print("up", flush=True)
time.sleep(600)
"""


def test_none_outlives_who_started_them(tmp_path: Path) -> None:
    """Postgres is no child of ours, nor of a killed Patroni."""
    words = [sys.executable, "-c", OWNER, str(tmp_path / "cluster")]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "up\n"
        names = {process.name() for process in mentioning(tmp_path / "cluster")}
        assert {"etcd", "postgres"} <= names
        owner.kill()
    assert eventually(lambda: not mentioning(tmp_path / "cluster"))
