"""Files that a command writes at its end: looked at before its work, which may take an hour."""

import os
from pathlib import Path

import typer


def writable(path: Path | None) -> Path | None:
    """The same path, as a callback of an option. Raises BadParameter where no file can be made."""
    if path is None:
        return None
    folder = path.absolute().parent
    if path.is_dir():
        raise typer.BadParameter(f"{path} is a folder")
    if not folder.is_dir():
        raise typer.BadParameter(f"{folder} is no folder")
    # The file itself where it is there: a folder that may not be changed can hold one that may.
    if not os.access(path if path.exists() else folder, os.W_OK):
        raise typer.BadParameter(f"{path} cannot be written")
    return path
