"""Everything that `corechain up --profile cluster` runs, and one part after another killed (-9)
under load. `make test-cluster` runs this; pytest does not collect it by itself.

given three Postgres under Patroni, three etcd, three PgBouncers, three Kafka brokers, two gateways
and two query APIs behind NGINX, two mirrors, two challengers, an aggregator, a submitter, a guard,
a bridge, an MQTT broker, a cache
  when a member of each kind is killed while a fleet sends, a device publishes, a station uploads
  and clients ask, and comes back
  when a member of each kind stands still for a while, and goes on
    ├── nothing that was acknowledged is lost, nothing is counted twice
    ├── no question fails: NGINX asks the other one
    ├── the index has all of it
    └── each part says that it is well, and no challenger has found a fraud
"""

import json
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.cluster import REPOSITORY, Fleet, figure, record
from support.command import corechain
from support.frozen import frozen
from support.processes import PATIENCE_S, eventually
from support.query_load import QueryLoad
from support.side_entrances import SideEntrances

from corechain.devnet.cluster import CHALLENGERS, EVERYTHING, ClusterNetwork
from corechain.devnet.service import probe
from corechain.devnet.settings import Ports

PATHS = "/v1/batches?limit=20", "/v1/devices?limit=20", "/v1/status", "/v1/epochs"
VICTIMS = (
    *(("gateway-1", "challenger-1"), ("api-1", "guard"), ("kafka-1", "mirror-1")),
    *(("aggregator", "bridge"), ("etcd-2", "valkey"), ("pgbouncer-1", "mosquitto")),
    *(("submitter", "challenger-2"), ("gateway-2", "mirror-2"), ("api-2",), ("kafka-2",)),
)
"""What dies together is of two kinds, so that its twin is there. At the end who leads Postgres. Not
NGINX, which is one here: while it is away, all is away; nor the node: what it had not written is
gone, and no service can help it."""
HALF_DEAD = "gateway-1", "api-2", "kafka-3", "mirror-2", "challenger-1", "pgbouncer-2"
CALM_S, PAUSE_S, FROZEN_S = 8.0, 2.0, 8.0
EXAMINED = "corechain_challenger_examined_total"


@pytest.fixture
def network(deployed_home: Path, tmp_path: Path) -> Iterator[ClusterNetwork]:
    home = shutil.copytree(deployed_home, tmp_path / "network")
    with ClusterNetwork(home, ports=Ports.free(), repository=REPOSITORY, **EVERYTHING) as running:
        yield running


def victims(network: ClusterNetwork) -> list[tuple[str, ...]]:
    """Those that are there: a broker that is not Mosquitto has its sessions in memory alone."""
    there = network.pids()
    return [tuple(name for name in group if name in there) for group in VICTIMS]


def killed_and_back(network: ClusterNetwork, group: tuple[str, ...]) -> dict[str, float]:
    """Seconds from the kill until each was ready again."""
    servers, killed, back_s = [network.server(name) for name in group], time.monotonic(), {}
    for server in servers:
        server.kill()
    time.sleep(PAUSE_S)
    for server in servers:
        server.begin()
    for server in servers:
        server.complete()
        back_s[server.name] = round(time.monotonic() - killed, 1)
    return back_s


def all_is_well(network: ClusterNetwork) -> bool:
    return corechain("status", "--json", "--home", network.home).returncode == 0


def mistakes(network: ClusterNetwork) -> list[str]:
    """What services call a fault, of theirs or of others: of the lives since the last kills."""
    texts = [path.read_text() for path in network.home.glob("*/*.log")]
    marks = '"level": "error"', '"level": "critical"'
    return [line for text in texts for line in text.splitlines() if any(m in line for m in marks)]


def frauds(network: ClusterNetwork) -> list[str]:
    """Lines of the challengers' metrics that count one."""
    texts = [probe(network.backends[name], "/metrics", PATIENCE_S)[1] for name in CHALLENGERS]
    lines = [line for text in texts for line in text.splitlines()]
    counted = [line for line in lines if line.startswith("corechain_challenger_frauds_total{")]
    return [line for line in counted if not line.endswith(" 0.0")]


def readings(network: ClusterNetwork) -> int:
    """Of verified batches, as the API counts them."""
    status, text = probe(network.ports.indexer, "/v1/status", PATIENCE_S)
    return int(json.loads(text)["readings"]) if status == 200 else -1


def test_every_part_is_killed_in_turn_under_load(network: ClusterNetwork, tmp_path: Path) -> None:
    fleet = Fleet(network, tmp_path, devices=1_000, reports=90, rate=800.0)
    load, back_s = QueryLoad(network.ports.indexer, lambda: PATHS), {}
    groups = victims(network)
    with load, SideEntrances(network) as side, fleet.sending("--in-order"):
        time.sleep(CALM_S)
        began = time.monotonic()
        for group in groups:
            back_s |= killed_and_back(network, group)
        with frozen(*map(network.server, HALF_DEAD)):
            time.sleep(FROZEN_S)
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
    side_lost, side_doubled = side.lost_and_doubled()
    failed = load.failed(began, end)
    record(
        "whole",
        parts=sorted(network.pids()),
        kills=Counter([*back_s, leader.name]),
        frozen=dict.fromkeys(HALF_DEAD, FROZEN_S),
        acknowledged=figures["acknowledged"] + side.sent,
        of_mqtt_and_bridge={name: counts.total() for name, counts in side.times.items()},
        lost=figures["lost"] + side_lost,
        doubled=figures["doubled"] + side_doubled,
        examined=[figure(network.backends[name], EXAMINED) for name in CHALLENGERS],
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
    assert (side_lost, side_doubled) == (0, 0), side.times
    all_of_it = fleet.messages + side.sent
    assert eventually(lambda: readings(network) == all_of_it, 2 * PATIENCE_S)
    assert not failed, failed[:5]
    assert eventually(lambda: all_is_well(network), 2 * PATIENCE_S)
    assert not frauds(network)
    assert not mistakes(network)
