"""Many at once: a storm of backlogs, and thousands of idle connections.

make bench-storm    DEVICES=50000 (20 reports each, sent at once over 2,000 connections)
                    the same over 12,000 connections to a gateway that takes 8,000, onto a bus of
                    8 MiB: refused early, and all in after retries
                    CONNECTIONS=10000 (kept alive; each sends three reports, RATE=300 a second)
                    ONLY=storm, ONLY=crowded or ONLY=connections
"""

import json
from collections.abc import Mapping
from os import environ, getloadavg
from typing import Any

from floor import floor
from ingest import RESULTS, Load, network_of_its_own, run_load, setting

BACKLOG, STORM_CONNECTIONS, CROWD = 20, 2_000, 12_000
BY_CONNECTION = 3  # the first one opens it, the others find it kept
CROWDED = {
    "RELAYER_BUS_MAX_BYTES": str(8 << 20),
    "RELAYER_MAX_CONNECTIONS": str(2 * CROWD // 3),
}


def loads() -> dict[str, tuple[Load, Mapping[str, str]]]:
    """Each with the settings of its network."""
    devices = int(setting("DEVICES", 50_000))
    connections, rate = int(setting("CONNECTIONS", 10_000)), setting("RATE", 300)
    found = {
        "connections": (
            Load("kept", connections, BY_CONNECTION, 1, 1, connections, rate),
            dict[str, str](),
        )
    }
    for name, most, settings in (("storm", STORM_CONNECTIONS, {}), ("crowded", CROWD, CROWDED)):
        storm = Load("storm", devices, BACKLOG, 1, BACKLOG, min(most, devices), None, backlog=True)
        found[name] = storm, settings
    return found


def measure(name: str, load: Load, settings: Mapping[str, str]) -> dict[str, Any]:
    told = {"bench": name, "load": getloadavg()[0], "floor_us": floor()["recover_us"]}
    with network_of_its_own(settings) as network:
        return told | run_load(network, load)


def main() -> None:
    RESULTS.mkdir(exist_ok=True)
    for name, (load, settings) in loads().items():
        if environ.get("BENCH_ONLY", name) != name:
            continue
        line = json.dumps(measure(name, load, settings))
        with (RESULTS / "storm.jsonl").open("a") as file:
            file.write(line + "\n")
        print(line)


if __name__ == "__main__":
    main()
