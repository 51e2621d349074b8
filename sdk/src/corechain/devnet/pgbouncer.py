"""PgBouncer in transaction mode: many clients share few connections to a Postgres.

Source of the settings: PgBouncer's documentation, "pgbouncer.ini".
"""

import os
import socket
from pathlib import Path

from corechain.devnet.cluster_programs import PGBOUNCER
from corechain.devnet.postgres import USER, PostgresServer, privileges
from corechain.devnet.process import LOCALHOST, Command
from corechain.devnet.servers import PROBE_TIMEOUT_S, Server


class PgBouncerServer(Server):
    """Before a Postgres of ours, with `size` connections to each of its databases.

    Raises MissingProgram besides.
    """

    name = kind = "pgbouncer"

    def __init__(
        self,
        directory: Path | str,
        behind: PostgresServer,
        size: int,
        name: str = "pgbouncer",
        port: int | None = None,
    ) -> None:
        super().__init__(directory, port)
        self.behind, self.size, self.name = behind, size, name

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
            # Who waits for a Postgres that is away hears so before our own limits end the query.
            "query_wait_timeout": 5,
            # And the next one tries again at once: after a failover each second counts.
            "server_login_retry": 1,
            "logfile": self.directory / "own.log",
        }

    def _prepare(self) -> None:
        super()._prepare()
        (self.directory / "users").write_text(f'"{USER}" ""\n')
        lines = [f"{name} = {value}" for name, value in self._settings().items()]
        text = f"[databases]\n* = host={LOCALHOST} port={self.behind.port}\n\n[pgbouncer]\n"
        (self.directory / "pgbouncer.ini").write_text(text + "\n".join(lines) + "\n")

    def _command(self) -> Command:
        program = PGBOUNCER.find()
        libraries = program.parents[1] / "lib"
        places = [libraries / f"{os.uname().machine}-linux-gnu", libraries]
        environment = {**os.environ, "LD_LIBRARY_PATH": ":".join(map(str, places))}
        # As Postgres, it refuses to be root.
        way = privileges()
        arguments = [program, self.directory / "pgbouncer.ini"]
        return Command(arguments, way.prefix, way.identity, environment)

    def _is_ready(self) -> bool:
        try:
            with socket.create_connection((LOCALHOST, self.port), PROBE_TIMEOUT_S):
                return True
        except OSError:
            return False
