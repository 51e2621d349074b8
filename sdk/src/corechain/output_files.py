"""Files that a command writes at its end: looked at before its work, which may take an hour, or
cost something."""

import errno
import os
from pathlib import Path
from typing import Annotated

import typer

from corechain.paths import draft_of


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


Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the file if it is there.")]


def unused(path: Path, overwrite: bool) -> None:
    """Exits with 2 where a file stands that nobody has allowed to replace, or none can be made."""
    if path.is_file() and not overwrite:
        raise typer.BadParameter(f"{path} is there already: pass --overwrite to replace it")
    writable(path)


_NONE_BESIDE = {errno.EACCES, errno.EPERM, errno.EROFS, errno.EBUSY, errno.ENAMETOOLONG}
"""Of a folder that may not be changed, a file that is mounted by itself, a long name."""


def write_whole(path: Path, text: str) -> None:
    """All of it, or the file stays as it was; in place where no other file can be put there. A link
    stays one. Raises OSError."""
    if path.exists() and not path.is_file():  # a pipe, or /dev/stdout
        path.write_text(text)
        return
    try:
        _replace(Path(os.path.realpath(path)), text)
    except OSError as error:
        if error.errno not in _NONE_BESIDE:
            raise
        path.write_text(text)


def _replace(path: Path, text: str) -> None:
    draft = draft_of(path)
    try:
        with draft.open("w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
