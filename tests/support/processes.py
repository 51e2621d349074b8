"""What is left of processes, and how to wait for it, and for anything else."""

import asyncio
import inspect
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from corechain.devnet.process import is_alive

PATIENCE_S = max(120.0, float(os.environ.get("PATIENCE_S") or 0))
"""How long a test waits for what must come: machines of CI are slow and shared, and only a test
that fails waits so long. Longer by the environment, where a service alone takes that to start."""


def family(pid: int) -> list[psutil.Process]:
    """A process and everything it has started."""
    leader = psutil.Process(pid)
    return [leader, *leader.children(recursive=True)]


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """A server that stands still, and holds its connections: SIGSTOP to it and what it started."""
    # The leader first: what is stopped starts no more children.
    psutil.Process(pid).suspend()
    members = family(pid)
    for member in members[1:]:
        with suppress(psutil.NoSuchProcess):
            member.suspend()
    try:
        yield
    finally:
        for member in members:
            with suppress(psutil.NoSuchProcess):
                member.resume()


def eventually(true: Callable[[], bool], within_s: float = PATIENCE_S) -> bool:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if true():
            return True
        time.sleep(0.02)
    return true()


async def until(true: Callable[[], Any], pause_s: float = 0.02) -> None:
    """Returns once `true` says so; it may be asynchronous. Raises TimeoutError."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            said = true()
            if await said if inspect.isawaitable(said) else said:
                return
            await asyncio.sleep(pause_s)


def survivors(
    processes: Iterable[psutil.Process], within_s: float = PATIENCE_S
) -> list[psutil.Process]:
    """Those that are still there after a moment."""
    known = list(processes)
    eventually(lambda: not any(map(is_alive, known)), within_s)
    return [process for process in known if is_alive(process)]


def is_gone(pid: int) -> bool:
    try:
        return not is_alive(psutil.Process(pid))
    except psutil.NoSuchProcess:
        return True


def mentioning(folder: Path) -> list[psutil.Process]:
    """Live processes with a folder in their command line."""
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if any(str(folder) in word for word in process.info["cmdline"] or ()) and is_alive(process)
    ]
