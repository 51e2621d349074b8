"""Data files on disk, named by their commitment: whole and durable, or not there."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from corechain.protocol.batch import HEAD, MAGIC, Origin, batch_id, read_origin
from corechain.protocol.errors import ProtocolError
from corechain.protocol.reader import Reader
from corechain_relayer.errors import DataDirUnusable

SUFFIX, ORPHAN = ".ccdf", ".orphan"
COMMITMENT_BYTES = 26
_LANE, _NUMBER = slice(5, 7), slice(7, 11)


def data_path(folder: Path, commitment: bytes) -> Path:
    return folder / f"{commitment.hex()}{SUFFIX}"


def sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@dataclass(frozen=True, slots=True)
class Written:
    """The batch whose data file a lane's writer wrote last, or was about to write."""

    batch_id: int
    commitment: bytes


def _note_path(folder: Path, lane: int) -> Path:
    return folder / f"lane-{lane}.last"


def write_durably(path: Path, content: bytes) -> None:
    """On disk when it returns; its name is, after `sync_folder`. Raises OSError."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def write_data_file(folder: Path, commitment: bytes, content: bytes) -> Path:
    """Durable when it returns: content synced, then renamed, then the folder synced.

    Before it is renamed a note says which file comes: a later start looks at this one alone.
    Raises DataDirUnusable.
    """
    try:
        return _write(folder, commitment, content)
    except OSError as error:
        raise DataDirUnusable(error.strerror or type(error).__name__) from error


def _write(folder: Path, commitment: bytes, content: bytes) -> Path:
    path = data_path(folder, commitment)
    lane, number = (int.from_bytes(content[part], "big") for part in (_LANE, _NUMBER))
    # One name a lane, which has one writer: what a crash left is overwritten by the next file.
    partial = folder / f"lane-{lane}.part"
    write_durably(partial, content)
    write_durably(
        _note_path(folder, lane), b"%d %s" % (batch_id(lane, number), commitment.hex().encode())
    )
    partial.replace(path)
    sync_folder(folder)
    return path


def last_written(folder: Path, lane: int) -> Written | None:
    """None where no note is, or a torn one: by a version without notes, or a crash of the disk."""
    try:
        number, commitment = _note_path(folder, lane).read_text("ascii").split()
        written = Written(int(number), bytes.fromhex(commitment))
    except (FileNotFoundError, ValueError):
        return None
    return written if len(written.commitment) == COMMITMENT_BYTES else None


def lane_files(folder: Path, lane: int) -> Iterator[Path]:
    """A lane's data files, in no order. Opens every file: for who has nothing else to go by."""
    for path in folder.glob(f"*{SUFFIX}"):
        with path.open("rb") as file:
            head = file.read(_LANE.stop)
        if head.startswith(MAGIC) and int.from_bytes(head[_LANE], "big") == lane:
            yield path


def origin_of(path: Path) -> Origin | None:
    """What a data file says that it is, by its head alone; None for one that has no whole head, or
    is of rules that this version does not know. Raises OSError."""
    with path.open("rb") as file:
        head = file.read(HEAD.size)
    try:
        return read_origin(Reader(head))
    except ProtocolError:
        return None


def set_aside(paths: Iterable[Path]) -> list[Path]:
    """Renames files that are there to what nobody takes for a data file; those that were there."""
    found = [path for path in paths if path.exists()]
    for path in found:
        path.replace(path.with_suffix(SUFFIX + ORPHAN))
    return found
