"""Aedes, an MQTT broker from npm, as a child process: where there is no Mosquitto.

3.1.1 only. Sessions are in memory: what is unacknowledged comes again after a client's end, not
after the broker's.
"""

import shutil
import socket
from dataclasses import dataclass
from pathlib import Path

from corechain.devnet.errors import MissingProgram
from corechain.devnet.mosquitto import CONNECT, MosquittoServer, find_mosquitto
from corechain.devnet.process import LOCALHOST, Command
from corechain.devnet.programs import SETUP
from corechain.devnet.servers import PROBE_TIMEOUT_S, Server

SCRIPT = Path(__file__).with_name("aedes.js")
OWN_NODE = Path(".corechain") / "node" / "bin" / "node"


def _around(part: Path) -> Path | None:
    """A path below the current folder or one above it, or above this file."""
    for place in (Path.cwd(), Path(__file__).resolve()):
        for folder in (place, *place.parents):
            if (folder / part).exists():
                return folder / part
    return None


def find_aedes() -> tuple[Path, Path]:
    """Node, and the package's folder. Raises MissingProgram."""
    own = _around(OWN_NODE)
    node = str(own) if own else shutil.which("node")
    if node is None:
        raise MissingProgram("node", SETUP)
    package = _around(Path("node_modules") / "aedes")
    if package is None:
        raise MissingProgram("aedes (an MQTT broker)", SETUP)
    return Path(node), package


class AedesServer(Server):
    """A broker of MQTT 3.1.1, open to everybody on this machine."""

    name, kind = "aedes", "mqtt"

    @property
    def url(self) -> str:
        return f"mqtt://{LOCALHOST}:{self.port}"

    def _command(self) -> Command:
        node, package = find_aedes()
        return Command([node, SCRIPT, package, str(self.port)])

    def _is_ready(self) -> bool:
        try:
            with socket.create_connection((LOCALHOST, self.port), PROBE_TIMEOUT_S) as connection:
                connection.sendall(CONNECT)
                return connection.recv(4)[:1] == b"\x20"
        except OSError:
            return False


@dataclass(frozen=True, slots=True)
class MqttBroker:
    """A broker, and the newest version that it speaks, as RELAYER_MQTT_VERSION takes it."""

    server: Server
    version: str


def mqtt_broker(directory: Path | str, port: int | None = None) -> MqttBroker:
    """Mosquitto where there is one, else Aedes; not started yet. Raises MissingProgram."""
    try:
        find_mosquitto()
    except MissingProgram:
        find_aedes()
        return MqttBroker(AedesServer(directory, port), "3.1.1")
    return MqttBroker(MosquittoServer(directory, port), "5")
