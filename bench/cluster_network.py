"""A local network as it is grown past one machine: three brokers, two gateways, two lanes."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from corechain.account import account_from_key
from corechain.chain import Chain
from corechain.devnet.kafka import KafkaServer
from corechain.devnet.network import Network
from corechain.devnet.process import free_port
from corechain.devnet.service import Service
from corechain.devnet.settings import ADMIN_KEY, SUBMITTER_KEY, Ports

NODES = (1, 2, 3)
LANES, GATEWAYS = 2, 2
# Account 7 of the public test mnemonic. A key of its own: the nonces of a key have one owner.
SECOND_KEY = "0x4bbbf85ce3377467afe5d46f804f221813b2bb87f24d81f60f1fcdbf7cbf4356"
SUBMITTER_KEYS = (SUBMITTER_KEY, SECOND_KEY)
VICTIMS = ("kafka-1", "aggregator", "gateway", "kafka-2", "aggregator-1", "gateway-1", "kafka-3")
"""The second of a kind while the first is back: two brokers of three have to be in time."""


def numbered(name: str, number: int) -> str:
    """The first of a kind keeps the name that it has alone."""
    return f"{name}-{number}" if number else name


class ClusterNetwork(Network):
    """Processes `kafka-1` to `kafka-3`, `gateway`, `gateway-1`, and an aggregator and a submitter
    for each lane. Raises what Network raises."""

    def __init__(self, home: Path, progress: Callable[[str], None]) -> None:
        super().__init__(
            home, ports=Ports.free(), services=("relayer",), one_process=False, progress=progress
        )
        quorum = {node: free_port() for node in NODES}
        self.brokers = [
            KafkaServer(self.home / f"kafka-{node}", free_port(), node, quorum) for node in NODES
        ]
        for broker in self.brokers:
            broker.name = f"kafka-{broker.node_id}"
        self.gateways = [f"http://127.0.0.1:{port}" for port in (self.ports.gateway, free_port())][
            :GATEWAYS
        ]

    def _bus_settings(self) -> dict[str, str]:
        addresses = ",".join(broker.address for broker in self.brokers)
        return {"RELAYER_BUS_URL": f"kafka://{addresses}/corechain", "RELAYER_LANES": str(LANES)}

    def _start_servers(self) -> None:
        super()._start_servers()
        # None is ready before two are there: all begin, then are waited for.
        for broker in self.brokers:
            self._progress(f"starting {broker.name}")
            self._started.append(broker)
            broker.begin()
        for broker in self.brokers:
            broker.complete()

    def _deploy(self) -> None:
        super()._deploy()
        admin, chain = account_from_key(ADMIN_KEY), Chain(self.anvil.url, self.deployment)
        bond = chain.call("DataBatches", "bondAmount")
        for lane in range(1, LANES):
            submitter = account_from_key(SUBMITTER_KEYS[lane]).address
            chain.send(admin, "DataBatches", "assignLane", lane, submitter)
            batches = "0x" + self.deployment.address("DataBatches").hex()
            chain.send(admin, "CoreToken", "approve", batches, bond)
            chain.send(admin, "DataBatches", "bondLane", lane)

    def _processes(self, name: str) -> list[Service]:
        settings = self.environment(name)
        return [*self._of_lanes(settings), *self._others(settings)]

    def _of_lanes(self, settings: Mapping[str, str]) -> Iterator[Service]:
        for lane, key in enumerate(SUBMITTER_KEYS):
            own = {**settings, "RELAYER_LANE": str(lane), "RELAYER_SUBMITTER_KEY": key}
            for role in ("submitter", "aggregator"):
                port = free_port() if lane else getattr(self.ports, role)
                yield self._part(numbered(role, lane), [role], port, own)

    def _others(self, settings: Mapping[str, str]) -> Iterator[Service]:
        yield self._part("guard", ["guard"], self.ports.guard, settings)
        for number, url in enumerate(self.gateways):
            port = int(url.rpartition(":")[2])
            yield self._part(numbered("gateway", number), ["gateway"], port, settings)

    def _part(self, name: str, roles: list[str], port: int, settings: Mapping[str, str]) -> Service:
        words = ["relayer", "run", *(word for role in roles for word in ("--role", role))]
        own = {**settings, "RELAYER_HTTP_PORT": str(port)}
        return Service(name, self.home / name, port, words, own)
