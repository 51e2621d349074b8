"""What a message costs with the bus on Kafka, beside the bus on Valkey, in one run.

make bench-ingest BUS=kafka     RATE= SECONDS= DEVICES= LIST= CONNECTIONS= ONE_PROCESS=1 LONG=1

The same signed messages go through two networks one after the other: the same machine, the same
load on it. CPU of every process counts, the broker's too.
"""

import json
import os
from typing import Any

from floor import floor
from ingest import (
    RESULTS,
    is_long,
    loads,
    network_of_its_own,
    one_process,
    run_load,
    setting,
)

from corechain.devnet.settings import BUSES
from corechain.protocol import native


def measured(bus: str) -> dict[str, Any]:
    kill_every_s = setting("KILL_EVERY", 20) if is_long() else 0.0
    with network_of_its_own(bus=bus) as network:
        return run_load(network, loads()["messages"], kill_every_s)


def main() -> None:
    found = {bus: measured(bus) for bus in BUSES}
    cost = {bus: found[bus]["cpu_us_per_message"] for bus in BUSES}
    result = {
        "bench": "ingest-kafka",
        "native": native.library is not None,
        "long": is_long(),
        "one_process": one_process(),
        "floor_us": floor()["recover_us"],
        "kafka_to_valkey": round(cost["kafka"] / cost["valkey"], 2),
        **found,
        "load_average": [round(one, 2) for one in os.getloadavg()],
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "ingest-kafka.json").write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
