"""Folders in which a network keeps all that it has."""

import fcntl
import shutil
import time
from pathlib import Path
from typing import TextIO

from corechain.devnet.errors import DirectoryInUse, DirectoryUnusable
from corechain.devnet.settings import BRIDGE, CHAIN_ID, CHALLENGER, RELAYER_PROCESSES, SERVICES
from corechain.kept_endpoints import ENDPOINTS_FILE, LOCK_FILE

# What `fresh` removes: nothing but what a network writes, whatever folder somebody calls home.
STATE = (
    *("postgres", "valkey", "kafka", "mqtt", "anvil", "cluster"),
    *(*SERVICES, BRIDGE, CHALLENGER, *RELAYER_PROCESSES),
    *(f"{part}-{n}" for part in ("gateway", "api", "mirror", "challenger") for n in (1, 2)),
    *("submitter-1", "aggregator-1", "mirror"),  # the last one of versions before
    "data",
)
PAUSES_S = (0.01, 0.05, 0.2)
"""Commands look for a moment whether the lock is held."""
FRAME_KEY_FILE = "frame.key"
FILES = (ENDPOINTS_FILE, FRAME_KEY_FILE, f"{CHAIN_ID}.json")


def open_lock(folder: Path) -> TextIO:
    """The file `lock` of a folder, which is made. Raises DirectoryUnusable."""
    try:
        # Else `mkdir` says that it exists, which is what it should.
        if folder.exists() and not folder.is_dir():
            raise DirectoryUnusable(folder, "it is not a folder")
        folder.mkdir(parents=True, exist_ok=True)
        return (folder / LOCK_FILE).open("w")
    except OSError as error:
        raise DirectoryUnusable(folder, error.strerror or str(error)) from None


def take_home(home: Path) -> TextIO:
    """Its lock, held until the file is closed: two networks in one home would write over each
    other. Raises DirectoryInUse, DirectoryUnusable."""
    lock = open_lock(home)
    for pause_s in (*PAUSES_S, None):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if pause_s is None:
                lock.close()
                raise DirectoryInUse(home, "a network") from None
            time.sleep(pause_s)
    (home / ENDPOINTS_FILE).unlink(missing_ok=True)  # of one that was killed
    return lock


def wipe(home: Path) -> None:
    """Removes all that a network has written there."""
    for folder in STATE:
        shutil.rmtree(home / folder, ignore_errors=True)
    for file in FILES:
        (home / file).unlink(missing_ok=True)
