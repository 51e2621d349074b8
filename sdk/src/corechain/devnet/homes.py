"""Folders in which a network keeps all that it has."""

from pathlib import Path
from typing import TextIO

from corechain.devnet.errors import DirectoryUnusable


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
