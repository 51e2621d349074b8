"""One process after the other, where several of one user share a payment channel, an account that
sends transactions, or a device that reports.

A lock is a courtesy between honest processes of one machine: it spares vouchers that cross, a
second channel and a second deposit, nonces and sequences that are taken twice. Counting does not
rest on it (`corechain.payments`), so whoever waits too long, or finds no place for a file, goes on
without.
"""

import os
import stat
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

if sys.platform != "win32":
    import fcntl

PATIENCE_S = 60.0
"""A holder that has not ended after two time limits of a request stands still."""
PAUSE_S = 0.01


def _folder() -> Path | None:
    """This user's, and nobody else's: a file in a folder of another one could be a trap. None
    where there is none."""
    if sys.platform == "win32":
        return None
    import tempfile  # here: only who pays for queries needs it

    with suppress(OSError):  # also of gettempdir(), where nothing at all can be written
        place = Path(tempfile.gettempdir()) / f"corechain-{os.getuid()}"
        place.mkdir(mode=0o700, exist_ok=True)
        found = place.lstat()
        if stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid():
            return place
    return None


def _opened(name: bytes) -> int | None:
    folder = _folder()
    if folder is None:
        return None
    try:
        return os.open(folder / f"{name.hex()}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:
        return None


def _is_ours(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return True
    return True


def _pauses(handle: int | None) -> Iterator[float]:
    """How long to wait before the next look, until it is our turn or patience is over."""
    until = time.monotonic() + PATIENCE_S
    while handle is not None and not _is_ours(handle) and time.monotonic() < until:
        yield PAUSE_S


def _released(handle: int | None) -> None:
    if handle is not None:
        # A child that was forked meanwhile has the file open, too: closing it would not end this.
        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_UN)
        os.close(handle)


@contextmanager
def process_turn(name: bytes) -> Iterator[None]:
    """Blocks the thread until no other process of this user has this name's turn."""
    handle = _opened(name)
    try:
        for pause_s in _pauses(handle):
            time.sleep(pause_s)
        yield
    finally:
        _released(handle)


@asynccontextmanager
async def awaited_process_turn(name: bytes) -> AsyncIterator[None]:
    """The same in an event loop."""
    import asyncio

    handle = _opened(name)
    try:
        for pause_s in _pauses(handle):
            await asyncio.sleep(pause_s)
        yield
    finally:
        _released(handle)
