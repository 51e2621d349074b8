"""Apache Kafka as a child process: KRaft mode, from jars and a Java runtime of packages.

A broker is its own controller. Several of them are one cluster when they share a quorum. Source of
the settings: Kafka 4.3's documentation, "Broker Configs" and "KRaft".
"""

import socket
import struct
from collections.abc import Mapping
from pathlib import Path

from corechain.devnet.errors import ServerCommandFailed
from corechain.devnet.process import LOCALHOST, Command, free_port, run_lines
from corechain.devnet.programs import find_jars, find_java
from corechain.devnet.servers import PROBE_TIMEOUT_S, Server

CLUSTER_ID = "CoreChainDevnetKafka0A"
"""16 bytes in base64. One for all: a broker never meets another network's, as ports differ."""
FORMAT_LIMIT_S = 120.0
JVM = (
    "-Xms64m",
    # What the broker needs for a few partitions; the page cache, not the heap, holds the frames.
    "-Xmx192m",
    # A short life on few cores: no collector threads, and no time for the second compiler.
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
)
LOGGING = """<Configuration status="WARN">
<Appenders><Console name="out"><PatternLayout pattern="%d %p %c{1} %m%n"/></Console></Appenders>
<Loggers><Root level="WARN"><AppenderRef ref="out"/></Root></Loggers>
</Configuration>
"""
_API_VERSIONS = struct.pack(">ihhih", 10, 18, 0, 1, -1)
"""Kafka's protocol: length, key of ApiVersions, its version, correlation, no client id."""


class KafkaServer(Server):
    """A broker that keeps what it has acknowledged over a `kill`.

    Alone it is a cluster of one, whose topics have one copy. `quorum`: node id → port of its
    controller, of all brokers of a cluster; its topics have three copies, two of them in time.
    Raises MissingProgram, ServerCommandFailed besides.
    """

    name = kind = "kafka"
    hint = "if its log is damaged, remove the directory"
    # The virtual machine alone takes seconds of CPU, and CI's machine has other things to do.
    start_limit_s = 120.0

    def __init__(
        self,
        directory: Path | str,
        port: int | None = None,
        node_id: int = 1,
        quorum: Mapping[int, int] | None = None,
    ) -> None:
        super().__init__(directory, port)
        self.node_id = node_id
        self._quorum = quorum

    @property
    def address(self) -> str:
        return f"{LOCALHOST}:{self.port}"

    @property
    def url(self) -> str:
        return f"kafka://{self.address}/corechain"

    @property
    def quorum(self) -> Mapping[int, int]:
        if self._quorum is None:
            self._quorum = {self.node_id: free_port()}
        return self._quorum

    @property
    def _config(self) -> Path:
        return self.directory / "server.properties"

    @property
    def _logs(self) -> Path:
        return self.directory / "log"

    def _settings(self) -> dict[str, str]:
        controller = f"{LOCALHOST}:{self.quorum[self.node_id]}"
        voters = (f"{node}@{LOCALHOST}:{port}" for node, port in self.quorum.items())
        many = len(self.quorum) > 2
        copies, in_time = ("3", "2") if many else ("1", "1")
        return {
            "process.roles": "broker,controller",
            "node.id": str(self.node_id),
            "controller.quorum.voters": ",".join(voters),
            "listeners": f"PLAINTEXT://{self.address},CONTROLLER://{controller}",
            "advertised.listeners": f"PLAINTEXT://{self.address}",
            "controller.listener.names": "CONTROLLER",
            "log.dirs": str(self._logs),
            "default.replication.factor": copies,
            "min.insync.replicas": in_time,
            "offsets.topic.replication.factor": copies,
            "transaction.state.log.replication.factor": copies,
            "transaction.state.log.min.isr": in_time,
            "share.coordinator.state.topic.replication.factor": copies,
            "share.coordinator.state.topic.min.isr": in_time,
            "offsets.topic.num.partitions": "4",
            "transaction.state.log.num.partitions": "4",
            "group.initial.rebalance.delay.ms": "0",
            "auto.create.topics.enable": "false",
            "unclean.leader.election.enable": "false",
            # A broker that is silent for so long leads nothing any more. Of many, another one takes
            # over, sooner than by the defaults of 9 s and 2 s. Alone, it would only stop the bus:
            # a busy computer may let it wait. Not longer, for after a kill it is let in no sooner.
            "broker.session.timeout.ms": "4000" if many else "6000",
            "broker.heartbeat.interval.ms": "1000",
            # The default of 128 MB would not fit into the heap.
            "log.cleaner.dedupe.buffer.size": "2097152",
        }

    def _prepare(self) -> None:
        super()._prepare()
        (self.directory / "log4j2.xml").write_text(LOGGING)

    def _spawn(self) -> None:
        # Here, not in `_prepare`: another port may have been taken since.
        lines = (f"{name}={value}\n" for name, value in self._settings().items())
        self._config.write_text("".join(lines))
        if not (self._logs / "meta.properties").exists():
            self._format()
        super()._spawn()

    def _format(self) -> None:
        words = "kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c", self._config
        said: list[str] = []
        code = run_lines(
            self._java(*words, *self._format_words()), self.directory, FORMAT_LIMIT_S, said.append
        )
        if code != 0:
            raise ServerCommandFailed("kafka-storage format", code, "\n".join(said))

    def _format_words(self) -> list[str]:
        """What the first state of a cluster has besides: users, say."""
        return []

    def _java(self, *words: str | Path) -> Command:
        logging = f"-Dlog4j2.configurationFile=file:{self.directory / 'log4j2.xml'}"
        classes = f"{find_jars()}/*"
        return Command([find_java(), *JVM, logging, "-cp", classes, *words])

    def _command(self) -> Command:
        return self._java("kafka.Kafka", self._config)

    def _is_ready(self) -> bool:
        """Whether it answers ApiVersions: before that it only listens."""
        try:
            with self._connect() as connection:
                connection.sendall(_API_VERSIONS)
                return len(connection.recv(10)) == 10
        except OSError:
            return False

    def _connect(self) -> socket.socket:
        """Raises OSError."""
        return socket.create_connection((LOCALHOST, self.port), PROBE_TIMEOUT_S)
