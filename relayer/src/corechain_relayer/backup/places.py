"""Folders that backups are taken into: one `take` at a time, and nothing left of those cut off."""

import fcntl
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from corechain_relayer.backup.manifest import FILES, NAME, PART
from corechain_relayer.errors import BackupRunning, FolderUnusable

LOCK = "take.lock"
_CUT_OFF = re.compile(r"\d{8}T\d{6}\.\d{6}Z" + re.escape(PART))


@contextmanager
def usable(path: Path) -> Iterator[None]:
    """What the system refuses becomes FolderUnusable, with the name of the file."""
    try:
        yield
    except (ConnectionError, TimeoutError):
        raise  # of the database, not of a file
    except OSError as error:
        raise FolderUnusable(Path(error.filename or path), error.strerror or str(error)) from error


@contextmanager
def taking_alone(folder: Path) -> Iterator[None]:
    """The folder, made and locked, without remains. Raises FolderUnusable, BackupRunning."""
    with usable(folder):
        if folder.exists() and not folder.is_dir():
            raise FolderUnusable(folder, "it is not a folder")
        if (folder / NAME).exists():
            raise FolderUnusable(folder, "it is a backup itself; name the folder that it is in")
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / LOCK).open("ab")
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BackupRunning(folder) from None
        with usable(folder):
            _remove_remains(folder)
        yield


def _remove_remains(folder: Path) -> None:
    # Of dead runs: a living one has the lock, which the system takes back from the dead.
    for path in folder.glob(f"*{PART}"):
        if _CUT_OFF.fullmatch(path.name):
            shutil.rmtree(path)
    for path in (folder / FILES).glob(f"*{PART}"):
        path.unlink()


@contextmanager
def made(part: Path) -> Iterator[Path]:
    """A new folder, which goes away again where what it is made for fails."""
    part.mkdir(mode=0o700)
    try:
        yield part
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
