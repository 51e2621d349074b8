"""Valkey as a cluster: three masters with a third of the slots each, a replica behind each.

Source: Valkey's documentation, "Cluster specification" and "Cluster tutorial".
"""

import json
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from corechain.devnet.errors import ServerNotStarted
from corechain.devnet.patroni import kept_ports
from corechain.devnet.process import LOCALHOST, Command
from corechain.devnet.servers import ANSWER_LIMIT_S, POLL_S, ValkeyServer

MASTERS, SLOTS = 3, 16_384
NODE_TIMEOUT_MS = 2_000
"""After so long a silent master is replaced: half of a second more for the vote."""
WHOLE_LIMIT_S = 120.0
OK = "+OK"


class ValkeyNode(ValkeyServer):
    """A member. It remembers the cluster in its own file."""

    def __init__(self, directory: Path | str, name: str, port: int, bus_port: int) -> None:
        super().__init__(directory, port)
        self.name, self.bus_port = name, bus_port

    def _command(self) -> Command:
        command = super()._command()
        options = {
            "--cluster-enabled": "yes",
            "--cluster-port": str(self.bus_port),
            "--cluster-announce-ip": LOCALHOST,
            "--cluster-node-timeout": str(NODE_TIMEOUT_MS),
            "--cluster-config-file": str(self.directory / "nodes.conf"),
            # A master that is away takes its own slots along, and no others.
            "--cluster-require-full-coverage": "no",
        }
        return Command([*command.arguments, *(word for pair in options.items() for word in pair)])

    def ask(self, *words: object) -> str:
        """The answer to one command, as it came. Raises OSError."""
        with socket.create_connection((LOCALHOST, self.port), ANSWER_LIMIT_S) as connection:
            connection.sendall(" ".join(map(str, words)).encode() + b"\r\n")
            with connection.makefile("rb") as answer:
                return _read(answer.readline, answer.read)

    @property
    def leads(self) -> bool:
        """Whether it is a master that has slots."""
        if not self.running:
            return False
        with suppress(OSError):
            mine = next(
                (line for line in self.ask("CLUSTER", "NODES").splitlines() if "myself" in line), ""
            )
            words = mine.split()
            return len(words) > 8 and "master" in words[2]
        return False


def _read(line: Callable[[], bytes], read: Callable[[int], bytes]) -> str:
    """A simple answer, or a bulk string."""
    first = line().decode().strip()
    return read(int(first[1:])).decode() if first[:1] == "$" else first


class ValkeyCluster:
    """Nodes `valkey-1` to `valkey-6` under one folder; the first three begin as masters.

    With one master and no replicas it is a single server that refuses what a cluster refuses.
    """

    def __init__(self, folder: Path | str, masters: int = MASTERS, replicas: bool = True) -> None:
        self.folder, self._masters = Path(folder).absolute(), masters
        self._followers = masters if replicas else 0
        names = [f"valkey-{number}" for number in range(1, masters + self._followers + 1)]
        ports = kept_ports(self.folder / "valkeys.json", names)
        self.nodes = [ValkeyNode(self.folder / name, name, *ports[name]) for name in names]

    @property
    def url(self) -> str:
        places = ",".join(f"{LOCALHOST}:{node.port}" for node in self.nodes)
        return f"redis+cluster://{places}"

    def start(self) -> None:
        """Returns when every slot is served and every master has a replica that is in step."""
        try:
            for node in self.nodes:
                node.begin()
            for node in self.nodes:
                node.complete()
            if not self._formed.exists():
                self._form()
            self.wait_until_whole()
        except BaseException:
            self.kill()
            raise

    @property
    def _formed(self) -> Path:
        return self.folder / "formed.json"

    def _form(self) -> None:
        count = self._masters
        first, masters = self.nodes[0], self.nodes[:count]
        for node in self.nodes[1:]:
            self._until(node, OK, "CLUSTER", "MEET", LOCALHOST, first.port, first.bus_port)
        for number, node in enumerate(masters):
            start, end = number * SLOTS // count, (number + 1) * SLOTS // count - 1
            self._until(node, OK, "CLUSTER", "ADDSLOTSRANGE", start, end)
        for master, replica in zip(masters, self.nodes[count:], strict=False):
            # Repeated: it has to have heard of its master by others first.
            self._until(replica, OK, "CLUSTER", "REPLICATE", master.ask("CLUSTER", "MYID"))
        self._formed.write_text(json.dumps([node.name for node in self.nodes]))

    def wait_until_whole(self) -> None:
        """Raises ServerNotStarted."""
        self._waited("is whole", self._is_whole)

    def _is_whole(self) -> bool:
        try:
            said = [node.ask("CLUSTER", "INFO") for node in self.nodes]
            links = [node.ask("INFO", "replication") for node in self.nodes]
        except OSError:
            return False
        # A master that has just come says for a moment that it is down, whatever it serves.
        served = all(
            f"cluster_slots_ok:{SLOTS}" in text and "cluster_state:ok" in text for text in said
        )
        known = all(f"cluster_known_nodes:{len(self.nodes)}" in text for text in said)
        followers = [text for text in links if "role:slave" in text]
        up = all("master_link_status:up" in text for text in followers)
        return served and known and len(followers) == self._followers and up

    def _until(self, node: ValkeyNode, wanted: str, *words: object) -> None:
        self._waited(f"answers {wanted} to {words[1]}", lambda: node.ask(*words) == wanted)

    def _waited(self, what: str, look: Callable[[], bool]) -> None:
        deadline = time.monotonic() + WHOLE_LIMIT_S
        while time.monotonic() < deadline:
            if look():
                return
            time.sleep(POLL_S)
        first = self.nodes[0]
        why = f"no cluster that {what} within {WHOLE_LIMIT_S:g} s"
        raise ServerNotStarted("valkey", why, first.hint, first.log, first.tail())

    def masters(self) -> list[ValkeyNode]:
        return [node for node in self.nodes if node.leads]

    def owner_of(self, slot: int) -> ValkeyNode:
        """The master that has a slot now. Raises StopIteration while none has it."""
        for node in self.masters():
            for line in node.ask("CLUSTER", "NODES").splitlines():
                if "myself" in line and _holds(line.split()[8:], slot):
                    return node
        raise StopIteration(f"no master has slot {slot}")

    def move(self, slot: int, source: ValkeyNode, target: ValkeyNode) -> None:
        """Brings a slot to another master while it is used (Valkey 9: in one step)."""
        words = "SLOTSRANGE", slot, slot, "NODE", target.ask("CLUSTER", "MYID")
        self._until(source, OK, "CLUSTER", "MIGRATESLOTS", *words)
        self._waited("has moved a slot", lambda: self.owner_of(slot) is target)

    def begin_move_all(self, source: ValkeyNode, target: ValkeyNode) -> None:
        """All slots of a master are on their way to another one when this returns."""
        mine = next(
            line for line in source.ask("CLUSTER", "NODES").splitlines() if "myself" in line
        )
        ranges = [words.partition("-") for words in mine.split()[8:] if not words.startswith("[")]
        bounds = [bound for first, _, last in ranges for bound in (first, last or first)]
        words = "SLOTSRANGE", *bounds, "NODE", target.ask("CLUSTER", "MYID")
        self._until(source, OK, "CLUSTER", "MIGRATESLOTS", *words)

    def stop(self) -> None:
        for node in self.nodes:
            node.stop()

    def kill(self) -> None:
        for node in self.nodes:
            node.kill()

    def __enter__(self) -> "ValkeyCluster":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def _holds(ranges: list[str], slot: int) -> bool:
    for words in ranges:
        if words.startswith("["):  # on its way
            continue
        first, _, last = words.partition("-")
        if int(first) <= slot <= int(last or first):
            return True
    return False
