"""`corechain status` of the cluster profile. `make test-cluster` runs this.

given a cluster
  every part is in the table, and all is well
  when one of each of some kinds is killed, it says which, what that did to the others, and exits 1
  when the last of a kind is gone, it exits 2
"""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.cluster import record
from support.command import corechain
from support.processes import eventually

from corechain.devnet.cluster import EVERYTHING, ClusterNetwork
from corechain.devnet.settings import Ports

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def network(deployed_home: Path, tmp_path: Path) -> Iterator[ClusterNetwork]:
    # The contracts are there; the databases begin anew under Patroni.
    home = shutil.copytree(deployed_home, tmp_path / "home")
    with ClusterNetwork(home, ports=Ports.free(), repository=REPOSITORY, **EVERYTHING) as running:
        yield running


def asked(network: ClusterNetwork) -> tuple[int, dict[str, dict[str, Any]]]:
    done = corechain("status", "--json", "--home", network.home)
    parts = json.loads(done.stdout)["parts"]
    return done.returncode, {one["part"]: one for one in parts}


def test_status_says_how_each_part_of_a_cluster_is(network: ClusterNetwork) -> None:
    assert eventually(lambda: asked(network)[0] == 0), asked(network)
    _, parts = asked(network)
    kinds = {"etcd", "postgres", "pgbouncer", "kafka"}
    assert {f"{kind}-{n}" for kind in kinds for n in (1, 2, 3)} <= parts.keys()
    pairs = {"gateway", "api", "mirror", "challenger", "watchtower"}
    assert {f"{kind}-{n}" for kind in pairs for n in (1, 2)} <= parts.keys()
    singles = {"guard", "submitter", "aggregator", "bridge", "nginx", "valkey"}
    assert singles | {network.mqtt.server.name} <= parts.keys()
    roles = sorted(parts[f"postgres-{n}"]["detail"].partition(",")[0] for n in (1, 2, 3))
    assert roles.count("leader") == 1

    replica = network.patroni.replicas()[0].name
    for name in ("kafka-3", "gateway-2", "etcd-3", replica):
        network.kill(name)

    def degraded() -> bool:
        code, parts = asked(network)
        gone = {name for name, one in parts.items() if one["state"] == "down"}
        wanted = {"kafka-3", "gateway-2", "etcd-3", replica}
        return code == 1 and wanted <= gone and parts["kafka-1"]["state"] == "degraded"

    assert eventually(degraded), asked(network)
    network.kill("gateway-1")
    assert eventually(lambda: asked(network)[0] == 2), asked(network)
    record("status", parts=len(parts))
