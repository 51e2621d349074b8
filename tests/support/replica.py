"""A streaming replica of a Postgres, made by its own programs."""

from pathlib import Path

from corechain.devnet.postgres import USER, PostgresServer
from corechain.devnet.process import LOCALHOST


class ReplicaServer(PostgresServer):
    """Follows a running server from its own copy of it. It stays one when it is killed and started
    again."""

    name = "replica"

    def __init__(self, directory: Path | str, primary: PostgresServer) -> None:
        super().__init__(directory)
        self.primary = primary

    def _initialise(self, folder: Path) -> None:
        address = ["-h", LOCALHOST, "-p", str(self.primary.port), "-U", USER]
        options = ["--wal-method=stream", "--write-recovery-conf", "--checkpoint=fast"]
        self._tool("pg_basebackup", "-D", str(folder), *address, *options)
