"""The whole network as child processes: what `corechain up`, the demo and the tests run."""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import IO, Self, TypeVar

from corechain.deployment import Deployment, InvalidDeployment, load_deployment
from corechain.devnet.aedes import MqttBroker, mqtt_broker
from corechain.devnet.deploy import deploy_contracts, has_contracts
from corechain.devnet.endpoints import endpoints_of, write_endpoints
from corechain.devnet.errors import ChainStateLost
from corechain.devnet.homes import FRAME_KEY_FILE, take_home, wipe
from corechain.devnet.kafka import KafkaServer
from corechain.devnet.postgres import Databases, PostgresServer
from corechain.devnet.programs import find_repository
from corechain.devnet.promises import LocalChain
from corechain.devnet.secret_files import ensure_key
from corechain.devnet.servers import AnvilServer, Server, ValkeyServer
from corechain.devnet.service import Service
from corechain.devnet.settings import (
    BRIDGE,
    BUSES,
    CHAIN_ID,
    CHALLENGER,
    RELAYER_PROCESSES,
    SERVICES,
    SUBMITTER_KEY,
    Endpoints,
    Ports,
    bridge_settings,
    challenger_settings,
    extra_settings,
    indexer_settings,
    part_settings,
    relayer_settings,
    require_service,
    service_of,
)
from corechain.kept_endpoints import ENDPOINTS_FILE

S = TypeVar("S", bound=Server)
HOME_VARIABLE = "CORECHAIN_HOME"
NO_EXTRA: Mapping[str, str] = MappingProxyType({})


def default_home() -> Path:
    return Path(os.environ.get(HOME_VARIABLE) or ".corechain").absolute()


class Network:
    """Postgres, Valkey, anvil, the contracts, relayer and indexer. State under `home`. With `bus`
    "kafka" a Kafka broker besides, which is the relayer's bus; Valkey stays the indexer's cache.
    With `mqtt` an MQTT broker, from which the gateway takes reports too; with `bridge` a bridge for
    stations that cannot sign, with its stations and keys under `home`; with `challenger` one, with
    an account and a database of its own. The gateway signs receipts.

    with Network(home, ports=Ports.free(), settings={"RELAYER_MAX_READINGS": "256"}) as network:
        network.kill("relayer"); network.restart("relayer"); network.urls.indexer

    `price` in token base units per query, 0 is free. `progress` hears a sentence per step. `fresh`
    wipes the home first. `services`: which of ours to run. Without `one_process` the relayer is a
    process for each part of it, called `gateway`, `aggregator`, `submitter` and `guard`.

    Raises PortTaken, ServerNotStarted, ServerDied, DeploymentFailed,
    DirectoryInUse, ChainStateLost, MissingProgram.
    """

    def __init__(
        self,
        home: Path | str | None = None,
        *,
        ports: Ports | None = None,
        fresh: bool = False,
        price: int = 0,
        settings: Mapping[str, str] = NO_EXTRA,
        services: Sequence[str] = SERVICES,
        one_process: bool = True,
        bus: str = "valkey",
        mqtt: bool = False,
        bridge: bool = False,
        challenger: bool = False,
        repository: Path | None = None,
        progress: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.home = default_home() if home is None else Path(home).absolute()
        self.ports = ports or Ports()
        self.price, self.fresh, self.one_process = price, fresh, one_process
        assert bus in BUSES, f"the bus is one of {BUSES}"
        self.bus, self.has_mqtt = bus, mqtt
        self._repository, self._progress = repository, progress
        self._extra = dict(settings)
        for name in self._extra:
            service_of(name)
        for name in services:
            require_service(name)
        more = {BRIDGE: bridge, CHALLENGER: challenger}
        self._names = (*services, *(name for name, wanted in more.items() if wanted))
        self._lock: IO[str] | None = None
        self._started: list[Server] = []

    @property
    def manifest(self) -> Path:
        return self.home / f"{CHAIN_ID}.json"

    @property
    def data_dir(self) -> Path:
        return self.home / "data"

    @property
    def frame_key(self) -> Path:
        """The file with the key that gateway and aggregator share, made at the first start."""
        return self.home / FRAME_KEY_FILE

    @property
    def stations(self) -> Path:
        """The bridge's folder: its stations, their keys, what waits for the gateway."""
        return self.home / BRIDGE / "stations"

    @cached_property
    def postgres(self) -> PostgresServer:
        return self._named(PostgresServer(self.home / "postgres", self.ports.postgres))

    @property
    def databases(self) -> Databases:
        """Where the databases of the services are."""
        return self.postgres

    @cached_property
    def valkey(self) -> ValkeyServer:
        return self._named(ValkeyServer(self.home / "valkey", self.ports.valkey))

    @cached_property
    def kafka(self) -> KafkaServer:
        return self._named(KafkaServer(self.home / "kafka", self.ports.kafka))

    @cached_property
    def mqtt(self) -> MqttBroker:
        """The broker of `mqtt`, in the newest version that this machine has."""
        broker = mqtt_broker(self.home / "mqtt", self.ports.mqtt)
        broker.server.setting = "--mqtt-port"
        return broker

    @cached_property
    def anvil(self) -> AnvilServer:
        return self._named(AnvilServer(self.home / "anvil", self.ports.anvil, keep_state=True))

    @property
    def urls(self) -> Endpoints:
        relayer, indexer = self.ports.relayer, self.ports.indexer
        return Endpoints(
            anvil=self.anvil.url,
            postgres=self.databases.url,
            valkey=self.valkey.url,
            relayer=f"http://127.0.0.1:{relayer}",
            indexer=f"http://127.0.0.1:{indexer}",
        )

    @property
    def deployment(self) -> Deployment:
        return load_deployment(self.manifest)

    def environment(self, service: str) -> dict[str, str]:
        """The settings with which one of our services runs; keys are the public dev keys."""
        require_service(service)
        own = self._own_settings(service)
        extra = extra_settings(service, self._extra)
        # A setting and its file at once are refused: who gives either means that.
        given = {*extra, *(f"{name}_FILE" for name in extra)}
        return {n: v for n, v in own.items() if not {n, f"{n}_FILE"} & given} | extra

    def _own_settings(self, service: str) -> dict[str, str]:
        if service == BRIDGE:
            own = bridge_settings(self.urls, self.ports, self.manifest, self.stations)
            return own | self._mqtt_settings("BRIDGE")
        database = self.databases.database_url(service)
        if service == CHALLENGER:
            folder = self.home / CHALLENGER
            return challenger_settings(self.urls, self.ports, self.manifest, folder, database)
        if service == "indexer":
            return indexer_settings(self.urls, self.ports, self.manifest, database, self.price)
        places = (self.manifest, self.data_dir, self.frame_key)
        own = relayer_settings(self.urls, self.ports, *places, database)
        return own | self._bus_settings() | self._mqtt_settings("RELAYER")

    def _bus_settings(self) -> dict[str, str]:
        if self.bus != "kafka":
            return {}
        return {"RELAYER_BUS_URL": self.kafka.url, "RELAYER_KAFKA_COPIES": "1"}

    def _mqtt_settings(self, service: str) -> dict[str, str]:
        if not self.has_mqtt:
            return {}
        url, version = self.mqtt.server.url, self.mqtt.version
        return {f"{service}_MQTT_URL": url, f"{service}_MQTT_VERSION": version}

    def start(self) -> Self:
        """Returns when everything is ready; a failure stops what was started already."""
        self._take_home()
        try:
            self._start_servers()
            ensure_key(self.frame_key)
            self._deploy()
            self._prepare_chain()
            self._start_services()
            write_endpoints(self.home, endpoints_of(self))
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Services first, then what they use. Never raises for one that is gone already."""
        while self._started:
            server = self._started[-1]
            self._progress(f"stopping {server.name}")
            server.stop()
            self._started.pop()
        self._leave_home()

    def kill(self, name: str) -> None:
        """SIGKILL to one process: a server, `indexer`, `relayer` or a part of it."""
        self.server(name).kill()

    def restart(self, name: str) -> None:
        """Starts one process again, after a `kill` or instead of a running one."""
        server = self.server(name)
        server.stop()
        server.start()

    def check(self) -> None:
        """Raises ServerDied if a process has ended by itself."""
        for server in self._started:
            server.check()

    def pids(self) -> dict[str, int]:
        return {server.name: server.pid for server in self._started if server.running}

    def rows(self) -> list[tuple[str, str, int]]:
        """(name, URL, process id) of what runs, in order of start."""
        return [(one.name, one.url, one.pid) for one in self._started if one.running]

    def servers(self) -> Sequence[Server]:
        """All that was started, in order of start."""
        return tuple(self._started)

    def server(self, name: str) -> Server:
        """One of the processes. Raises ValueError."""
        found = next((server for server in self._started if server.name == name), None)
        if found is None:
            raise ValueError(f"no process of this network is called {name!r}")
        return found

    def _named(self, server: S) -> S:
        server.setting = f"--{server.name}-port"
        return server

    def _take_home(self) -> None:
        self._lock = take_home(self.home)
        if self.fresh:
            wipe(self.home)

    def _leave_home(self) -> None:
        (self.home / ENDPOINTS_FILE).unlink(missing_ok=True)
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _start_servers(self) -> None:
        self._start_databases()
        for server in (self.valkey, self.anvil):
            self._start(server)
        self._start_bus()
        if self.has_mqtt:
            self._start(self.mqtt.server)

    def _start_bus(self) -> None:
        if self.bus == "kafka":
            self._start(self.kafka)

    def _start_databases(self) -> None:
        self._start(self.postgres)
        for name in self._with_database:
            self.databases.create_database(name)

    @property
    def _with_database(self) -> Sequence[str]:
        """Both of the usual ones always: services may be run beside this network by hand."""
        return (*SERVICES, CHALLENGER) if CHALLENGER in self._names else SERVICES

    def _start(self, server: Server) -> None:
        self._progress(f"starting {server.name}")
        # Before the start, so that an interrupted one is stopped too.
        self._started.append(server)
        server.start()

    def _deploy(self) -> None:
        if self._knows_all() and not has_contracts(self.anvil.url, self.deployment):
            raise ChainStateLost(self.home)
        if self._is_finished():
            self._progress("contracts are deployed already")
            return
        self._progress("deploying the contracts")
        repository = self._repository or find_repository()
        deploy_contracts(repository, self.anvil.url, self.manifest, self._progress)

    def _prepare_chain(self) -> None:
        """While no service runs: the submitter's nonces are its own again afterwards."""
        chain = LocalChain(self.anvil.url, self.deployment)
        if "relayer" in self._names:
            signer = self.environment("relayer").get("RELAYER_RECEIPT_KEY")
            if signer:  # who gives a file with another key names it himself
                chain.name_signers(self._submitter_keys, signer)
                chain.settle()
                # More blocks than the mirror can go back: lost in a kill, they would halt it.
                self.anvil.wait_until_kept()
        if CHALLENGER in self._names:
            chain.fund_challenger()

    @property
    def _submitter_keys(self) -> Sequence[str]:
        """By lane."""
        return (SUBMITTER_KEY,)

    def _knows_all(self) -> bool:
        """An interrupted deployment leaves a manifest of less: the script goes on with it."""
        try:
            return len(self.deployment.contracts) > 0
        except InvalidDeployment:
            return False

    def _is_finished(self) -> bool:
        """Contracts alone are not all: the lane is assigned and bonded after the last of them."""
        document = json.loads(self.manifest.read_text()) if self._knows_all() else {}
        return document.get("finished") is True

    def _start_services(self) -> None:
        """All at once: each spends its first seconds on imports."""
        services = [service for name in self._names for service in self._processes(name)]
        for service in services:
            self._progress(f"starting {service.name}")
            self._started.append(service)
            service.begin()
        for service in services:
            service.complete()

    def _processes(self, name: str) -> list[Service]:
        """The processes of a service, in order of start."""
        settings = self.environment(name)
        if name == CHALLENGER:
            settings = part_settings(settings, self.ports.challenger, len(RELAYER_PROCESSES))
        if name != "relayer" or self.one_process:
            return [self._process(name, [name, "run"], settings)]
        found = []
        for place, (part, roles) in enumerate(self.parts.items()):
            own = part_settings(settings, getattr(self.ports, part), place)
            words = (word for role in roles for word in ("--role", role))
            found.append(self._process(part, [name, "run", *words], own))
        return found

    @property
    def parts(self) -> Mapping[str, Sequence[str]]:
        """The relayer's processes without `one_process`, with their roles."""
        # Beside the other entrance: both know the sequences that either has taken.
        more = {"gateway": (*RELAYER_PROCESSES["gateway"], "mqtt")} if self.has_mqtt else {}
        return RELAYER_PROCESSES | more

    def _process(self, name: str, command: list[str], settings: dict[str, str]) -> Service:
        port = int(getattr(self.ports, name))
        return self._named(Service(name, self.home / name, port, command, settings))

    @property
    def shown_parts(self) -> Sequence[str]:
        """Processes whose addresses are written down."""
        return (*RELAYER_PROCESSES, BRIDGE, CHALLENGER)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()
