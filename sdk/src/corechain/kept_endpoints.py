"""What `corechain up` keeps in its home of the network that it runs: `endpoints.json`, and a lock
that it holds as long as it lives. One that was killed leaves the file: whoever listens on those
ports now is somebody else."""

import json
import sys
from pathlib import Path
from typing import Any

from corechain.protocol.errors import CoreChainError

if sys.platform != "win32":
    import fcntl

ENDPOINTS_FILE, LOCK_FILE = "endpoints.json", "lock"


class InvalidEndpoints(CoreChainError):
    """The file that `corechain up` keeps is not one."""


class NetworkKilled(CoreChainError):
    """What a file says of a network is not so any more."""

    def __init__(self, home: Path) -> None:
        super().__init__(
            f"the `corechain up` that ran in {home} was killed, and others may listen on its ports:"
            f" start it again, remove {home / ENDPOINTS_FILE}, or name each service"
        )
        self.home = home


def read_endpoints(home: Path) -> Any:
    """The document of the network that runs in a home; None where none does.

    Raises InvalidEndpoints for what is no JSON, NetworkKilled.
    """
    path = home / ENDPOINTS_FILE
    try:
        document = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise damaged(home, error) from error
    if not _is_free(home / LOCK_FILE):
        return document
    if path.exists():
        raise NetworkKilled(home)
    return None  # it was stopped in this moment: it removes the file before it lets go of the lock


def damaged(home: Path, error: Exception) -> InvalidEndpoints:
    """The error for a document that is not as `corechain up` writes it."""
    path = home / ENDPOINTS_FILE
    return InvalidEndpoints(f"{path} is damaged ({error!r}); restart `corechain up`")


def _is_free(lock: Path) -> bool:
    """Whether nobody holds a lock; False where that cannot be known."""
    if sys.platform == "win32":
        return False
    try:
        # Shared: those who look do not take each other for the network.
        with lock.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:  # held, not there, not ours to read, or on a file system without locks
        return False
    return True
