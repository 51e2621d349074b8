"""Folders in which a network keeps all that it has."""

import shutil
from pathlib import Path
from typing import TextIO

from corechain.devnet.endpoints import ENDPOINTS_FILE
from corechain.devnet.errors import DirectoryUnusable
from corechain.devnet.settings import BRIDGE, CHAIN_ID, CHALLENGER, RELAYER_PROCESSES, SERVICES

# What `fresh` removes: nothing but what a network writes, whatever folder somebody calls home.
STATE = (
    *("postgres", "valkey", "kafka", "mqtt", "anvil", "cluster"),
    *(*SERVICES, BRIDGE, CHALLENGER, *RELAYER_PROCESSES),
    *(f"{part}-{n}" for part in ("gateway", "api", "mirror", "challenger") for n in (1, 2)),
    *("submitter-1", "aggregator-1", "mirror"),  # the last one of versions before
    "data",
)
FRAME_KEY_FILE = "frame.key"
FILES = (ENDPOINTS_FILE, FRAME_KEY_FILE, f"{CHAIN_ID}.json")


def open_lock(folder: Path) -> TextIO:
    """The file `lock` of a folder, which is made. Raises DirectoryUnusable."""
    try:
        # Else `mkdir` says that it exists, which is what it should.
        if folder.exists() and not folder.is_dir():
            raise DirectoryUnusable(folder, "it is not a folder")
        folder.mkdir(parents=True, exist_ok=True)
        return (folder / "lock").open("w")
    except OSError as error:
        raise DirectoryUnusable(folder, error.strerror or str(error)) from None


def wipe(home: Path) -> None:
    """Removes all that a network has written there."""
    for folder in STATE:
        shutil.rmtree(home / folder, ignore_errors=True)
    for file in FILES:
        (home / file).unlink(missing_ok=True)
