"""Names of files, as users give them."""

import os
from pathlib import Path

from corechain.protocol.errors import InvalidValue


def file_path(value: object, right: str = "takes the path of a file") -> Path:
    """The path; nothing is opened. Raises InvalidValue."""
    if not isinstance(value, str | os.PathLike):
        raise InvalidValue("path", value, right)
    text = os.fspath(value)
    # open() refuses a NUL with a ValueError of its own.
    if not isinstance(text, str) or "\0" in text or not text:
        raise InvalidValue("path", value, right)
    return Path(text)
