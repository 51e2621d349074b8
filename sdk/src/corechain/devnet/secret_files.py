"""Secrets of a network of one's own: made at random, once, and readable by their owner alone."""

import os
import secrets
from pathlib import Path

KEY_BYTES = 32


def ensure_key(path: Path) -> None:
    """A file with 32 random bytes in hexadecimal; one that is there stays as it is."""
    if path.exists():
        return
    part = path.with_name(f"{path.name}.part")
    part.unlink(missing_ok=True)
    # The mode at creation: a chmod afterwards would leave a moment in which everybody can read it.
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(secrets.token_hex(KEY_BYTES) + "\n")
    part.replace(path)
