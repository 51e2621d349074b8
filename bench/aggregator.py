"""What a report costs the aggregator and its Postgres, beside the floor (bench/floor.py).

BENCH_DEVICES= BENCH_CASES= BENCH_METRICS= python bench/aggregator.py [reports, 100,000]

The role alone, on real servers: frames lie on the bus, batches are sealed, written and journalled.
Each case is met twice: the first frames, which meet the devices, are counted by themselves, and so
is folding: of the devices' first reports, and of all others, as it would be once in so many reports
of a device. BENCH_CASES=1v,20 takes those cases alone (observations a report; v: vouched for).
"""

import asyncio
import json
import logging
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import psutil
import structlog
from floor import floor
from redis.asyncio import Redis

from corechain import Observation, Secp256k1Key, account_from_key
from corechain.chain import Chain
from corechain.deployment import Deployment, load_deployment
from corechain.devnet.deploy import deploy_contracts
from corechain.devnet.postgres import PostgresServer
from corechain.devnet.servers import AnvilServer, ValkeyServer
from corechain.devnet.settings import ADMIN_KEY
from corechain.implementation import is_native
from corechain.protocol.eip712 import registry_domain, report_digest
from corechain.protocol.fleet import Fleet
from corechain.protocol.hashing import keccak
from corechain.protocol.keys import KeyType
from corechain.protocol.reading import Report, SignedReport
from corechain.protocol.vocabulary import METRICS
from corechain_relayer.bus.frame import FrameKeys, Place, frame_of
from corechain_relayer.bus.keys import FIELD, lane_keys
from corechain_relayer.journal.fold import fold_all
from corechain_relayer.service import Relayer, Role
from corechain_relayer.settings import Settings

RESULTS = Path(__file__).parent / "results" / "aggregator.jsonl"
REPOSITORY = Path(__file__).parents[1]
DEVICES, A_FRAME, A_FLEET = int(os.environ.get("BENCH_DEVICES") or 10_000), 500, 2_500
CELL, START = 0x872A1072BFFFFFF, int(time.time()) - 80_000
TIME_LIMIT_S = 600.0
CASES = (os.environ.get("BENCH_CASES") or "1,1v,20,20v").split(",")
# What a device of the fleet reports, one after another: each has a quality state of its own.
KINDS = METRICS[: int(os.environ.get("BENCH_METRICS") or 8)]
ID_MAX = 0xFFFFFFFFFFFF
KEY = b"\7" * 32


@dataclass
class Bench:
    """A chain with a fleet of devices, and the servers of one relayer."""

    home: Path
    anvil: AnvilServer
    postgres: PostgresServer
    valkey: ValkeyServer
    deployment: Deployment = field(init=False)
    keys: list[Secp256k1Key] = field(init=False)

    def prepare(self) -> None:
        manifest = self.home / "deployment.json"
        deploy_contracts(REPOSITORY, self.anvil.url, manifest)
        self.deployment = load_deployment(manifest)
        self.keys = [Secp256k1Key(keccak(b"bench %d" % n)) for n in range(DEVICES)]
        account, chain = account_from_key(ADMIN_KEY), Chain(self.anvil.url, self.deployment)
        chain.send(account, "DeviceRegistry", "setEnroller", account.address, True)
        owner = bytes.fromhex(account.address[2:])
        for first in range(0, DEVICES, A_FLEET):
            devices = (key.identity.device for key in self.keys[first : first + A_FLEET])
            chain.enrol_fleet(account, Fleet.of(owner, KeyType.SECP256K1, devices))

    def frames(
        self, first: int, reports: int, observations: int, keys: FrameKeys
    ) -> Iterator[bytes]:
        """Devices take turns, as if each had sent by itself; sequences and times rise."""
        registry = self.deployment.address("DeviceRegistry")
        domain = registry_domain(self.deployment.chain_id, registry)
        place = Place(self.deployment.chain_id, registry, 0)
        signed = []
        for number in range(first, first + reports):
            key, turn = self.keys[number % DEVICES], number // DEVICES
            times = range(START + turn * observations, START + (turn + 1) * observations)
            kind = KINDS[turn % len(KINDS)]
            middle = (kind.low + kind.high) // 2
            items = [Observation(kind.code, CELL, at, middle + at % 7) for at in times]
            report = Report.of(key.identity.device, turn + 1, items)
            signed.append(SignedReport(report, key.sign(report_digest(domain, report))))
            if len(signed) == A_FRAME:
                yield frame_of(1000 * START, signed, keys, place).content
                signed = []

    def settings(self, name: str, vouched: bool) -> Settings:
        fields: dict[str, Any] = {
            "rpc_url": self.anvil.url,
            "deployment": self.home / "deployment.json",
            "bus_url": self.valkey.url,
            "bus_stream": name,
            "database_url": self.postgres.create_database(name),
            "data_dir": self.home / name,
            "max_age_s": 1.0,
            "frame_key": KEY.hex() if vouched else None,
            "fold_bytes": 1 << 30,
            "fold_age_s": 3_600,
        }
        return Settings(**fields)

    def postgres_s(self) -> float:
        """CPU seconds of the server so far, with all that it has ever started."""
        server = psutil.Process(self.postgres.pid)
        total = sum(server.cpu_times()[:4])
        for child in server.children(recursive=True):
            total += sum(child.cpu_times()[:4])
        return total


@dataclass
class Spent:
    """CPU seconds between two moments."""

    bench: Bench
    own: float = 0.0
    postgres: float = 0.0

    @contextmanager
    def counted(self) -> Iterator[None]:
        own, postgres = time.process_time(), self.bench.postgres_s()
        yield
        self.own += time.process_time() - own
        self.postgres += self.bench.postgres_s() - postgres

    def figures(self, name: str, count: int) -> dict[str, float]:
        """Microseconds of each of so many."""
        spent = {"aggregator_us": self.own, "postgres_us": self.postgres}
        return {name + key: round(1e6 * seconds / count, 2) for key, seconds in spent.items()}


async def _append(bus: "Redis", stream: str, frames: Sequence[bytes]) -> None:
    pipeline = bus.pipeline(transaction=False)
    for frame in frames:
        pipeline.xadd(stream, {FIELD: frame})
    await pipeline.execute()


async def _sealed(journal: "asyncpg.Connection[Any]", reports: int) -> None:
    """Returns when so many reports are in batches."""
    async with asyncio.timeout(TIME_LIMIT_S):
        while await journal.fetchval("select sum(report_count) from batch") != reports:  # noqa: ASYNC110
            await asyncio.sleep(0.1)


async def _measure(bench: Bench, observations: int, vouched: bool, reports: int) -> dict[str, Any]:
    settings = bench.settings(f"case_{observations}_{int(vouched)}", vouched)
    relayer = Relayer(settings, bench.deployment)
    journal = await asyncpg.connect(settings.database_url.get_secret_value())
    bus = Redis.from_url(bench.valkey.url, protocol=2)
    stream = lane_keys(settings.bus_stream, 0).stream
    keys = settings.frame_keys
    meeting = list(bench.frames(0, DEVICES, observations, keys))
    measured = list(bench.frames(DEVICES, reports, observations, keys))
    await relayer.prepare([Role.AGGREGATOR])
    await relayer.migrate()
    running = asyncio.create_task(relayer.aggregate())
    first, first_fold, path, folding = (Spent(bench) for _ in range(4))
    with first.counted():
        await _append(bus, stream, meeting)
        await _sealed(journal, DEVICES)
    # From here on a fold meets rows that are there, as it does but once in a device's life.
    with first_fold.counted():
        await fold_all(journal, 0, ID_MAX)
    with path.counted():
        await _append(bus, stream, measured)
        await _sealed(journal, DEVICES + reports)
    batches = await journal.fetchval("select count(*) from batch")
    with folding.counted():
        await fold_all(journal, 0, ID_MAX)
    running.cancel()
    await asyncio.wait([running])
    await relayer.close()
    return {
        "observations": observations,
        "vouched": vouched,
        "devices": DEVICES,
        "metrics": len(KINDS),
        "reports": reports,
        "batches": batches,
        **path.figures("", reports),
        **folding.figures("fold_", reports),
        **first.figures("first_contact_", DEVICES),
        **first_fold.figures("first_fold_", DEVICES),
        "reports_a_device_and_fold": reports / DEVICES,
    }


def main() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    reports = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    lines = []
    with tempfile.TemporaryDirectory(prefix="corechain-bench-") as folder:
        home = Path(folder)
        servers = (
            AnvilServer(home / "anvil"),
            PostgresServer(home / "pg"),
            ValkeyServer(home / "bus"),
        )
        anvil, postgres, valkey = servers
        with anvil, postgres, valkey:
            bench = Bench(home, *servers)
            bench.prepare()
            for case in CASES:
                observations, vouched = int(case.rstrip("v")), case.endswith("v")
                count = reports if observations == 1 else reports // 5 // A_FRAME * A_FRAME
                figures = asyncio.run(_measure(bench, observations, vouched, count))
                figures |= {"native": is_native(), "floor_us": floor()["recover_us"]}
                lines.append(json.dumps(figures))
                print(lines[-1], flush=True)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
