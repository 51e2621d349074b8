"""A range of free ports for each pytest process, so that two never choose the same one.

Between the moment in which a test chooses a port and the one in which a server binds it lie seconds
on a busy machine. `free_port` looks only whether nobody has it yet.
"""

import fcntl
import os
from pathlib import Path

from corechain.devnet import process

LOCKS = Path("/tmp")
"""The same for all runs on a machine, wherever each keeps its files."""
WHOLE = process.FIRST_PORT, process.LAST_PORT
"""Before any of it was taken: a forked process takes its own again."""
RANGES = 32
"""More than one run has pytest processes; some 700 ports each."""


def _lock(path: Path) -> bool:
    """Whether the file is locked for us. It stays open, and so locked, until the process ends."""
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError:  # another user has made it
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(file)
        return False
    return True


def take_own_ports() -> None:
    """From now on `free_port` chooses from a range that no other pytest process has. Where all are
    taken, from the whole."""
    first, last = WHOLE
    size = (last + 1 - first) // RANGES
    for number in range(RANGES):
        path = LOCKS / f"corechain-ports-{number}.lock"
        if not _lock(path):
            continue
        process.FIRST_PORT = first + number * size
        process.LAST_PORT = process.FIRST_PORT + size - 1
        return
    process.FIRST_PORT, process.LAST_PORT = WHOLE
