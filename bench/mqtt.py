"""What a message costs through an MQTT broker: CPU of role mqtt alone, beside the floor of its run.

python bench/mqtt.py [scenario …]

Role mqtt runs by itself on a real Mosquitto, Postgres, Valkey and anvil. The sender is another
process: one socket for the singles of a gateway, or a socket a device, opened before the clock
starts. One observation a report. A scenario ends when every report is durable: by the gateway's
own count, and every message acknowledged to the broker.
"""

import asyncio
import json
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from gateway import DEVICES, SETTINGS, Devices, enrolled, floor_us, spent

from corechain.devnet.mosquitto import MosquittoServer
from corechain.devnet.network import Network
from corechain.devnet.service import Service, probe
from corechain.devnet.settings import Ports
from corechain_relayer.mqtt import packets
from corechain_relayer.mqtt.decoder import Decoder
from corechain_relayer.mqtt.packets import Acknowledged, Opening, Version

RESULTS = Path(__file__).parent / "results" / "mqtt.jsonl"
ROUNDS, WAIT_S = 3, 60.0
CONNECTED = int(os.environ.get("BENCH_CONNECTIONS") or 10_000)
"""Sockets of the last scenario, of which each sends one report."""
RUN = ["relayer", "run", "--role", "mqtt"]
WINDOW = 200
"""Messages of one socket that the broker has not acknowledged: as many as keep it busy."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """`messages` reports in payloads of `size`, over so many sockets; one a device where there are
    as many as devices."""

    messages: int
    size: int
    sockets: int
    version: Version = Version.V5

    @property
    def shown(self) -> str:
        """As RELAYER_MQTT_VERSION takes it."""
        return "5" if self.version is Version.V5 else "3.1.1"


SCENARIOS = {
    "packed lists of 500": Scenario(20_000, 500, 4),
    "packed lists of 20": Scenario(10_000, 20, 8),
    "packed singles, 4 sockets": Scenario(8_000, 1, 4),
    "packed singles, 1,000 devices": Scenario(8_000, 1, DEVICES),
    f"packed singles, {CONNECTED:,} connected": Scenario(CONNECTED, 1, CONNECTED),
    "packed singles, 3.1.1": Scenario(8_000, 1, 4, Version.V3_1_1),
}


@dataclass(slots=True)
class Client:
    """A publisher: what it sends is acknowledged by the broker, WINDOW messages at a time."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    version: Version

    @classmethod
    async def open(cls, port: int, version: Version, name: str) -> "Client":
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(packets.connect(Opening(version, name, 0, 0, 100)))
        client = cls(reader, writer, version)
        await client.acknowledged(1, packets.Connected)
        return client

    async def acknowledged(self, count: int, kind: type = Acknowledged) -> None:
        decoder = Decoder(self.version, 1 << 16)
        while count > 0:
            data = await self.reader.read(1 << 16)
            assert data, "the broker hung up"
            count -= sum(isinstance(packet, kind) for packet in decoder.feed(data))

    async def send(self, messages: Sequence[tuple[str, bytes]]) -> None:
        for start in range(0, len(messages), WINDOW):
            part = messages[start : start + WINDOW]
            numbered = enumerate(part, 1)
            told = (packets.publish(self.version, n, topic, data) for n, (topic, data) in numbered)
            self.writer.write(b"".join(told))
            await self.acknowledged(len(part))


def messages_of(devices: Devices, scenario: Scenario) -> list[tuple[str, bytes]]:
    """Topics and payloads: lists come from a gateway, singles from their device."""
    found = []
    for _ in range(scenario.messages // scenario.size):
        reports = [devices.report() for _ in range(scenario.size)]
        device = f"reports/0x{reports[0].report.device.hex()}"
        place = "gateways/bench" if scenario.size > 1 else device
        payload = b"".join(report.pack() for report in reports)
        found.append((f"corechain/v1/{place}", payload))
    return found


def counted(port: int) -> tuple[float, float]:
    """Reports accepted, and messages that the role holds."""
    lines = dict(
        line.rsplit(" ", 1)
        for line in probe(port, "/metrics", WAIT_S)[1].splitlines()
        if line[0] != "#"
    )
    names = "corechain_reports_accepted_total", "corechain_mqtt_held"
    accepted, held = (float(lines[name]) for name in names)
    return accepted, held


async def until_taken(port: int, accepted: float) -> None:
    deadline = time.monotonic() + WAIT_S
    while counted(port) != (accepted, 0.0):
        assert time.monotonic() < deadline, f"{counted(port)}, not {accepted}"
        await asyncio.sleep(0.05)


@dataclass(slots=True)
class Bench:
    """The processes of one version."""

    role: Service
    broker: MosquittoServer
    valkey: int
    devices: Devices

    def spent(self) -> tuple[float, ...]:
        return tuple(spent(pid) for pid in (self.role.pid, self.broker.pid, self.valkey))

    async def measured(self, scenario: Scenario) -> dict[str, float]:
        messages = messages_of(self.devices, scenario)
        name = f"bench-{scenario.sockets}"
        clients = [
            await Client.open(self.broker.port, scenario.version, f"{name}-{number}")
            for number in range(scenario.sockets)
        ]
        accepted, _ = counted(self.role.port)
        before, started = self.spent(), time.perf_counter()
        shares = [messages[number :: scenario.sockets] for number in range(scenario.sockets)]
        await asyncio.gather(*map(Client.send, clients, shares))
        await until_taken(self.role.port, accepted + scenario.messages)
        seconds, after = time.perf_counter() - started, self.spent()
        for client in clients:
            client.writer.close()
        await asyncio.gather(*(client.writer.wait_closed() for client in clients))
        role, broker, valkey = (a - b for a, b in zip(after, before, strict=True))
        each = 1e6 / scenario.messages
        figures = {"role_us": role * each, "broker_us": broker * each, "valkey_us": valkey * each}
        return figures | {
            "floor_us": floor_us(self.devices),
            "a_second": scenario.messages / seconds,
        }


def line(name: str, rounds: Sequence[dict[str, float]]) -> str:
    """Medians of the rounds."""
    found = {key: statistics.median(one[key] for one in rounds) for key in rounds[0]}
    floors = statistics.median(one["role_us"] / one["floor_us"] for one in rounds)
    figures = found | {"floors": floors}
    return json.dumps({"what": name, **{key: round(value, 2) for key, value in figures.items()}})


def results(names: Sequence[str]) -> Iterator[str]:
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="corechain-bench-")))
        network = stack.enter_context(
            Network(home / "network", ports=Ports.free(), services=(), settings=SETTINGS)
        )
        devices = enrolled(network)
        broker = stack.enter_context(MosquittoServer(home / "mosquitto"))
        for version in ("5", "3.1.1"):
            settings = network.environment("relayer") | {
                "RELAYER_MQTT_URL": broker.url,
                "RELAYER_MQTT_VERSION": version,
            }
            role = Service("mqtt", home / version, network.ports.relayer, RUN, settings)
            with role:
                bench = Bench(role, broker, network.pids()["valkey"], devices)
                wanted = [name for name in names if SCENARIOS[name].shown == version]
                warm = Scenario(2 * DEVICES, 500, 4)
                asyncio.run(bench.measured(warm))  # every device met, every import done
                for name in wanted:
                    rounds = 1 if SCENARIOS[name].sockets > DEVICES else ROUNDS
                    found = [asyncio.run(bench.measured(SCENARIOS[name])) for _ in range(rounds)]
                    yield line(name, found)


def main() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # The broker inherits it: one for each of its clients.
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    found = []
    for one in results(sys.argv[1:] or list(SCENARIOS)):
        print(one, flush=True)
        found.append(one)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text("\n".join(found) + "\n")


if __name__ == "__main__":
    main()
