"""The relayer of `corechain up --profile cluster`, with two lanes, killed in parts.

make bench-cluster      MESSAGES=5000000 RATE= KILL_EVERY= DEVICES= LIST= CONNECTIONS= QUICK=1

While a fleet sends, a broker, an aggregator and a gateway get a kill -9 in turn, each one of its
kind, and are started again. Then every acknowledged message has to be in exactly one committed
file, and (without QUICK=1) every file is sealed again: its content is what the chain has committed
to. One JSON line in results/cluster.jsonl, the newest run in results/cluster_kafka.json; exit
code 1 when something is lost or doubled.
"""

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from floor import floor
from ingest import RESULTS, Load, run_load, setting

from corechain.devnet.cluster import GATEWAYS, ClusterNetwork
from corechain.devnet.settings import Ports
from corechain.protocol import native

LANES = 2
VICTIMS = (
    *("kafka-1", "aggregator", "gateway-1", "kafka-2"),
    *("aggregator-1", "gateway-2", "kafka-3"),
)
"""The second of a kind while the first is back: two brokers of three have to be in time."""


def load() -> Load:
    devices = int(setting("DEVICES", 50_000))
    each = round(setting("MESSAGES", 5_000_000) / devices) or 1
    size, connections = int(setting("LIST", 500)), int(setting("CONNECTIONS", 32))
    bound = os.environ.get("BENCH_QUICK") != "1"
    rate = setting("RATE", 8_000)
    return Load("single", devices, each, 1, size, connections, rate, bound=bound)


def measured() -> dict[str, Any]:
    with (
        tempfile.TemporaryDirectory(prefix="corechain-bench-") as home,
        ClusterNetwork(
            Path(home) / "network",
            lanes=LANES,
            ports=Ports.free(),
            services=("relayer",),
            one_process=False,
            progress=lambda line: print("·", line, file=sys.stderr),
        ) as network,
    ):
        # Not through NGINX: what a message costs is asked of the relayer.
        gateways = [f"http://127.0.0.1:{network.backends[name]}" for name in GATEWAYS]
        return run_load(network, load(), setting("KILL_EVERY", 20), VICTIMS, gateways)


def main() -> int:
    result = {
        "bench": "cluster",
        "native": native.library is not None,
        "floor_us": floor()["recover_us"],
        **measured(),
        "load_average": [round(one, 2) for one in os.getloadavg()],
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "cluster_kafka.json").write_text(json.dumps(result, indent=2) + "\n")
    with (RESULTS / "cluster.jsonl").open("a") as file:
        file.write(json.dumps(result) + "\n")
    print(json.dumps(result))
    return int(bool(result["lost"] or result["doubled"] or result["faults"]))


if __name__ == "__main__":
    sys.exit(main())
