"""What the gateway spends on a message: CPU of its process alone, beside the floor of the same run.

python bench/gateway.py [scenario …]      BENCH_DEVICES=50000 for a large fleet: tables of many
                                          devices outgrow caches, which a message pays for

The gateway runs by itself (no aggregator, no submitter) on a real Postgres, Valkey and anvil; the
sender is another process, with reports that were signed before. One observation a report.
"""

import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import msgspec
import psutil
from coincurve import PublicKey

from corechain import Secp256k1Key, account_from_key
from corechain.chain import Chain
from corechain.devnet.fleet.enrol import allow, enrol
from corechain.devnet.network import Network
from corechain.devnet.service import Service
from corechain.devnet.settings import ADMIN_KEY, Ports
from corechain.protocol.eip712 import Domain, registry_domain, report_digest
from corechain.protocol.hashing import keccak
from corechain.protocol.keys import KeyType
from corechain.protocol.reading import Observation, Report, SignedReport
from corechain.protocol.report_json import report_to_json
from corechain.protocol.signature import split_secp256k1

RESULTS = Path(__file__).parent / "results" / "gateway.jsonl"
DEVICES = int(os.environ.get("BENCH_DEVICES") or 1_000)
ROUNDS, CELL = 3, 0x872A1072BFFFFFF
PACKED, JSON = "application/vnd.corechain.reports", "application/json"
FLOOR_SIGNATURES = 2_000
# The bus fills up, as nobody reads it.
SETTINGS = {"RELAYER_BUS_MAX_FRAMES": "1000000"}


@dataclass(frozen=True, slots=True)
class Scenario:
    """`messages` in requests of `size` over so many connections."""

    messages: int
    size: int
    connections: int
    media_type: str = PACKED
    rate: float | None = None
    """Messages a second; None: as fast as the gateway answers."""


SCENARIOS = {
    "packed lists of 500": Scenario(20_000, 500, 8),
    "packed lists of 500, 16,700/s": Scenario(50_000, 500, 32, rate=16_700),
    "packed lists of 20": Scenario(8_000, 20, 32),
    "packed singles, 32 connections": Scenario(4_000, 1, 32),
    "packed singles, 256 connections": Scenario(6_000, 1, 256),
    "JSON lists of 500": Scenario(10_000, 500, 8, JSON),
}


@dataclass(slots=True)
class Devices:
    """Keys, and reports with ever higher sequences, device after device."""

    domain: Domain
    keys: Sequence[Secp256k1Key]
    made: int = 0

    def report(self) -> SignedReport:
        sequence, number = divmod(self.made, len(self.keys))
        self.made += 1
        key = self.keys[number]
        observation = Observation(1, CELL, int(time.time()) - 60, 1_500 + sequence % 7)
        report = Report.of(key.identity.device, sequence, [observation])
        return SignedReport(report, key.sign(report_digest(self.domain, report)))

    def requests(self, scenario: Scenario) -> list[bytes]:
        """Whole HTTP requests."""
        lists = (
            [self.report() for _ in range(scenario.size)]
            for _ in range(scenario.messages // scenario.size)
        )
        return [request(scenario.media_type, body(scenario, reports)) for reports in lists]


def body(scenario: Scenario, reports: Sequence[SignedReport]) -> bytes:
    if scenario.media_type == PACKED:
        return b"".join(report.pack() for report in reports)
    return msgspec.json.encode([report_to_json(report) for report in reports])


def request(media_type: str, content: bytes) -> bytes:
    head = f"POST /v1/reports HTTP/1.1\r\nhost: x\r\ncontent-type: {media_type}\r\n"
    return f"{head}content-length: {len(content)}\r\n\r\n".encode() + content


def due(requests: Sequence[bytes], pause_s: float) -> Iterator[tuple[float, bytes]]:
    """The requests, and when each is to be sent."""
    started = time.perf_counter()
    return ((started + number * pause_s, content) for number, content in enumerate(requests))


async def connection(port: int, waiting: Iterator[tuple[float, bytes]], times: list[float]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for at, content in waiting:
        await asyncio.sleep(at - time.perf_counter())
        started = time.perf_counter()
        writer.write(content)
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        answer = await reader.readexactly(length)
        assert head.startswith(b"HTTP/1.1 202 "), answer[:300]
        times.append(time.perf_counter() - started)
    writer.close()


async def send(port: int, requests: Sequence[bytes], scenario: Scenario) -> list[float]:
    """Seconds of each request."""
    pause_s = scenario.size / scenario.rate if scenario.rate else 0.0
    waiting, times = due(requests, pause_s), list[float]()
    connections = (connection(port, waiting, times) for _ in range(scenario.connections))
    await asyncio.gather(*connections)
    return times


def spent(pid: int) -> float:
    """CPU seconds of a process."""
    used = psutil.Process(pid).cpu_times()
    return float(used.user + used.system)


def floor_us(devices: Devices) -> float:
    """libsecp256k1's recovery of a key from a signature, with all else done."""
    parsed = []
    for _ in range(FLOOR_SIGNATURES):
        signed = devices.report()
        r, s, parity = split_secp256k1(signed.signature)
        raw = r.to_bytes(32, "big") + s.to_bytes(32, "big") + bytes([parity])
        parsed.append((raw, report_digest(devices.domain, signed.report)))
    started = time.process_time()
    for raw, digest in parsed:
        PublicKey.from_signature_and_message(raw, digest, hasher=None)
    return 1e6 * (time.process_time() - started) / FLOOR_SIGNATURES


def measured(
    gateway: Service, valkey: int, devices: Devices, scenario: Scenario
) -> dict[str, float]:
    requests = devices.requests(scenario)
    before = spent(gateway.pid), spent(valkey)
    times = asyncio.run(send(gateway.port, requests, scenario))
    ours, bus = spent(gateway.pid) - before[0], spent(valkey) - before[1]
    times.sort()
    return {
        "gateway_us": 1e6 * ours / scenario.messages,
        "valkey_us": 1e6 * bus / scenario.messages,
        "floor_us": floor_us(devices),
        "p50_ms": 1e3 * times[len(times) // 2],
        "p95_ms": 1e3 * times[len(times) * 95 // 100],
    }


def line(name: str, rounds: Sequence[dict[str, float]], gateway: Service) -> str:
    """Medians of the rounds."""
    found = {key: statistics.median(one[key] for one in rounds) for key in rounds[0]}
    ratio = statistics.median(one["gateway_us"] / one["floor_us"] for one in rounds)
    resident = psutil.Process(gateway.pid).memory_info().rss / 2**20
    figures = found | {"floors": ratio, "rss_mib": resident}
    return json.dumps({"what": name, **{key: round(value, 2) for key, value in figures.items()}})


def enrolled(network: Network) -> Devices:
    account, deployment = account_from_key(ADMIN_KEY), network.deployment
    keys = [Secp256k1Key(keccak(b"bench gateway %d" % n)) for n in range(DEVICES)]
    chain = Chain(network.urls.anvil, deployment)
    allow(chain, account)
    enrol(chain, account, [key.identity.device for key in keys], KeyType.SECP256K1)
    registry = deployment.address("DeviceRegistry")
    return Devices(registry_domain(deployment.chain_id, registry), keys)


def results(names: Sequence[str]) -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="corechain-bench-") as folder:
        home = Path(folder) / "network"
        with Network(home, ports=Ports.free(), services=(), settings=SETTINGS) as network:
            devices = enrolled(network)
            command = ["relayer", "run", "--role", "gateway"]
            settings = network.environment("relayer")
            with Service("gateway", home / "gw", network.ports.relayer, command, settings) as own:
                ask = partial(measured, own, network.pids()["valkey"], devices)
                ask(Scenario(2 * DEVICES, 500, 4))  # every device met, every import done
                for name in names:
                    yield line(name, [ask(SCENARIOS[name]) for _ in range(ROUNDS)], own)


def main() -> None:
    found = []
    for one in results(sys.argv[1:] or list(SCENARIOS)):
        print(one, flush=True)
        found.append(one)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text("\n".join(found) + "\n")


if __name__ == "__main__":
    main()
