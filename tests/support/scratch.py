"""Where tests keep their files: in memory, where there is plenty of it."""

import os
import shutil
import tempfile
from pathlib import Path

import psutil

MEMORY = Path("/dev/shm")
# Four processes with servers of their own, and whole networks, were seen to hold less than a third.
ROOM_BYTES = 6 << 30


PREFIX = "corechain-tests-"


def take_memory(place: Path = MEMORY) -> Path | None:
    """Temporary files of this process and of its children go to a folder of its own in memory: that
    folder. None where TMPDIR says otherwise, or where there is less room than a run may need (a
    container has 64 MB by default).

    Each test has a database of its own, and on ext4 the files of a new one cost half of Postgres'
    CPU time, as inodes that were given back a moment ago are passed over one by one. Nothing here
    pulls a plug: a process that is killed leaves the same bytes on a disk and in memory.

    A folder of its own, because pytest uses the number of a folder again that it has just removed,
    and then removes the lock of the one that has it now: a third run takes that for a leftover.
    """
    if "TMPDIR" in os.environ or not _has_room(place):
        return None
    _sweep(place)
    folder = place / f"{PREFIX}{os.getpid()}"
    # Open to all, as the place for temporary files is: Postgres runs as nobody where we are root.
    folder.mkdir(mode=0o755, exist_ok=True)
    os.environ["TMPDIR"] = tempfile.tempdir = str(folder)
    return folder


def _sweep(place: Path) -> None:
    """Removes what runs have left that failed or were killed: it lies there until the next run."""
    for folder in place.glob(f"{PREFIX}*"):
        if not psutil.pid_exists(int(folder.name.removeprefix(PREFIX))):
            shutil.rmtree(folder, ignore_errors=True)


def _has_room(place: Path) -> bool:
    try:
        return shutil.disk_usage(place).free >= ROOM_BYTES <= _free_memory()
    except OSError:
        return False


def _free_memory() -> int:
    """Bytes that the kernel can give without swapping; the size of a tmpfs promises nothing."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        name, value = line.split(":")
        if name == "MemAvailable":
            return int(value.split()[0]) << 10
    return 0
