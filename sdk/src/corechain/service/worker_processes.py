"""Several processes on one port: each accepts its share of the connections, one that ends is
started again, and their metrics are read together.

The kernel shares connections out among the listeners of a port (SO_REUSEPORT, socket(7)). A worker
that is gone has no listener any more, so new connections find the others at once; each worker binds
for itself, because a listener that the supervisor kept open would go on taking connections for a
dead worker.
"""

import asyncio
import os
import socket
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import Self

import httpx
import structlog

from corechain.http import async_client
from corechain.protocol.errors import TransportError
from corechain.service.http_server import BACKLOG, GRACE_S

log = structlog.get_logger(__name__)

LOOPBACK = "127.0.0.1"
STOP_LIMIT_S = 2 * GRACE_S + 5
"""Requests under way have GRACE_S, and the worker's connections some time to close."""
ASK_LIMIT_S = 1.5
"""Shorter than the limit of a probe (`corechain.service.health`): one that is late is left out."""


class WorkerEnded(TransportError):
    """A worker process ended, by itself or by a signal."""

    def __init__(self, number: int, code: int) -> None:
        super().__init__(f"worker {number} ended with code {code}")
        self.number, self.code = number, code


class NoWorker(TransportError):
    """No worker answers."""


@dataclass(slots=True)
class WorkerProcesses:
    """Worker `n` is `command`, then `--number n --ops-fd F`: a listener on the loopback interface
    where it serves its own /ready and /metrics. It lives as long as its standard input is open."""

    count: int
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    _ops: dict[int, socket.socket] = field(default_factory=dict)
    _running: dict[int, asyncio.subprocess.Process] = field(default_factory=dict)
    _stopping: asyncio.Event = field(default_factory=asyncio.Event)
    _open: ExitStack = field(default_factory=ExitStack)
    _http: httpx.AsyncClient | None = None

    def __enter__(self) -> Self:
        # The supervisor's as long as it lives: a new worker is asked at its predecessor's address.
        for number in range(self.count):
            self._ops[number] = self._open.enter_context(_loopback_listener())
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def pids(self) -> Mapping[int, int]:
        """Process ids of the workers that run, by number."""
        return {number: process.pid for number, process in self._running.items()}

    async def session(self, number: int) -> None:
        """One life of a worker, to be supervised; returns when all are to end. Raises WorkerEnded,
        OSError."""
        if self._stopping.is_set():
            return
        process = await self._start(number)
        self._running[number] = process
        try:
            code = await process.wait()
            if self._stopping.is_set():
                return
            raise WorkerEnded(number, code)
        finally:
            self._running.pop(number, None)
            # However this ended: nobody else would stop it.
            if process.returncode is None:
                process.kill()

    async def _start(self, number: int) -> asyncio.subprocess.Process:
        listener = self._ops[number].fileno()
        process = await asyncio.create_subprocess_exec(
            *self.command, "--number", str(number), "--ops-fd", str(listener),
            stdin=asyncio.subprocess.PIPE,
            pass_fds=(listener,),
            env=self.environment,
            # Ctrl-C at the terminal is for the supervisor: it stops the workers, in order.
            start_new_session=True,
        )  # fmt: skip
        log.info("worker started", number=number, pid=process.pid)
        return process

    async def stop(self) -> None:
        """Lets every worker finish the requests under way; none is started any more."""
        self._stopping.set()
        running = list(self._running.values())
        for process in running:
            with suppress(ProcessLookupError):
                process.terminate()
        with suppress(TimeoutError):
            async with asyncio.timeout(STOP_LIMIT_S):
                await asyncio.gather(*(process.wait() for process in running))
        for process in running:
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    process.kill()
        if self._http is not None:
            await self._http.aclose()

    async def ready(self) -> None:
        """Raises NoWorker when none is ready: as long as one is, requests are answered."""
        asked = [asyncio.create_task(self._ask(n, "/ready")) for n in self._running]
        try:
            # The first that is: one that has just been started may take seconds to answer.
            for answer in asyncio.as_completed(asked):
                if await answer is not None:
                    return
        finally:
            for task in asked:
                task.cancel()
        raise NoWorker("no worker process is ready")

    async def expositions(self) -> dict[int, bytes]:
        """The metrics of the workers that answer, by number."""
        numbers = sorted(self._running)
        found = await asyncio.gather(*(self._ask(n, "/metrics") for n in numbers))
        return {n: body for n, body in zip(numbers, found, strict=True) if body is not None}

    async def _ask(self, number: int, path: str) -> bytes | None:
        """None where a worker has no good answer, or none in time."""
        if self._http is None:
            self._http = async_client(timeout=ASK_LIMIT_S)
        address, port = self._ops[number].getsockname()
        try:
            answer = await self._http.get(f"http://{address}:{port}{path}")
        except httpx.TransportError:
            return None
        return answer.content if answer.status_code == httpx.codes.OK else None


def _loopback_listener() -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind((LOOPBACK, 0))
    listener.listen(BACKLOG)
    return listener


def worker_command(*arguments: str) -> list[str]:
    """This program with other arguments."""
    return [sys.executable, "-m", "corechain.cli", *arguments]


async def supervisor_gone() -> None:
    """In a worker: returns when the process that started it is gone, however it went."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    await reader.read()
