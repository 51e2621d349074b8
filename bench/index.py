"""What mirroring our events costs, beside a floor of the same run; live latency; restart; idling.

make bench-index        ROUNDS=3

Backfill: 200,000 logs of our contracts (bench/index_chain.py) into a fresh database, by a process
that runs the mirror and nothing else; the floor (bench/index_floor.py) in turn with it, and the
medians of both. CPU is of the process, of Postgres and of anvil, from /proc. Live latency, restart
after kill -9 and idling are those of `corechain indexer run --role mirror`.
"""

import asyncio
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
from commits import cpu_s
from index_chain import chain, deployment_of, emitted, send, total
from index_floor import floor
from index_mirror import FIRST_BLOCK
from segments import measure as measure_segments

from corechain.deployment import Deployment
from corechain.devnet.postgres import PostgresServer
from corechain.devnet.servers import AnvilServer, Server, ValkeyServer, rpc
from corechain.protocol.events import DeviceRegistered
from corechain.service.command import collect_seldom, new_event_loop
from corechain_indexer.settings import PREFIX

RESULTS = Path(__file__).parent / "results"
ROUNDS = int(os.environ.get("BENCH_ROUNDS") or 3)
LIVE_EVENTS, RESTARTS, IDLE_S = 100, 5, 10.0
LIMIT_S = 120.0
MIRROR = Path(__file__).parent / "index_mirror.py"
LOOK_S, LIVE_LOOK_S = 0.01, 0.0005
NEWEST = "select coalesce((select max(number) from block), 0)"
COUNT = "select count(*) from event where block_number <= $1"
TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")


def cpu_of(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / TICKS_A_SECOND


def peak_mib(pid: int) -> float:
    """The most memory that a process ever had (VmHWM in proc_pid_status(5))."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (peak,) = (line.split()[1] for line in lines if line.startswith("VmHWM"))
    return int(peak) / 1024


@dataclass
class Stage:
    """The servers, and databases on them."""

    home: Path
    anvil: AnvilServer
    postgres: PostgresServer
    valkey: ValkeyServer
    number: int = 0

    def database(self) -> str:
        self.number += 1
        return self.postgres.create_database(f"bench_{self.number}")

    def head(self) -> int:
        return int(rpc(self.anvil.url, "eth_blockNumber"), 16)

    def environment(self, database: str, first_block: int) -> dict[str, str]:
        """For an indexer whose contracts are as old as that block."""
        manifest = self.home / f"{first_block}.json"
        manifest.write_text(json.dumps(_document(deployment_of(first_block))))
        settings = {
            "rpc_url": self.anvil.url,
            "deployment": str(manifest),
            "database_url": database,
            "redis_url": self.valkey.url,
            "data_urls": "",
            "http_port": "0",
            "log_level": "warning",
        }
        return os.environ | {PREFIX + name.upper(): value for name, value in settings.items()}

    def spent(self) -> dict[str, float]:
        servers: Mapping[str, Server] = {"postgres": self.postgres, "anvil": self.anvil}
        return {name: cpu_s(server) for name, server in servers.items()}


def _document(deployment: Deployment) -> dict[str, Any]:
    contracts = {
        name: {"address": "0x" + found.address.hex(), "block": found.block}
        for name, found in deployment.contracts.items()
    }
    return {"chain_id": deployment.chain_id, "contracts": contracts}


@dataclass
class Meter:
    """CPU µs an event and events a second, from `start` to `stop`."""

    stage: Stage
    pid: int
    _began: dict[str, float] = field(default_factory=dict)
    _at: float = 0.0

    def _spent(self) -> dict[str, float]:
        return {"ours": cpu_of(self.pid), **self.stage.spent()}

    def start(self) -> None:
        self._began, self._at = self._spent(), time.perf_counter()

    def stop(self, events: int) -> dict[str, float]:
        took, now = time.perf_counter() - self._at, self._spent()
        costs = {f"{name}_us": 1e6 * (now[name] - self._began[name]) / events for name in now}
        return {"events_per_s": events / took, **costs, "peak_rss_mib": peak_mib(self.pid)}


@contextmanager
def process(command: list[str], environment: Mapping[str, str]) -> Iterator[int]:
    child = subprocess.Popen(command, env=environment)
    try:
        yield child.pid
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()


# --------------------------------------------------------------------------- backfill


def floor_round(stage: Stage, last: int) -> dict[str, float]:
    """In a process of its own, which says how it went."""
    command = [sys.executable, __file__, "--floor", stage.anvil.url, stage.database(), str(last)]
    began, started = stage.spent(), time.perf_counter()
    done = subprocess.run(command, capture_output=True, check=True, text=True)
    assert time.perf_counter() - started < LIMIT_S
    now, told = stage.spent(), json.loads(done.stdout)
    assert told["events"] == total(), told
    costs = {f"{name}_us": 1e6 * (now[name] - began[name]) / total() for name in now}
    return {"events_per_s": told["events_per_s"], "ours_us": told["ours_us"], **costs}


def floor_process(node: str, database: str, last: str) -> None:
    spent, started = time.process_time(), time.perf_counter()
    collect_seldom()
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        events = runner.run(floor(node, database, int(last)))
    figures = {"events": events, "events_per_s": events / (time.perf_counter() - started)}
    print(json.dumps(figures | {"ours_us": 1e6 * (time.process_time() - spent) / events}))


async def _until(connection: Any, number: int, pause_s: float = LOOK_S) -> int:
    """The newest mirrored block, once it is that one or a later one."""
    deadline = time.monotonic() + LIMIT_S
    while (newest := int(await connection.fetchval(NEWEST))) < number:
        assert time.monotonic() < deadline, f"at block {newest}, not at {number}"
        await asyncio.sleep(pause_s)
    return newest


async def backfill_round(stage: Stage, last: int) -> dict[str, float]:
    """From the first range that is there (so without the start) to the last."""
    database = stage.database()
    environment, started = stage.environment(database, FIRST_BLOCK), time.perf_counter()
    connection = await asyncpg.connect(database)
    try:
        with process([sys.executable, str(MIRROR)], environment) as pid:
            meter = Meter(stage, pid)
            await _until_table(connection)
            first = await _until(connection, FIRST_BLOCK)
            meter.start()
            await _until(connection, last)
            before, whole = [await connection.fetchval(COUNT, n) for n in (first, last)]
            figures = meter.stop(whole - before)
            whole_s = time.perf_counter() - started
        assert whole == total(), f"{whole} events of {total()}"
        return figures | {"process_s": whole_s}
    finally:
        await connection.close()


async def _until_table(connection: Any) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not await connection.fetchval("select to_regclass('chain_mark') is not null"):
        assert time.monotonic() < deadline, "no tables"
        await asyncio.sleep(LOOK_S)


def median_of(rounds: list[dict[str, float]]) -> dict[str, float]:
    names = rounds[0].keys()
    return {name: round(statistics.median(one[name] for one in rounds), 2) for name in names}


def backfill(stage: Stage) -> dict[str, Any]:
    last, floors, ours = stage.head(), [], []
    for number in range(ROUNDS):
        floors.append(floor_round(stage, last))
        ours.append(asyncio.run(backfill_round(stage, last)))
        print("·", number, json.dumps({"floor": floors[-1], "ours": ours[-1]}), file=sys.stderr)
    shares = [
        one["events_per_s"] / two["events_per_s"] for one, two in zip(ours, floors, strict=True)
    ]
    found, least = median_of(ours), median_of(floors)
    return {
        "events": total(),
        "events_per_s": found.pop("events_per_s"),
        "floor_events_per_s": least.pop("events_per_s"),
        "floor_share": round(statistics.median(shares), 3),
        "rss_mib": max(one["peak_rss_mib"] for one in ours),
        "backfill": found,
        "floor": least,
    }


# ------------------------------------------------------------------------------- live


COMMAND = [sys.executable, "-m", "corechain.cli", "indexer", "run", "--role", "mirror"]


def _emit(stage: Stage, number: int) -> int:
    """A log in a block of its own; its block, once the receipt is there."""
    hash_ = send(stage.anvil.url, "DeviceRegistry", [emitted(DeviceRegistered, number)])
    while (receipt := rpc(stage.anvil.url, "eth_getTransactionReceipt", hash_)) is None:
        pass
    return int(receipt["blockNumber"], 16)


async def _visible_ms(stage: Stage, connection: Any, number: int) -> float:
    block = await asyncio.to_thread(_emit, stage, number)
    seen = time.perf_counter()
    query, deadline = "select 1 from event where block_number = $1", seen + LIMIT_S
    while await connection.fetchval(query, block) is None:
        assert time.perf_counter() < deadline, f"block {block} is not there"
        await asyncio.sleep(LIVE_LOOK_S)
    return 1000 * (time.perf_counter() - seen)


async def live(stage: Stage, connection: Any) -> dict[str, float]:
    found = []
    for number in range(LIVE_EVENTS):
        found.append(await _visible_ms(stage, connection, 1_000_000 + number))
        # Not in step with the mirror's polls.
        await asyncio.sleep(0.05 + 0.01 * (number % 7))
    found.sort()
    p95 = found[int(0.95 * len(found))]
    return {"live_p50_ms": statistics.median(found), "live_p95_ms": p95}


async def restarted(
    stage: Stage, connection: Any, environment: Mapping[str, str]
) -> list[tuple[float, float]]:
    """Seconds from each start after a kill -9 until a block that was missed is visible; and those
    that the process spent on a CPU, which other load leaves alone."""
    seconds = []
    for number in range(RESTARTS):
        with process(COMMAND, environment):
            await _until(connection, stage.head())
        block = _emit(stage, 2_000_000 + number)
        started = time.perf_counter()
        with process(COMMAND, environment) as pid:
            await _until(connection, block, LIVE_LOOK_S)
            seconds.append((time.perf_counter() - started, cpu_of(pid)))
    return seconds


async def idle(stage: Stage, pid: int) -> dict[str, float]:
    """CPU of a second without a block, of the process and of its Postgres."""
    began, spent = cpu_of(pid), stage.spent()
    await asyncio.sleep(IDLE_S)
    now = stage.spent()
    return {
        "idle_cpu_percent": 100 * (cpu_of(pid) - began) / IDLE_S,
        "idle_postgres_cpu_percent": 100 * (now["postgres"] - spent["postgres"]) / IDLE_S,
        "idle_anvil_cpu_percent": 100 * (now["anvil"] - spent["anvil"]) / IDLE_S,
    }


async def service(stage: Stage) -> dict[str, float]:
    """The role as it is run, from the newest block on."""
    database = stage.database()
    environment = stage.environment(database, stage.head())
    connection = await asyncpg.connect(database)
    try:
        with process(COMMAND, environment) as pid:
            await _until_table(connection)
            await _until(connection, stage.head())
            await asyncio.sleep(2.0)  # the loops' first looks
            figures = await live(stage, connection) | await idle(stage, pid)
            figures["role_rss_mib"] = peak_mib(pid)
        seconds, cpu = zip(*await restarted(stage, connection, environment), strict=True)
        figures |= {"restart_s": statistics.median(seconds), "restart_most_s": max(seconds)}
        return figures | {"restart_cpu_s": statistics.median(cpu)}
    finally:
        await connection.close()


def measure(home: Path) -> dict[str, Any]:
    postgres, valkey = PostgresServer(home / "postgres"), ValkeyServer(home / "valkey")
    with chain(home) as anvil, postgres, valkey:
        stage = Stage(home, anvil, postgres, valkey)
        found = {"bench": "index", **backfill(stage)}
        served = asyncio.run(service(stage))
    found |= {name: round(value, 2) for name, value in served.items()}
    return found | {"load_average": [round(one, 2) for one in os.getloadavg()]}


def kept() -> dict[str, Any]:
    """Of verified readings (bench/segments.py): the rate from a file with an observation a report,
    and the space of one in a run of 60."""
    found = measure_segments()
    return {
        "readings_per_s": found["verified_1"]["readings_per_s"],
        "readings_per_s_of_20": found["verified_20"]["readings_per_s"],
        "bytes_per_reading": found["run_60"]["bytes_per_reading"],
        "packed_bytes_per_reading": found["run_60"]["packed_bytes_per_reading"],
    }


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="corechain-bench-") as home:
        found = measure(Path(home)) | kept()
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "index.json").write_text(json.dumps(found, indent=2) + "\n")
    print(json.dumps(found))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--floor"]:
        floor_process(*sys.argv[2:])
    else:
        main()
