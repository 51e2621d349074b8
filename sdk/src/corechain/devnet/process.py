"""Child processes that cannot outlive us, with a log file and a bounded end."""

import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import psutil

from corechain.devnet.errors import NoFreePort
from corechain.devnet.guard import AS_IT_IS

GUARD = Path(__file__).with_name("guard.py")
KILL_LIMIT_S = 10.0
TAIL_LINES, TAIL_BYTES = 25, 8192
LOCALHOST = "127.0.0.1"
# Linux begins its range at 32768, others later.
FIRST_PORT, LAST_PORT, PORT_TRIES = 10_000, 32_767, 200


_given: set[int] = set()
"""What `free_port` has returned in this process."""


def free_port() -> int:
    """A port of the loopback interface that nobody has right now. Raises NoFreePort.

    Not from the range from which the kernel takes ports for outgoing connections, as `bind` to
    port 0 would: while a server is down, any client on the machine could get its port. And not the
    same one twice: the server that was given it may not be up yet, or not again.
    """
    size = LAST_PORT + 1 - FIRST_PORT
    if len(_given) > size // 2:
        _given.clear()
    for _ in range(PORT_TRIES):
        port = FIRST_PORT + secrets.randbelow(size)
        if port not in _given and is_free(port):
            _given.add(port)
            return port
    raise NoFreePort(FIRST_PORT, LAST_PORT)


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As servers do: connections that are closing do not hold the port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOCALHOST, port))
        except OSError:
            return False
        return True


def is_alive(process: psutil.Process) -> bool:
    """False for a zombie too: it holds nothing, and who has to bury it may take its time."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@dataclass(frozen=True, slots=True)
class Command:
    """A program to run. `prefix` comes before the guard; `identity` is whom the guard becomes."""

    arguments: Sequence[str | Path]
    prefix: Sequence[str] = ()
    identity: str = AS_IT_IS
    environment: Mapping[str, str] | None = None

    def guarded(self) -> list[str]:
        guard = [sys.executable, "-I", "-S", str(GUARD), str(os.getpid()), self.identity]
        return [*self.prefix, *guard, *map(str, self.arguments)]


@cache
def _spawner() -> ThreadPoolExecutor:
    # The kernel's "parent" is the thread that forked. A thread of our own lives as long as we do;
    # the caller's may be a worker that ends a moment later, and would take the server with it.
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix="corechain-spawner")


def _spawn(command: Command, log: Path, cwd: Path) -> "subprocess.Popen[bytes]":
    with log.open("ab") as output:
        return subprocess.Popen(
            command.guarded(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=cwd,
            env=None if command.environment is None else dict(command.environment),
            # Ctrl-C at the terminal is for us: we stop the others, in order.
            start_new_session=True,
        )


def run_lines(
    command: Command, cwd: Path, limit_s: float, take: Callable[[str], None]
) -> int | None:
    """Runs a program to its end and hands over each line it says. Its exit code; None: too slow."""

    def spawn() -> "subprocess.Popen[str]":
        return subprocess.Popen(
            command.guarded(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            cwd=cwd,
            env=None if command.environment is None else dict(command.environment),
            start_new_session=True,
        )

    with _spawner().submit(spawn).result() as popen:
        late = threading.Event()

        def give_up() -> None:
            late.set()
            _kill_group(popen.pid)

        watchdog = threading.Timer(limit_s, give_up)
        watchdog.start()
        try:
            assert popen.stdout is not None
            for line in popen.stdout:
                take(line.rstrip())
            code = popen.wait()
        finally:
            watchdog.cancel()
            _kill_group(popen.pid)
    return None if late.is_set() else code


def _kill_group(leader: int) -> None:
    """The program with everything that it started."""
    with suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)


@dataclass(slots=True)
class Child:
    """A running program and the part of the log that is its own."""

    popen: "subprocess.Popen[bytes]"
    log: Path
    log_start: int

    @classmethod
    def spawn(cls, command: Command, log: Path, cwd: Path) -> "Child":
        start = log.stat().st_size if log.exists() else 0
        return cls(_spawner().submit(_spawn, command, log, cwd).result(), log, start)

    @property
    def pid(self) -> int:
        return self.popen.pid

    def exit_code(self) -> int | None:
        """None while it runs."""
        return self.popen.poll()

    def tail(self) -> str:
        """The last lines that this run has logged."""
        with self.log.open("rb") as log:
            size = log.seek(0, os.SEEK_END)
            log.seek(max(self.log_start, size - TAIL_BYTES))
            lines = log.read().decode(errors="replace").splitlines()
        return "\n".join(lines[-TAIL_LINES:])

    def stop(self, polite: signal.Signals, limit_s: float) -> None:
        """Asks, waits, and kills what does not listen."""
        if self.exit_code() is None:
            self.popen.send_signal(polite)
            try:
                self.popen.wait(limit_s)
            except subprocess.TimeoutExpired:
                self.kill()

    def kill(self) -> None:
        """SIGKILL, and wait until its own children are gone too."""
        descendants = self._descendants()
        self.popen.kill()
        self.popen.wait(KILL_LIMIT_S)
        # They notice by themselves, but only after a while.
        for process in descendants:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        deadline = time.monotonic() + KILL_LIMIT_S
        while any(map(is_alive, descendants)) and time.monotonic() < deadline:
            time.sleep(0.01)

    def _descendants(self) -> list[psutil.Process]:
        try:
            return psutil.Process(self.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []
