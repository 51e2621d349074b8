"""Files that one writer has at a time: a second export to a name, or a second stream that keeps its
place in a file, would mix with the first one."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
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
        os.close(handle)


def hold(path: Path) -> int:
    """Opens a file, which is made where it is not there, for this writer alone; the descriptor
    holds it until it is closed, by the end of the process at the latest. Raises FileInUse, OSError.
    """
    for _ in range(TRIES):
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            hold_opened(handle, path)
            if _is_named(handle, path):
                return handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)
    raise FileInUse(path)


def hold_opened(handle: int, path: Path) -> None:
    """The same of a file that is open already. Raises FileInUse."""
    if sys.platform == "win32":
        return
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
