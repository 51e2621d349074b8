"""Many at once: a storm of backlogs, and thousands of idle connections.

make bench-storm    DEVICES=50000 (20 reports each, sent at once over 2,000 connections)
                    CONNECTIONS=10000 (kept alive; each sends three reports, RATE=300 a second)
                    ONLY=storm or ONLY=connections
"""

import json
from os import environ, getloadavg
from typing import Any

from floor import floor
from ingest import RESULTS, Load, network_of_its_own, run_load, setting

BACKLOG, STORM_CONNECTIONS = 20, 2_000
BY_CONNECTION = 3  # the first one opens it, the others find it kept


def loads() -> dict[str, Load]:
    devices = int(setting("DEVICES", 50_000))
    connections, rate = int(setting("CONNECTIONS", 10_000)), setting("RATE", 300)
    storm = min(STORM_CONNECTIONS, devices)
    return {
        "storm": Load("storm", devices, BACKLOG, 1, BACKLOG, storm, None, backlog=True),
        "connections": Load("kept", connections, BY_CONNECTION, 1, 1, connections, rate),
    }


def measure() -> list[dict[str, Any]]:
    floor_us = floor()["recover_us"]
    with network_of_its_own() as network:
        return [
            {"bench": name, "load": getloadavg()[0], "floor_us": floor_us} | run_load(network, load)
            for name, load in loads().items()
            if environ.get("BENCH_ONLY", name) == name
        ]


def main() -> None:
    lines = [json.dumps(found) for found in measure()]
    RESULTS.mkdir(exist_ok=True)
    with (RESULTS / "storm.jsonl").open("a") as file:
        file.write("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
