"""Data files on disk, named by their commitment: whole and durable, or not there."""

import os
from collections.abc import Iterator
from pathlib import Path

from corechain.protocol.batch import MAGIC

SUFFIX, ORPHAN = ".ccdf", ".orphan"
_LANE = slice(5, 7)


def data_path(folder: Path, commitment: bytes) -> Path:
    return folder / f"{commitment.hex()}{SUFFIX}"


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_data_file(folder: Path, commitment: bytes, content: bytes) -> Path:
    """Durable when it returns: content synced, then renamed, then the folder synced."""
    path = data_path(folder, commitment)
    # One name a lane, which has one writer: what a crash left is overwritten by the next file.
    partial = folder / f"lane-{int.from_bytes(content[_LANE], 'big')}.part"
    with partial.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    _sync_folder(folder)
    return path


def _of_lane(folder: Path, lane: int) -> Iterator[Path]:
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        with path.open("rb") as file:
            head = file.read(_LANE.stop)
        if head.startswith(MAGIC) and int.from_bytes(head[_LANE], "big") == lane:
            yield path


def set_orphans_aside(folder: Path, lane: int, commitments: set[bytes]) -> list[Path]:
    """Renames a lane's data files that never became a batch: their writer was stopped in between.

    Their reports are still on the bus and come in another file, which must be the only one.
    """
    orphans = [p for p in _of_lane(folder, lane) if bytes.fromhex(p.stem) not in commitments]
    for path in orphans:
        path.replace(path.with_suffix(SUFFIX + ORPHAN))
    return orphans
