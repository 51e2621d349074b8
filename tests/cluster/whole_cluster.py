"""Everything that `corechain up --profile cluster` runs, and one part after another killed (-9)
under load. `make test-cluster` runs this; pytest does not collect it by itself.

given three Postgres under Patroni, three etcd, three PgBouncers, three Kafka brokers, two gateways
and two query APIs behind NGINX, a mirror, an aggregator, a submitter
  when a member of each kind is killed while a fleet sends and clients ask, and comes back
    ├── nothing that was acknowledged is lost, nothing is counted twice
    ├── no question fails: NGINX asks the other one
    └── the index has all of it
"""

import json
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.cluster import REPOSITORY, Fleet, record
from support.processes import PATIENCE_S, eventually
from support.query_load import QueryLoad

from corechain.devnet.cluster import ClusterNetwork
from corechain.devnet.service import probe
from corechain.devnet.settings import Ports

PATHS = "/v1/batches?limit=20", "/v1/devices?limit=20", "/v1/status", "/v1/epochs"
VICTIMS = (
    *("gateway-1", "api-1", "kafka-1", "aggregator", "etcd-2", "pgbouncer-1"),
    *("submitter", "mirror", "gateway-2", "api-2", "kafka-2"),
)
"""And at the end who leads Postgres. Not NGINX: one alone is away while it is away."""
CALM_S, PAUSE_S = 8.0, 2.0


@pytest.fixture
def network(deployed_home: Path, tmp_path: Path) -> Iterator[ClusterNetwork]:
    home = shutil.copytree(deployed_home, tmp_path / "network")
    with ClusterNetwork(home, ports=Ports.free(), repository=REPOSITORY) as running:
        yield running


def readings(network: ClusterNetwork) -> int:
    """Of verified batches, as the API counts them."""
    status, text = probe(network.ports.indexer, "/v1/status", PATIENCE_S)
    return int(json.loads(text)["readings"]) if status == 200 else -1


def test_every_part_is_killed_in_turn_under_load(network: ClusterNetwork, tmp_path: Path) -> None:
    fleet = Fleet(network, tmp_path, devices=1_000, reports=100, rate=800.0)
    load, back_s = QueryLoad(network.ports.indexer, lambda: PATHS), {}
    with load, fleet.sending():
        time.sleep(CALM_S)
        began = time.monotonic()
        for name in VICTIMS:
            killed = time.monotonic()
            network.kill(name)
            time.sleep(PAUSE_S)
            network.restart(name)
            back_s[name] = round(time.monotonic() - killed, 1)
        leader, killed = network.patroni.leader(), time.monotonic()
        leader.kill()
        network.patroni.leader(other_than=leader)
        failover_s = round(time.monotonic() - killed, 1)
        leader.start()
        network.patroni.wait_until_whole()
        ended = time.monotonic()
        time.sleep(CALM_S)
        end = time.monotonic()
    figures = fleet.reconciled()
    failed = load.failed(began, end)
    record(
        "whole",
        parts=sorted(network.pids()),
        kills=Counter([*VICTIMS, leader.name]),
        acknowledged=figures["acknowledged"],
        lost=figures["lost"],
        doubled=figures["doubled"],
        postgres_failover_s=failover_s,
        back_s=back_s,
        queries=len(load.answers),
        queries_failed=len(failed),
        p95_before_ms=load.p95_ms(began - CALM_S, began),
        p95_during_ms=load.p95_ms(began, ended),
        p95_after_ms=load.p95_ms(ended, end),
    )
    books = figures["acknowledged"], figures["lost"], figures["doubled"]
    assert books == (fleet.messages, 0, 0)
    assert eventually(lambda: readings(network) == fleet.messages, 2 * PATIENCE_S)
    assert not failed, failed[:5]
