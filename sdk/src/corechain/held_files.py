"""Files that one writer has at a time: a second export to a name, or a second stream that keeps its
place in a file, would mix with the first one."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from corechain.protocol.errors import CoreChainError

if sys.platform != "win32":
    import fcntl

TRIES = 10
"""A holder that ends renames its file in the moment between opening and locking it: seldom once."""


class FileInUse(CoreChainError):
    """Somebody else writes this file: another process, or another thread of this one."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"{path}: another process or thread is writing it; wait until that has ended, or name "
            "another file"
        )
        self.path = str(path)


@contextmanager
def held(path: Path) -> Iterator[None]:
    """A file, which is made where it is not there, for this writer alone. Raises FileInUse,
    OSError."""
    handle = hold(path)
    try:
        yield
    finally:
        let_go(handle)


def hold(path: Path) -> int | None:
    """Opens a file, which is made where it is not there, for this writer alone; the descriptor
    holds it until `let_go`, or the end of the process. Raises FileInUse, OSError."""
    for _ in range(TRIES):
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            holder = hold_opened(handle, path)
        finally:
            os.close(handle)
        if holder is None or _is_named(holder, path):
            return holder
        let_go(holder)
    raise FileInUse(path)


def hold_opened(handle: int, path: Path) -> int | None:
    """The same of a file that is open already, by a descriptor of its own. None where there are no
    locks: Windows gives no file that is open another name. Raises FileInUse, OSError."""
    if sys.platform == "win32":
        return None
    holder = os.dup(handle)
    try:
        _lock(holder, path)
    except BaseException:
        os.close(holder)
        raise
    return holder


def let_go(holder: int | None) -> None:
    """A child that was forked meanwhile has the file open, too: closing it would not end this."""
    if holder is None:
        return
    with suppress(OSError):
        fcntl.flock(holder, fcntl.LOCK_UN)
    os.close(holder)


def _lock(handle: int, path: Path) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise FileInUse(path) from None
    except OSError:  # a file system without locks: nobody is worse off than before
        return


def _is_named(handle: int, path: Path) -> bool:
    """Whether the name still leads to the file that is open."""
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False
