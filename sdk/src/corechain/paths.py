"""Names of files, as users give them."""

import os
from pathlib import Path

from corechain.protocol.errors import InvalidValue


def draft_of(path: Path) -> Path:
    """Where the content of a file is written before it takes its name: beside it, and at a name
    that no other process or thread has."""
    return path.with_name(f".{path.name}.{os.urandom(6).hex()}")


def file_path(value: object, right: str = "takes the path of a file") -> Path:
    """The path; nothing is opened. Raises InvalidValue."""
    if not isinstance(value, str | os.PathLike):
        raise InvalidValue("path", value, right)
    text = os.fspath(value)
    # open() refuses a NUL with a ValueError of its own.
    if not isinstance(text, str) or "\0" in text or not text:
        raise InvalidValue("path", value, right)
    return Path(text)
