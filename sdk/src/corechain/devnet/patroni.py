"""Postgres that survives its leader: three servers under Patroni, which agree by etcd.

A commit is acknowledged when the leader and one other member have it on disk (quorum commit), and
only a member that has every acknowledged commit is promoted. Source of the settings: Patroni's
documentation, "Dynamic Configuration Settings", "YAML Configuration Settings", "Replication modes".
"""

import json
import os
import shlex
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import psutil

from corechain.devnet.cluster_programs import PATRONI
from corechain.devnet.errors import ServerNotStarted
from corechain.devnet.etcd import EtcdServer
from corechain.devnet.pgbouncer import PgBouncerServer
from corechain.devnet.postgres import USER, PostgresServer
from corechain.devnet.process import KILL_LIMIT_S, LOCALHOST, Command, free_port, is_alive
from corechain.devnet.servers import POLL_S
from corechain.devnet.service import probe

T = TypeVar("T")
KEPT = Path(__file__).with_name("kept.py")
SCOPE = "corechain"
LEADER_LIMIT_S = 120.0
POOLED = 20
"""Connections of a pooler to each database: two of them to each of three members fit into 200."""
TTL_S, LOOP_S, RETRY_S = 20, 2, 8
"""So long a silent leader stays leader. 20 is Patroni's least; the others fit under it by its rule
loop + 2 * retry <= ttl, and leave a busy machine as much patience with etcd as that allows."""
AGREED: dict[str, Any] = {
    "ttl": TTL_S,
    "loop_wait": LOOP_S,
    "retry_timeout": RETRY_S,
    # ANY 1 of the others, whichever: no commit waits for a member that has just died.
    "synchronous_mode": "quorum",
    "synchronous_node_count": 1,
    # With all of etcd away, a leader that reaches every other member goes on.
    "failsafe_mode": True,
    "postgresql": {
        "use_pg_rewind": True,
        "use_slots": True,
        "parameters": {"max_connections": 200, "timezone": "UTC", "log_timezone": "UTC"},
    },
}
"""What all members share. It is kept in etcd, and changed there: `patronictl edit-config`."""


class PatroniServer(PostgresServer):
    """A member: Patroni, and the Postgres that Patroni starts, stops, copies and promotes.

    `kill` kills both. Raises MissingProgram besides.
    """

    name = kind = "patroni"
    hint = "its own log says what it waits for: often a leader, or etcd"
    polite = signal.SIGTERM
    stop_limit_s = 60.0
    # A member that begins copies the leader, which may only just have been elected.
    start_limit_s = 180.0

    def __init__(
        self,
        directory: Path | str,
        etcd: Sequence[EtcdServer],
        name: str = "patroni",
        port: int | None = None,
        rest_port: int | None = None,
    ) -> None:
        super().__init__(directory, port)
        self.name, self.etcd = name, etcd
        self.rest_port = rest_port or free_port()
        """Of Patroni's own HTTP: who leads, how each member is."""

    @property
    def asked_port(self) -> int:
        return self.rest_port

    @property
    def _config(self) -> Path:
        return self.directory / "patroni.json"

    @property
    def _postgres(self) -> Path:
        return self.directory / "postgres"

    def _settings(self) -> dict[str, Any]:
        address, rest = f"{LOCALHOST}:{self.port}", f"{LOCALHOST}:{self.rest_port}"
        return {
            "scope": SCOPE,
            "name": self.name,
            "restapi": {"listen": rest, "connect_address": rest},
            "etcd3": {"hosts": [member.address for member in self.etcd]},
            "bootstrap": {
                "dcs": AGREED,
                "initdb": [{"encoding": "UTF8"}, {"locale": "C"}, {"auth": "trust"}],
            },
            "postgresql": {
                "listen": address,
                "connect_address": address,
                "data_dir": str(self.data),
                "bin_dir": str(self._program("postgres").parent),
                # An absolute name wins over the folder.
                "bin_name": {"postgres": str(self._postgres)},
                "authentication": {
                    who: {"username": USER} for who in ("superuser", "replication", "rewind")
                },
                "parameters": {"unix_socket_directories": ""},
                "pg_hba": [
                    f"host {what} all {LOCALHOST}/32 trust" for what in ("all", "replication")
                ],
            },
        }

    def _prepare(self) -> None:
        # Not the parent's: Patroni makes the data folder, and looks after its lock file.
        self.directory.mkdir(parents=True, exist_ok=True)
        self._run_as.own(self.directory)
        self._config.write_text(json.dumps(self._settings(), indent=2))
        words = (sys.executable, "-I", "-S", KEPT, os.getpid(), self._program("postgres"))
        line = shlex.join(map(str, words))
        self._postgres.write_text(f'#!/bin/sh\nexec {line} "$@"\n')
        self._postgres.chmod(0o755)

    def _start_once(self) -> None:
        self._spawn()
        self.complete()

    def _command(self) -> Command:
        return Command([PATRONI.find(), self._config], self._run_as.prefix, self._run_as.identity)

    def _asked(self, path: str) -> bool:
        try:
            return probe(self.rest_port, path)[0] == 200
        except OSError:
            return False

    def _is_ready(self) -> bool:
        return self._asked("/health")

    @property
    def leads(self) -> bool:
        return self.running and self._asked("/primary")

    @property
    def follows(self) -> bool:
        """Whether it has every acknowledged commit, or another one has, and may be promoted."""
        return self.running and self._asked("/quorum")

    def kill(self) -> None:
        """SIGKILL to Patroni and to Postgres, which would outlive it."""
        postgres = self._owner()
        super().kill()
        if postgres is not None:
            with suppress(psutil.NoSuchProcess):
                postgres.kill()
            self._wait_for_end(postgres)

    def kill_postgres(self) -> None:
        """SIGKILL to Postgres alone: Patroni starts it again, or gives the lead away."""
        postgres = self._owner()
        assert postgres is not None, "Postgres runs"
        postgres.kill()
        self._wait_for_end(postgres)

    def _owner(self) -> psutil.Process | None:
        try:
            process = psutil.Process(int(self.lock.read_text().split()[0]))
            return process if str(self.data) in process.cmdline() else None
        except (OSError, ValueError, IndexError, psutil.Error):
            return None

    @staticmethod
    def _wait_for_end(process: psutil.Process) -> None:
        deadline = time.monotonic() + KILL_LIMIT_S
        while is_alive(process) and time.monotonic() < deadline:
            time.sleep(POLL_S)


def kept_ports(file: Path, names: Sequence[str]) -> dict[str, list[int]]:
    """Two ports for each name, the same ones for ever: members remember each other's."""
    known: dict[str, list[int]] = json.loads(file.read_text()) if file.exists() else {}
    chosen = known | {name: [free_port(), free_port()] for name in names if name not in known}
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(chosen))
    return chosen


class PatroniCluster:
    """Members `postgres-1` …, a pooler before each, and the etcd that they agree by, under one
    folder.

    Its URLs name all members; who leads is found by asking them.
    """

    def __init__(self, folder: Path | str, members: int = 3) -> None:
        self.folder = Path(folder).absolute()
        numbers = range(1, members + 1)
        kinds = "etcd", "postgres", "pgbouncer"
        names = [f"{kind}-{number}" for kind in kinds for number in numbers]
        ports = kept_ports(self.folder / "ports.json", names)
        peers = {name: ports[name][1] for name in names[:members]}
        self.etcd = [EtcdServer(self.folder / name, ports[name][0], name, peers) for name in peers]
        self.members = [
            PatroniServer(self.folder / name, self.etcd, name, *ports[name])
            for name in names[members : 2 * members]
        ]
        # Beside its Postgres, as on the same machine: who asks them all finds the leader's.
        self.poolers = [
            PgBouncerServer(self.folder / name, member, POOLED, name, ports[name][0])
            for name, member in zip(names[2 * members :], self.members, strict=True)
        ]

    @property
    def servers(self) -> list[EtcdServer | PatroniServer | PgBouncerServer]:
        """In order of start."""
        return [*self.etcd, *self.members, *self.poolers]

    def start(self) -> None:
        """Returns when one member leads and all others stand ready to."""
        try:
            for group in (self.etcd, self.members, self.poolers):
                # None of etcd is ready before two are there: all begin, then are waited for.
                for server in group:
                    server.begin()
                for server in group:
                    server.complete()
            self.wait_until_whole()
        except BaseException:
            self.kill()
            raise

    def stop(self) -> None:
        """Replicas first: the leader, leaving last, has nobody to hand its lead to."""
        for pooler in self.poolers:
            pooler.stop()
        for member in sorted(self.members, key=lambda one: one.leads):
            member.stop()
        for server in self.etcd:
            server.stop()

    def kill(self) -> None:
        for server in reversed(self.servers):
            server.kill()

    def leader(self, other_than: PatroniServer | None = None) -> PatroniServer:
        """Who leads, waited for. Raises ServerNotStarted."""
        members = [member for member in self.members if member is not other_than]
        return self._waited("leads", lambda: next((m for m in members if m.leads), None))

    def wait_until_whole(self) -> None:
        """Until a leader has all others as replicas: only then any one of them may be lost.

        Raises ServerNotStarted.
        """
        others = len(self.members) - 1
        self._waited("leads all others", lambda: len(self.replicas()) == others or None)

    def _waited(self, what: str, look: Callable[[], T | None]) -> T:
        deadline = time.monotonic() + LEADER_LIMIT_S
        while time.monotonic() < deadline:
            found = look()
            if found is not None:
                return found
            time.sleep(POLL_S)
        first = self.members[0]
        why = f"no member {what} within {LEADER_LIMIT_S:g} s"
        raise ServerNotStarted(SCOPE, why, first.hint, first.log, first.tail())

    def replicas(self) -> list[PatroniServer]:
        return [member for member in self.members if member.follows]

    @staticmethod
    def _hosts(servers: Sequence[PatroniServer | PgBouncerServer]) -> str:
        return ",".join(f"{LOCALHOST}:{server.port}" for server in servers)

    @property
    def url(self) -> str:
        return self.database_url("postgres")

    def database_url(self, database: str) -> str:
        """Of the leader, whoever it is when a connection is made."""
        hosts = self._hosts(self.members)
        return f"postgresql://{USER}@{hosts}/{database}?target_session_attrs=read-write"

    def pooled_url(self, database: str) -> str:
        """Through the poolers: of the leader for writes; of all, for reads of replicas."""
        return f"postgresql://{USER}@{self._hosts(self.poolers)}/{database}"

    def create_database(self, name: str) -> str:
        """An empty database; its URL. One that exists stays as it is."""
        self.leader().create_database(name)
        return self.database_url(name)

    def __enter__(self) -> "PatroniCluster":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
