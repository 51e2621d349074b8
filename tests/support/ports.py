"""A range of free ports for each pytest process, so that two never choose the same one.

Between the moment in which a test chooses a port and the one in which a server binds it lie seconds
on a busy machine. `free_port` looks only whether nobody has it yet.
"""

import fcntl
import tempfile
from pathlib import Path

from corechain.devnet import process

RANGES = 16
"""More than one run has pytest processes; some 1,400 ports each."""
_held: list[object] = []
"""The lock of our range: closed, and so given up, when the process ends."""


def take_own_ports() -> None:
    """From now on `free_port` chooses from a range that no other pytest process has. Where all are
    taken, from the whole."""
    first, last = process.FIRST_PORT, process.LAST_PORT
    size = (last + 1 - first) // RANGES
    for number in range(RANGES):
        path = Path(tempfile.gettempdir()) / f"corechain-ports-{number}.lock"
        try:
            lock = path.open("a")
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # another process has it; or another user has made the file
            continue
        _held.append(lock)
        process.FIRST_PORT = first + number * size
        process.LAST_PORT = process.FIRST_PORT + size - 1
        return
