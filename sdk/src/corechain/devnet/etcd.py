"""etcd, the small store in which Patroni's members agree on who leads.

Three members go on while two of them live. Source of the options: etcd's documentation,
"Configuration options".
"""

import json
from collections.abc import Mapping
from pathlib import Path

from corechain.devnet.cluster_programs import ETCD
from corechain.devnet.process import LOCALHOST, Command, free_port
from corechain.devnet.servers import Server
from corechain.devnet.service import probe


def peer_url(port: int) -> str:
    return f"http://{LOCALHOST}:{port}"


class EtcdServer(Server):
    """A member of a cluster of etcd. `peers`: name → port of its talk with the others, of all.

    Alone it is a cluster of one. Raises MissingProgram besides.
    """

    name = kind = "etcd"
    hint = "if its log is damaged, remove the directory: the others bring it up to date"

    def __init__(
        self,
        directory: Path | str,
        port: int | None = None,
        name: str = "etcd",
        peers: Mapping[str, int] | None = None,
    ) -> None:
        super().__init__(directory, port)
        self.name = name
        self._peers = peers

    @property
    def peers(self) -> Mapping[str, int]:
        if self._peers is None:
            self._peers = {self.name: free_port()}
        return self._peers

    @property
    def address(self) -> str:
        return f"{LOCALHOST}:{self.port}"

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    def _command(self) -> Command:
        mine = peer_url(self.peers[self.name])
        options = {
            "--name": self.name,
            "--data-dir": str(self.directory / "data"),
            "--listen-client-urls": self.url,
            "--advertise-client-urls": self.url,
            "--listen-peer-urls": mine,
            "--initial-advertise-peer-urls": mine,
            "--initial-cluster": ",".join(f"{n}={peer_url(p)}" for n, p in self.peers.items()),
            # The defaults of 100 ms and 1 s lose their leader whenever a small machine is busy.
            "--heartbeat-interval": "250",
            "--election-timeout": "2500",
            "--log-level": "warn",
        }
        return Command([ETCD.find(), *(word for pair in options.items() for word in pair)])

    def _is_ready(self) -> bool:
        """Whether it has a leader. With one of three members there is none."""
        try:
            _, body = probe(self.port, "/health")
            return bool(json.loads(body).get("health") == "true")
        except (OSError, ValueError, AttributeError):
            return False
