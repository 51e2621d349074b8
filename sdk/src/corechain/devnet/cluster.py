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
from corechain.devnet.settings import BRIDGE, CHALLENGER, part_settings

NODES = (1, 2, 3)
GATEWAYS = "gateway-1", "gateway-2"
APIS = "api-1", "api-2"
MIRRORS = "mirror-1", "mirror-2"
"""One works, the other one stands by."""
CHALLENGERS = "challenger-1", "challenger-2"
"""Both examine, one sends."""
PARTS_OF_A_LANE = "submitter", "aggregator"
MQTT = "mqtt"
EVERYTHING = {"mqtt": True, "bridge": True, "challenger": True}
"""Options with which every service of the plan runs: those of `corechain up --profile cluster`."""


class ClusterNetwork(Network):
    """Three Postgres under Patroni, by three etcd, a PgBouncer before each; three Kafka brokers;
    two gateways and two query APIs behind NGINX, which has the addresses of relayer and indexer:

    `etcd-1` … `postgres-1` … `pgbouncer-1` … `kafka-1` … `gateway-1` … `api-1` … `mirror-1` …,
    `nginx`, `valkey`, `anvil`, and the other processes of the relayer. Each gateway has a
    watchtower, and with `mqtt` a session at the broker; with `challenger` there are two of them.

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
        """Ports of what is behind NGINX, of mirrors and challengers, which are not, and of further
        lanes."""
        challengers = CHALLENGERS if CHALLENGER in self._names else ()
        names = [*GATEWAYS, *APIS, *MIRRORS, *challengers, *self._more_of_lanes]
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
        return [numbered(part, lane) for lane in lanes for part in PARTS_OF_A_LANE]

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
        if name == BRIDGE:
            return super()._processes(name)
        settings = self.environment(name)
        before = len(self._roles("relayer")) if name == CHALLENGER else 0
        found = [
            self._part(name, part, words, settings, place)
            for place, (part, words) in enumerate(self._roles(name).items(), before)
        ]
        return found + (self._of_lanes(settings, len(found)) if name == "relayer" else [])

    def _roles(self, name: str) -> Mapping[str, Sequence[str]]:
        """The processes of a service, with their roles; none where a service has but one."""
        if name == "indexer":
            return {one: ["mirror"] for one in MIRRORS} | {one: ["api"] for one in APIS}
        if name == CHALLENGER:
            return dict.fromkeys(CHALLENGERS, ())
        others = {part: words for part, words in self.parts.items() if part != "gateway"}
        return others | {one: self._of_gateway(one) for one in GATEWAYS}

    def _of_gateway(self, name: str) -> Sequence[str]:
        """Brokers before MQTT 5 cannot share messages among several: the first takes all."""
        roles = self.parts["gateway"]
        takes = not self.has_mqtt or self.mqtt.version == "5" or name == GATEWAYS[0]
        return roles if takes else [role for role in roles if role != MQTT]

    def _of_lanes(self, settings: Mapping[str, str], place: int) -> list[Service]:
        """An aggregator and a submitter for each lane but the first, which the others are of."""
        parts = [(part, lane) for lane in range(1, self.lanes) for part in PARTS_OF_A_LANE]
        return [
            self._part(
                "relayer", numbered(part, lane), [part], {**settings, **lane_settings(lane)}, place
            )
            # The challengers' places are between.
            for place, (part, lane) in enumerate(parts, place + len(CHALLENGERS))
        ]

    def _part(
        self,
        service: str,
        part: str,
        roles: Sequence[str],
        settings: Mapping[str, str],
        place: int,
    ) -> Service:
        port = self.backends[part] if part in self.backends else int(getattr(self.ports, part))
        words = [service, "run", *(word for role in roles for word in ("--role", role))]
        prefix = "INDEXER" if service == "indexer" else "RELAYER"
        own = part_settings(settings, port, place, prefix) | self._session(part)
        return Service(part, self.home / part, port, words, own)

    def _session(self, part: str) -> dict[str, str]:
        """At the broker, of a gateway that takes from it: it keeps messages by name."""
        if part not in GATEWAYS or not self.has_mqtt:
            return {}
        group = {"RELAYER_MQTT_GROUP": "corechain"} if self.mqtt.version == "5" else {}
        return {"RELAYER_MQTT_CLIENT_ID": f"corechain-{part}", **group}

    @property
    def shown_parts(self) -> Sequence[str]:
        return [*super().shown_parts, *self.backends]
