"""The network as it is grown past one machine, small: `corechain up --profile cluster`."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from corechain.chain import Chain
from corechain.devnet.kafka import KafkaServer
from corechain.devnet.lanes import (
    MOST_LANES,
    SUBMITTER_KEYS,
    bond_lanes,
    lane_settings,
    numbered,
)
from corechain.devnet.network import Network
from corechain.devnet.nginx import Behind, NginxServer
from corechain.devnet.patroni import PatroniCluster, kept_ports
from corechain.devnet.service import Service
from corechain.devnet.settings import BRIDGE

NODES = (1, 2, 3)
GATEWAYS = "gateway-1", "gateway-2"
APIS = "api-1", "api-2"


class ClusterNetwork(Network):
    """Three Postgres under Patroni, by three etcd, a PgBouncer before each; three Kafka brokers;
    two gateways and two query APIs behind NGINX, which has the addresses of relayer and indexer:

    `etcd-1` … `postgres-1` … `pgbouncer-1` … `kafka-1` … `gateway-1` … `api-1` … `mirror`, `nginx`,
    `valkey`, `anvil`, and the other processes of the relayer.

    With bus "valkey" no Kafka. With two lanes an `aggregator-1` and a `submitter-1` besides. Raises
    what Network raises.
    """

    def __init__(self, home: Path | str | None = None, *, lanes: int = 1, **options: Any) -> None:
        """`options` as of Network; the bus is Kafka unless they say another."""
        super().__init__(home, **{"bus": "kafka", **options})
        assert 1 <= lanes <= MOST_LANES, f"one to {MOST_LANES} lanes"
        self.lanes = lanes

    @property
    def folder(self) -> Path:
        return self.home / "cluster"

    @cached_property
    def patroni(self) -> PatroniCluster:
        return PatroniCluster(self.folder)

    @property
    def databases(self) -> PatroniCluster:
        return self.patroni

    @cached_property
    def brokers(self) -> Sequence[KafkaServer]:
        names = {f"kafka-{node}": node for node in NODES}
        ports = kept_ports(self.folder / "brokers.json", list(names))
        quorum = {node: ports[name][1] for name, node in names.items()}
        found = []
        for name, node in names.items():
            broker = KafkaServer(self.folder / name, ports[name][0], node, quorum)
            broker.name = name
            found.append(broker)
        return found

    @cached_property
    def backends(self) -> Mapping[str, int]:
        """Ports of what is behind NGINX, of the mirror, which is not, and of further lanes."""
        names = [*GATEWAYS, *APIS, "mirror", *self._more_of_lanes]
        kept = kept_ports(self.folder / "backends.json", names)
        return {name: ports[0] for name, ports in kept.items()}

    @cached_property
    def nginx(self) -> NginxServer:
        behind = Behind(
            [self.backends[name] for name in GATEWAYS], [self.backends[name] for name in APIS]
        )
        ports = self.ports.relayer, self.ports.indexer
        return NginxServer(self.folder / "nginx", behind, *ports, self._repository)

    # ------------------------------------------------------------- servers

    def _start_databases(self) -> None:
        self._progress("starting three Postgres under Patroni, etcd, PgBouncer")
        # Before the start, so that an interrupted one is stopped too.
        self._started += self.patroni.servers
        self.patroni.start()
        for name in self._with_database:
            self.patroni.create_database(name)

    def _start_bus(self) -> None:
        if self.bus != "kafka":
            return
        # None is ready before two are there: all begin, then are waited for.
        for broker in self.brokers:
            self._progress(f"starting {broker.name}")
            self._started.append(broker)
            broker.begin()
        for broker in self.brokers:
            broker.complete()

    def _start_services(self) -> None:
        super()._start_services()
        self._start(self.nginx)

    # ------------------------------------------------------------- services

    @property
    def _more_of_lanes(self) -> Sequence[str]:
        lanes = range(1, self.lanes)
        return [numbered(part, lane) for lane in lanes for part in ("submitter", "aggregator")]

    @property
    def _submitter_keys(self) -> Sequence[str]:
        return SUBMITTER_KEYS[: self.lanes]

    def _deploy(self) -> None:
        super()._deploy()
        if self.lanes > 1:
            bond_lanes(Chain(self.anvil.url, self.deployment), self.lanes)

    def _own_settings(self, service: str) -> dict[str, str]:
        return super()._own_settings(service) | self._database_settings(service)

    def _database_settings(self, service: str) -> dict[str, str]:
        if service == BRIDGE:
            return {}
        prefix = "INDEXER" if service == "indexer" else "RELAYER"
        pooled = self.patroni.pooled_url(service)
        settings = {
            f"{prefix}_DATABASE_URL": pooled,
            f"{prefix}_DATABASE_DIRECT_URL": self.patroni.database_url(service),
        }
        return settings | ({"INDEXER_REPLICA_URL": pooled} if service == "indexer" else {})

    def _bus_settings(self) -> dict[str, str]:
        lanes = {"RELAYER_LANES": str(self.lanes)}
        if self.bus != "kafka":
            return lanes
        addresses = ",".join(broker.address for broker in self.brokers)
        return {"RELAYER_BUS_URL": f"kafka://{addresses}/corechain", **lanes}

    def _processes(self, name: str) -> list[Service]:
        settings = self.environment(name)
        if name == "indexer":
            roles = {"mirror": ["mirror"], **{api: ["api"] for api in APIS}}
        elif name == "relayer":
            gateway = self.parts["gateway"]
            roles = {
                part: list(words) for part, words in self.parts.items() if part != "gateway"
            } | {one: list(gateway) for one in GATEWAYS}
        else:
            return super()._processes(name)
        found = [self._part(name, part, words, settings) for part, words in roles.items()]
        return found + (self._of_lanes(settings) if name == "relayer" else [])

    def _of_lanes(self, settings: Mapping[str, str]) -> list[Service]:
        """An aggregator and a submitter for each lane but the first, which the others are of."""
        return [
            self._part("relayer", numbered(part, lane), [part], {**settings, **lane_settings(lane)})
            for lane in range(1, self.lanes)
            for part in ("submitter", "aggregator")
        ]

    def _part(
        self, service: str, part: str, roles: Sequence[str], settings: Mapping[str, str]
    ) -> Service:
        port = self.backends[part] if part in self.backends else int(getattr(self.ports, part))
        words = [service, "run", *(word for role in roles for word in ("--role", role))]
        own = {**settings, f"{service.upper()}_HTTP_PORT": str(port)}
        return Service(part, self.home / part, port, words, own)

    @property
    def shown_parts(self) -> Sequence[str]:
        return [*super().shown_parts, *self.backends]
