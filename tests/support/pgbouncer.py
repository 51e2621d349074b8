"""A real PgBouncer in transaction mode, for `make test-pgbouncer`."""

import os
import socket
from pathlib import Path

from corechain.devnet.errors import MissingProgram
from corechain.devnet.postgres import USER, PostgresServer, privileges
from corechain.devnet.process import LOCALHOST, Command
from corechain.devnet.servers import PROBE_TIMEOUT_S, Server

REPOSITORY = Path(__file__).resolve().parents[2]
FOLDER = REPOSITORY / ".corechain" / "pgbouncer"
PROGRAM = FOLDER / "usr" / "sbin" / "pgbouncer"


class PgBouncerServer(Server):
    """Before a Postgres of ours, with `size` connections to each of its databases."""

    name = "pgbouncer"

    def __init__(self, directory: Path | str, behind: PostgresServer, size: int) -> None:
        super().__init__(directory)
        self.behind, self.size = behind, size

    @property
    def url(self) -> str:
        return self.database_url("postgres")

    def database_url(self, database: str) -> str:
        return f"postgresql://{USER}@{LOCALHOST}:{self.port}/{database}"

    def _settings(self) -> dict[str, object]:
        return {
            "listen_addr": LOCALHOST,
            "listen_port": self.port,
            "unix_socket_dir": "",
            "auth_type": "trust",
            "auth_file": self.directory / "users",
            "pool_mode": "transaction",
            "default_pool_size": self.size,
            "max_client_conn": 500,
            "logfile": self.directory / "own.log",
        }

    def _prepare(self) -> None:
        super()._prepare()
        (self.directory / "users").write_text(f'"{USER}" ""\n')
        lines = [f"{name} = {value}" for name, value in self._settings().items()]
        text = f"[databases]\n* = host={LOCALHOST} port={self.behind.port}\n\n[pgbouncer]\n"
        (self.directory / "pgbouncer.ini").write_text(text + "\n".join(lines) + "\n")

    def _command(self) -> Command:
        if not PROGRAM.is_file():
            raise MissingProgram("PgBouncer", "run `make test-pgbouncer`, which fetches it")
        places = [
            FOLDER / "usr" / "lib" / f"{os.uname().machine}-linux-gnu",
            FOLDER / "usr" / "lib",
        ]
        environment = {**os.environ, "LD_LIBRARY_PATH": ":".join(map(str, places))}
        # As Postgres, it refuses to be root.
        way = privileges()
        arguments = [PROGRAM, self.directory / "pgbouncer.ini"]
        return Command(arguments, way.prefix, way.identity, environment)

    def _is_ready(self) -> bool:
        try:
            with socket.create_connection((LOCALHOST, self.port), PROBE_TIMEOUT_S):
                return True
        except OSError:
            return False
